"""Which arguments are secrets, and what is shown in their place."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden)"
#: Words of a name that say so: HF_TOKEN, OPENAI_API_KEY, hf_token, db_password, AWS_SECRET_….
_SECRET = re.compile(
    r"(^|_)(tokens?|(api|access|private)_?key|secret\w*|passw\w*|credentials?|authorization)(_|$)",
    re.IGNORECASE,
)
#: vLLM's arguments whose names say so, and that are none.
_NUMBERS = re.compile(r"(^|_)(max|min|num|batched|budget|id|ids)(_|$)", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether an argument or environment variable of this name holds a secret."""
    return bool(_SECRET.search(name)) and not _NUMBERS.search(name)


def shown(name: str, value: Any) -> Any:
    """The value, or HIDDEN: for a secret, in a mapping as well (headers, variables)."""
    if is_secret(name) and isinstance(value, str) and value:
        return HIDDEN
    if isinstance(value, dict):
        return {key: shown(str(key), item) for key, item in value.items()}
    return value
