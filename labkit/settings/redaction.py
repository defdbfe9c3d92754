"""Which arguments are secrets, and what is shown in their place."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden)"
#: Words of a name that say so: HF_TOKEN, OPENAI_API_KEY, WANDB_KEY, db_password, AWS_SECRET_….
_SECRET = re.compile(
    r"(^|_)(tokens?|(api|access|private)_?key|secret\w*|pass|pat|credentials?|cookie"
    r"|authorization)(_|$)|(key|_pwd)$|passw",
    re.IGNORECASE,
)
#: The user and password of a URL, such as a proxy's.
_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
#: vLLM's arguments whose names say so, and that are none.
_NUMBERS = re.compile(r"(^|_)(max|min|num|batched|budget|id|ids)(_|$)", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether an argument or environment variable of this name holds a secret."""
    name = name.replace("-", "_")  # headers
    return bool(_SECRET.search(name)) and not _NUMBERS.search(name)


def shown(name: str, value: Any) -> Any:
    """The value, or HIDDEN for a secret; those inside mappings, lists and URLs are hidden, too."""
    if isinstance(value, str) and value:
        return HIDDEN if is_secret(name) else _IN_URL.sub(HIDDEN, value)
    if isinstance(value, dict):
        return {key: shown(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [shown(name, item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value
