"""What is wrong with the user's columns and ids, said before a job starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from labkit.errors import LabError
from labkit.rows import arrow_types
from labkit.rows.responses import COUNTS
from labkit.tasks import Row

#: The columns about an answer that `write` adds beside it and its error.
ABOUT_AN_ANSWER = (*COUNTS, "finish_reason")
EMPTY = "There are no rows to run: the data is empty."


def columns(data: Any, rows: list[Row] | None) -> list[str]:
    """The names of the columns, as far as they are known. rows: None for a Dataset."""
    if rows is None:
        return list(data.columns(fetch_if_missing=False) or ())
    return list(dict.fromkeys(name for row in rows for name in row))


def _check_name(into: str) -> None:
    if not into.strip():
        raise LabError(f"into={into!r} is no name for the column of the answers.")


def check_columns(data: Any, rows: list[Row] | None, into: str) -> None:
    """Raise LabError when a column that `run` adds is already there. rows: None for a Dataset,
    whose columns are looked at as far as they are known without running it."""
    _check_name(into)
    if clash := {into, "error"}.intersection(columns(data, rows)):
        raise LabError(
            f"The data already has a column {clash.pop()!r}. Rename it, or name the new column "
            "with into='…' ('error' is kept for the reasons of failed rows)."
        )


def check(schema: pa.Schema, id_column: str, into: str) -> None:
    """Raise LabError when a column is missing, of no use, or already there."""
    if id_column not in schema.names:
        raise LabError(f"There is no column {id_column!r} for the ids; there are {schema.names}.")
    kind = schema.field(id_column).type
    if not (
        pa.types.is_integer(arrow_types.stored(kind))
        or pa.types.is_string(arrow_types.stored(kind))
    ):
        raise LabError(
            f"The ids in {id_column!r} are {kind}: use text or whole numbers without gaps in them, "
            f"such as data[{id_column!r}].astype(str)."
        )
    for column in schema:
        try:
            arrow_types.writable(column.type)
        except pa.ArrowException as problem:
            raise LabError(
                f"Column {column.name!r} can't be written to Parquet: {problem}. Leave it out."
            ) from problem
    _check_name(into)
    mine = (into, "error", *ABOUT_AN_ANSWER)
    if len(set(mine)) < len(mine):
        raise LabError(f"into={into!r} is the name of another column that write adds.")
    if clash := [name for name in mine if name in schema.names]:
        raise LabError(
            f"The data already has a column {clash[0]!r}. Rename it"
            + (", or name the new column with into='…'." if clash[0] == into else ".")
        )


def check_ids(ids: pa.ChunkedArray, id_column: str) -> None:
    """Raise LabError for no ids at all, and for the first that is null or was there before."""
    if not len(ids):
        raise LabError(EMPTY)
    series = ids.to_pandas()
    for bad, words in (
        (series.isna(), "has no id"),
        (series.duplicated(), "has the id of another"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise LabError(
                f"Row {row} {words} in {id_column!r} ({ids[row].as_py()!r}; {int(bad.sum()):,} "
                "such). Each row needs one of its own, such as its number: resume goes by it."
            )
