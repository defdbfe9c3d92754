"""Which arguments are secrets, and what is shown in their place."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden)"
#: Words that say so, wherever they stand in a name: CLIENTSECRET, API_KEYS, SSH_PASSPHRASE.
_SECRET = re.compile(
    r"secret|passw|pass_?(phrase|code)|pwd.|.pwd|(api|access|private|auth)_?key|keys?\d*(_id)?$"
    r"|credential|cookie|authorization|bearer|signature|(^|_)(pass|pat|jwt|sig|sas|dsn)\d*(_|$)"
)
#: One that says so, too (HF_TOKEN, GITHUBTOKEN, accessToken), but for what a model reads or makes.
_TOKEN = re.compile(r"token(?!i[sz])")
_TOKENS_OF_TEXT = re.compile(
    r"(^|_)(max|min|num|batched|budget|threshold|only|tokens?_(ids?|type|count))(_|$)"
    r"|(special|stop|start|spec|image|audio|video|mask|cls|sep|[be]os|pad|unk)_tokens?"
)
#: Who logs in by a URL, such as a proxy's: all up to the last @, as a password may hold /, : and @.
_IN_URL = re.compile(r"(?<=://)\S+(?=@)|(?<![^\s\"'=,(])(?!\w+://)[^\s:/@\"']+:\S+(?=@)")
#: `name=value`, `name: value` and `--name value` inside a text: a query, a header, JSON, options.
_PAIR = re.compile(
    r"""([\w.-]+["']?\s*=\s*["']?|[\w.-]+["']?\s*:(?!//)\s*["']?|--[\w-]+\s+)"""
    r"""((?<=["'])[^"']+|(?<=:\s)[^"'\n]+|[^\s&"']+)"""
)


def is_secret(name: str) -> bool:
    """Whether an argument or environment variable of this name holds a secret."""
    words = re.sub(r"(?<=[a-z\d])(?=[A-Z])|\W", "_", name).strip("_").lower()  # camelCase, headers
    is_token = _TOKEN.search(words) and not _TOKENS_OF_TEXT.search(words)
    return bool(is_token or _SECRET.search(words)) and words != "oldpwd"  # as PWD: a folder


def shown(name: str, value: Any) -> Any:
    """The value, or HIDDEN for a secret; those inside mappings, lists and texts are hidden, too."""
    if isinstance(value, str | bytes) and value and is_secret(name):
        return HIDDEN
    if isinstance(value, str):
        return _PAIR.sub(_pair, _IN_URL.sub(HIDDEN, value))
    if isinstance(value, dict):
        return {key: shown(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [shown(name, item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def _pair(found: re.Match[str]) -> str:
    # A value may hold pairs of its own: url=https://host?token=…
    return found[1] + (HIDDEN if is_secret(found[1]) else _PAIR.sub(_pair, found[2]))
