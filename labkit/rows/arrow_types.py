"""Values as Arrow columns: what a Parquet file can hold, and the rest refused with its place."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labkit.errors import LabError, printable

#: What Arrow raises for a value that a column can't hold: another type, a number beyond 64 bits,
#: text that is no Unicode.
UNHELD = (pa.ArrowException, TypeError, ValueError, OverflowError)


def open_type(answers: Sequence[Any], kind: pa.DataType | None = None) -> pa.DataType:
    """The type that holds these answers beside values of the type `kind`, as far as there is one:
    those that it does not hold are left to `fit`. It is null where no value was, also inside."""
    return together(types_of(answers), kind)


def types_of(answers: Sequence[Any]) -> list[pa.DataType]:
    """The types of these answers as they are seen: one, where one holds all of them."""
    try:
        return [seen(pa.chunked_array([pa.array(answers)]))]
    except UNHELD:
        others = []
        for answer in answers:
            with contextlib.suppress(*UNHELD):
                others.append(seen(pa.chunked_array([pa.array([answer])])))
        return list(dict.fromkeys(others))


def together(types: Sequence[pa.DataType], kind: pa.DataType | None = None) -> pa.DataType:
    """The type that holds values of these types beside `kind`, as far as a file can have it."""
    kind = kind or pa.null()
    for other in types:
        if (both := wider(kind, other)) != kind:
            with contextlib.suppress(pa.ArrowException):
                writable(stored(both))
                kind = both
    return kind


def seen(column: pa.ChunkedArray) -> pa.DataType:
    """The type of a column, and null where no value was, also inside of its lists and dicts."""
    kind = column.type
    if column.null_count == len(column):
        return pa.null()
    if pa.types.is_struct(kind):
        inside = zip(kind, _inside(column), strict=True)
        return pa.struct([field.with_type(seen(values)) for field, values in inside])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(seen(_inside(column)[0])))
    return kind


def wider(kind: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds values of both, such as of whole numbers and floats; the first where
    there is none. A dict keeps its keys."""
    if pa.types.is_null(kind):
        return other
    if pa.types.is_struct(kind) and pa.types.is_struct(other):
        shared = {field.name: field.type for field in other}
        return pa.struct([f.with_type(wider(f.type, shared.get(f.name, f.type))) for f in kind])
    if pa.types.is_list(kind) and pa.types.is_list(other):
        return pa.list_(kind.value_field.with_type(wider(kind.value_type, other.value_type)))
    for alike in (_is_number, pa.types.is_decimal, pa.types.is_temporal):
        if alike(kind) and alike(other):
            with contextlib.suppress(pa.ArrowException):
                schemas = [pa.schema([("any", one)]) for one in (kind, other)]
                return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    return kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def fit(answers: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[str | None]]:
    """(the answers as one column, why each could not be held: null when it could)."""
    values, errors = [], []
    for answer in answers:
        try:
            back = pa.array([answer], kind)[0].as_py()
            held = _same(back, answer)
        except Exception:  # whatever the user's own objects raise
            held = False
        values.append(back if held else None)
        misfit = "" if held else f"the answer {_shown(answer)} is no {kind}, as the others are"
        errors.append(misfit or None)
    return pa.array(values, kind), errors


def _shown(value: Any) -> str:
    try:
        return printable(repr(value)[:200])
    except Exception:  # whatever the user's own objects raise
        return f"of type {type(value).__name__}"


def _same(back: Any, value: Any) -> bool:
    """Arrow drops a dict's unknown keys without a word, and makes 1.0 of True among floats."""
    if isinstance(value, dict):
        return all(name in back and _same(back[name], value[name]) for name in value)
    if isinstance(value, set | frozenset):
        return len(back) == len(value)
    if isinstance(value, list | tuple | np.ndarray):
        return len(back) == len(value) and all(map(_same, back, value))
    if isinstance(back, bool) != isinstance(value, bool | np.bool_):
        return False
    return bool(back == value or value != value)


def writable(kind: pa.DataType) -> pa.DataType:
    """The type itself. Raises ArrowException when Parquet has none like it (an empty dict's)."""
    pq.write_table(pa.table({"any": pa.array([], kind)}), pa.BufferOutputStream())
    return kind


def stored(kind: pa.DataType) -> pa.DataType:
    """One type of text, however the data came: a later call may bring it from elsewhere.

    What is null so far (a list that is empty in all rows) is taken for text.
    """
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, stored(kind.value_type), kind.ordered)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(stored(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(stored(field.type)) for field in kind])
    as_text = pa.types.is_null(kind) or pa.types.is_large_string(kind)
    return pa.string() if as_text or pa.types.is_string_view(kind) else kind


