"""Tables of requests and responses as JSON text, for a way over the network: column by column.

Plain JSON and not Arrow's own form, which can hold types that run code when they are read. What
comes back has exactly the columns and types of a schema, or is refused.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from labkit.errors import LabError


def to_columns(table: pa.Table, schema: pa.Schema) -> dict[str, list[Any]]:
    """A table as lists by column: those of `schema`."""
    return {name: table[name].to_pylist() for name in schema.names}


def from_columns(columns: Any, schema: pa.Schema) -> pa.Table:
    """The table of `to_columns`. Raises LabError for anything else."""
    if not isinstance(columns, dict) or set(columns) != set(schema.names):
        raise LabError(f"A table needs exactly the columns {', '.join(schema.names)}.")
    if not all(isinstance(column, list) for column in columns.values()):
        raise LabError("Each column of a table is a list.")
    if len({len(column) for column in columns.values()}) != 1:
        raise LabError("The columns of a table are of one length.")
    try:
        made = [_column(columns[field.name], field) for field in schema]
        return pa.table(made, schema)
    except (ValueError, TypeError, OverflowError) as problem:  # Arrow's own are of these
        raise LabError(f"A column holds what it can't: {problem}"[:300]) from problem


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    kinds: tuple[type, ...] = (str,) if pa.types.is_string(field.type) else (int,)
    if pa.types.is_floating(field.type):
        kinds = (int, float)
    for value in values:
        if value is not None and type(value) not in kinds:
            raise TypeError(f"{field.name!r} has {value!r:.40}")
    return pa.array(values, field.type)


def dumps(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def loads(text: bytes) -> Any:
    """JSON as the standard has it: without NaN. Raises LabError for what is none."""
    try:
        return json.loads(text, parse_constant=_none)
    except (ValueError, RecursionError) as problem:
        raise LabError(f"This is no JSON: {problem}"[:200]) from problem


def _none(word: str) -> Any:
    raise ValueError(f"{word} is no number")
