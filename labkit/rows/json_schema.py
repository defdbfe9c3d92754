"""A JSON schema as the type of a column: what a task declares of its answers, its files hold.

https://json-schema.org. Knows the part that structured output is asked for with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

SIMPLE = {
    **{"string": pa.string(), "integer": pa.int64(), "number": pa.float64()},
    **{"boolean": pa.bool_(), "null": pa.null()},
}


def arrow_type(schema: Mapping[str, Any] | None) -> pa.DataType | None:
    """The type of all answers that a schema allows; None where no one type holds them, or where the
    schema does not say."""
    return None if schema is None else _type(schema, schema, ())


def _type(node: Any, root: Mapping[str, Any], above: tuple[str, ...]) -> pa.DataType | None:
    if not isinstance(node, Mapping):
        return None
    if (name := node.get("$ref")) is not None:
        if name in above or not str(name).startswith("#/"):
            return None  # an answer that holds answers: no type is so deep
        target: Any = root
        for part in str(name)[2:].split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        return _type(target, root, (*above, name))
    if isinstance(kinds := node.get("type"), list):
        return _one([_type({**node, "type": kind}, root, above) for kind in kinds])
    if options := node.get("anyOf") or node.get("oneOf"):
        return _one([_type(option, root, above) for option in options])
    if isinstance(both := node.get("allOf"), list) and len(both) == 1:
        return _type(both[0], root, above)
    if values := node.get("enum") or ([node["const"]] if "const" in node else []):
        try:
            return pa.array(values).type
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return None
    if kinds == "array":
        items = _type(node.get("items"), root, above)
        return None if items is None else pa.list_(items)
    if kinds == "object" and node.get("properties"):
        inside = {n: _type(one, root, above) for n, one in node["properties"].items()}
        known = {name: kind for name, kind in inside.items() if kind is not None}
        return pa.struct(list(known.items())) if len(known) == len(inside) else None
    return SIMPLE.get(str(kinds))


def _one(kinds: list[pa.DataType | None]) -> pa.DataType | None:
    """The one type of several, null left out: that of whole numbers and floats is float."""
    own = {kind for kind in kinds if kind is None or not pa.types.is_null(kind)}
    if own == {pa.int64(), pa.float64()}:
        return pa.float64()
    return own.pop() if len(own) == 1 else (pa.null() if not own else None)