def table(data: Any) -> pa.Table:
    """A frame, or a list of dicts, as a table; a table as it is. Raises LabError for what no file
    of Parquet can hold, with its row and column: mixed types, numbers beyond 64 bits, text that is
    no Unicode."""
    if isinstance(data, pa.Table):
        _check_names(data.column_names)
        return data
    if isinstance(data, pd.DataFrame):
        _check_names(list(data.columns))
        try:
            found = pa.Table.from_pandas(data, preserve_index=False)
        except UNHELD as problem:
            for name in data.columns:
                _column(name, list(data[name]))
            raise _unheld(f"{problem}") from problem
        for column in found.column_names:
            if data[column].dtype == "object":
                _check_same(column, found[column], list(data[column]))
        return found
    try:
        rows = list(data)
    except TypeError as problem:
        raise _unheld(f"{problem}") from problem
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise LabError(
                f"Row {number} is {type(row).__name__}, not a dict. Give a pandas frame, a "
                "list of dicts, a Ray Dataset, or the path of Parquet, CSV or TSV files."
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    _check_names(names)
    return pa.table({name: _column(name, [r.get(name) for r in rows]) for name in names})


def frame(some: pa.Table) -> pd.DataFrame:
    """A table as pandas has it, but whole numbers beside nulls are no floats, which hold 53 bits:
    they become pandas' Int64 (UInt8, …), and inside of lists and dicts Python's own."""
    found = some.to_pandas()
    for at, column in enumerate(some.columns):
        if pa.types.is_integer(column.type):
            if column.null_count:
                nullable = str(column.type).replace("uint", "UInt").replace("int", "Int")
                found.isetitem(at, pd.array(column.to_pylist(), dtype=nullable))
        elif _gaps(column):
            found.isetitem(at, pd.Series(column.to_pylist(), dtype=object).array)
    return found


def _gaps(column: pa.ChunkedArray) -> bool:
    """Whether whole numbers stand beside nulls in the lists or dicts of a column."""
    kind = column.type
    if pa.types.is_integer(kind):
        return bool(column.null_count)
    return any(_gaps(inside) for inside in _inside(column))


def _inside(column: pa.ChunkedArray) -> list[pa.ChunkedArray]:
    """What the lists or the dicts of a column hold: none for other values."""
    kind = column.type
    if pa.types.is_struct(kind):
        return [pc.struct_field(column, at) for at in range(kind.num_fields)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [pc.list_flatten(column)]
    if pa.types.is_map(kind):
        return [pc.list_flatten(column.cast(pa.list_(kind.field(0).type)))]
    return []


def _unheld(why: str, row: int | None = None, column: str = "") -> LabError:
    place = f"row {row}, " if row is not None else ""
    place += f"column {column!r}: " if column else ""
    return LabError(
        f"The data can't be written to Parquet: {place}{printable(why)}. A column has "
        "values of one type, or null."
    )


def _check_names(names: Sequence[Any]) -> None:
    """Raise LabError for names of columns that Parquet can't hold."""
    for name in names:
        if not isinstance(name, str):
            raise LabError(
                f"The column {_shown(name)} has {type(name).__name__} for a name, and in Parquet "
                "names are text: data.columns = data.columns.map(str)."
            )
        if printable(name) != name or "\0" in name:
            raise LabError(f"The column {_shown(name)} has no Unicode text for a name. Rename it.")
        if names.count(name) > 1:
            raise LabError(f"The data has two columns named {name!r}. Rename one of them.")


def _column(name: str, values: list[Any]) -> pa.Array:
    """Values as a column. Raises LabError with the first one that no column can hold."""
    try:
        column = pa.array(values, from_pandas=True)  # NaN: no text
    except UNHELD as problem:
        for row, value in enumerate(values):
            try:
                pa.array([value], from_pandas=True)
            except UNHELD as alone:
                raise _unheld(str(alone), row, name) from alone
        raise _unheld(str(problem), column=name) from problem
    _check_same(name, column, values)
    return column


def _check_same(name: str, column: pa.Array | pa.ChunkedArray, values: list[Any]) -> None:
    """Raise LabError where Arrow would change a value without a word, such as text among bytes."""
    if {type(value) for value in values} - {type(None)} in ({str}, {bytes}, {int}, {float}, {bool}):
        return
    for row, value in enumerate(values):
        try:
            back = column[row].as_py()
            held = back is None or _same(back, value)
        except Exception:  # bytes as text, or whatever the user's own objects raise
            held = False
        if not held:
            raise _unheld(f"{_shown(value)} would not come back the same", row, name)
