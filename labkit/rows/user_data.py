"""The user's rows as Arrow: where they come from, their ids, and the types of the files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import LabError
from labkit.rows import arrow_types, requests
from labkit.rows.arrow_types import answer_type as answer_type
from labkit.rows.arrow_types import fit as fit
from labkit.settings.engine_defaults import STAGE_CPUS

if TYPE_CHECKING:
    import ray.data

COUNTS = ("num_input_tokens", "num_generated_tokens")
EMPTY = "There are no rows to run: the data is empty."


@dataclass
class Source:
    """The user's rows: a table in memory, or a Ray Dataset that is streamed.

    schema: their types in the files.
    """

    schema: pa.Schema
    table: pa.Table | None = None
    dataset: ray.data.Dataset | None = None
    missing: pa.Table = field(default_factory=lambda: pa.table({}))

    def ids(self, id_column: str) -> pa.ChunkedArray:
        """The ids of all rows (of a Dataset: read in a pass of their own)."""
        if self.table is not None:
            return self.table[id_column]
        assert self.dataset is not None
        only = self.dataset.select_columns([id_column])
        batches = list(only.iter_batches(batch_size=None, batch_format="pyarrow"))
        kind = self.schema.field(id_column).type
        try:
            return pa.chunked_array(
                [b[id_column].combine_chunks().cast(kind) for b in batches], kind
            )
        except pa.ArrowException as problem:
            raise LabError(f"Column {id_column!r} mixes types: {problem}.") from problem

    def packed(self, id_column: str, done: pa.ChunkedArray, batch_size: int) -> ray.data.Dataset:
        """The rows whose id is not among `done`, packed for `run.answers`, a block for a batch."""
        import ray.data

        if self.table is None:
            assert self.dataset is not None
            missing = self.dataset.map_batches(
                pack_missing,
                fn_kwargs={"id_column": id_column, "done": done, "schema": self.schema},
                batch_format="pyarrow",
                num_cpus=STAGE_CPUS,
            )
            return missing.repartition(target_num_rows_per_block=batch_size)
        self.missing = self.table.filter(pc.invert(pc.is_in(self.table[id_column], done)))
        blocks = [
            requests.pack(self.missing.slice(at, batch_size).to_pylist(), at)
            for at in range(0, self.missing.num_rows, batch_size)
        ]
        return ray.data.from_arrow(blocks)

    def rows(self, finished: pa.Table) -> pa.Table:
        """The user's columns of finished rows."""
        if self.table is not None:
            return self.missing.take(finished["row_id"])
        rows = [pickle.loads(row) for row in finished["row"].to_pylist()]
        return pa.Table.from_pylist(rows, schema=self.schema)

    def use(self, kept: pa.Schema | None) -> None:
        """Take over the order of the parts that are there, and their type where all is null."""
        names = self.schema.names
        if kept and set(names) <= set(kept.names):
            names = [name for name in kept.names if name in names]
        fields = []
        for name in names:
            own = self.schema.field(name)
            if kept and name in kept.names and pa.types.is_null(own.type):
                own = kept.field(name)
            fields.append(own.with_type(arrow_types.stored(own.type)))
        self.schema = pa.schema(fields, metadata=self.schema.metadata)
        if self.table is not None:
            self.table = self.table.select(names).cast(self.schema)


def source(data: Any, start: Callable[[], Any]) -> Source:
    """From what the user gave to a Source; `start` starts Ray, where files are to be read.

    Raises LabError for data of another kind, without rows, or of mixed types in a column.
    """
    import ray.data

    if isinstance(data, str | Path):
        start()
        data = _read(Path(data).expanduser())
    if isinstance(data, ray.data.Dataset):
        start()
        found = data.schema()
        if found is None:
            raise LabError(EMPTY)
        if not isinstance(found.base_schema, pa.Schema):
            data = data.map_batches(lambda table: table, batch_format="pyarrow")
            found = data.schema()
        return Source(pa.schema(list(zip(found.names, found.types, strict=True))), dataset=data)
    table = arrow_types.table(data)
    if table.num_rows == 0:
        raise LabError(EMPTY)
    return Source(table.schema, table=table)


def pack_missing(
    batch: pa.Table, *, id_column: str, done: pa.ChunkedArray, schema: pa.Schema
) -> pa.Table:
    """Pack the rows that are not done. Raises LabError for rows that no part could hold."""
    try:
        table = batch.select(schema.names).cast(schema)
        rows = table.filter(pc.invert(pc.is_in(table[id_column], done))).to_pylist()
        pa.Table.from_pylist(rows, schema=schema)  # better now than after their answers
    except (pa.ArrowException, KeyError, TypeError) as problem:
        raise LabError(f"A row doesn't fit the columns of the first ones: {problem}") from problem
    return requests.pack(rows)


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
    mine = (into, "error", *COUNTS)
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


def _read(path: Path) -> ray.data.Dataset:
    import ray.data

    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    kinds = {f.suffix.lower() for f in files if f.name[0] not in "._"} & {".parquet", ".csv"}
    if len(kinds) != 1 or not path.exists():
        raise LabError(f"{path} is no Parquet or CSV file, and no folder with one of these kinds.")
    read = ray.data.read_parquet if kinds == {".parquet"} else ray.data.read_csv
    return read(str(path.absolute()), file_extensions=[kinds.pop()[1:]])
