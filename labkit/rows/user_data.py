"""The user's rows as Arrow: where they come from, and the types of the files."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import LabError
from labkit.rows import arrow_types, requests, user_files
from labkit.rows.data_checks import EMPTY
from labkit.rows.id_set import IdSet
from labkit.rows.requests import REQUEST, Parameter
from labkit.rows.responses import Answered, answered
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.tasks import Row, Task

if TYPE_CHECKING:
    import ray.data

#: So many rows of files are looked at for how long they are.
HEAD = 64


@dataclass
class Source:
    """The user's rows: a table in memory, or a Ray Dataset that is streamed (neither where a worker
    has some of its rows).

    schema: their types in the files. head: the first rows, where they were looked at. files: where
    the rows are, if they are in files.
    """

    schema: pa.Schema
    table: pa.Table | None = None
    dataset: ray.data.Dataset | None = None
    missing: pa.Table = field(default_factory=lambda: pa.table({}))
    head: list[Row] = field(default_factory=list)
    files: user_files.Files | None = None

    def ids(self, id_column: str) -> Iterator[pa.Array]:
        """The ids of all rows, some at a time."""
        if self.table is not None:
            yield from self.table[id_column].chunks
            return
        batches = self.only(id_column).iter_batches(batch_size=None, batch_format="pyarrow")
        yield from (batch[id_column].combine_chunks() for batch in batches)

    def only(self, id_column: str) -> ray.data.Dataset:
        """The ids of a Dataset, and the columns that are null in its first rows."""
        assert self.dataset is not None
        null = [field.name for field in self.schema if pa.types.is_null(field.type)]
        return self.dataset.select_columns(list(dict.fromkeys([id_column, *null])))

    def few(self, id_column: str, most: int) -> list[pa.Table] | None:
        """What `only` has, read in this process, where that is soon done: see `Files.few`."""
        typed = not any(pa.types.is_null(kind) for kind in self.schema.types)
        return self.files.few(id_column, most) if self.files and typed else None

    def some(self, most: int) -> list[Row]:
        """Some rows with the types of the files: of a table the first, which are answered first,
        and about `most` evenly apart; else the first ones, where they were looked at and fit these
        types."""
        if self.table is not None:
            rows = self.table.num_rows
            which = {*range(min(HEAD, rows)), *range(0, rows, -(-rows // most))}
            return self.table.take(sorted(which)).to_pylist()
        try:
            return pa.Table.from_pylist(self.head, schema=self.schema).to_pylist()
        except (pa.ArrowException, TypeError):
            return []

    def know(self, types: Mapping[str, pa.DataType]) -> None:
        """Take over the types of columns that are null in the first rows."""
        self.schema = pa.schema([f.with_type(types.get(f.name, f.type)) for f in self.schema])

    def asked(
        self,
        task: Task,
        parameter: Parameter,
        id_column: str,
        done: pa.ChunkedArray | IdSet,
        size: int,
    ) -> requests.Batches | ray.data.Dataset:
        """The requests of the rows whose id is not among `done`: in batches of `size`, or a
        Dataset of them, in blocks of it (then `done` is an IdSet)."""
        if self.dataset is not None:
            dataset = self.dataset.map_batches(
                requests_of_missing,
                fn_kwargs={
                    **{"task": task, "parameter": parameter},
                    **{"id_column": id_column, "done": done, "schema": self.schema},
                },
                batch_format="pyarrow",
                num_cpus=STAGE_CPUS,
            )
            return dataset.repartition(target_num_rows_per_block=size)
        assert self.table is not None
        self.missing = self.table.filter(pc.invert(pc.is_in(self.table[id_column], done)))
        return requests.Batches(task, self.missing.to_pylist(), parameter, size)

    def read(self, task: Task, table: pa.Table) -> Answered:
        """The answers in some responses."""
        if self.table is None:
            return answered(task, table, streamed_rows(table), aligned=True)
        at = table["row_id"]
        return answered(task, table, self.missing.take(at).to_pylist(), aligned=True)

    def rows(self, finished: Answered) -> pa.Table:
        """The user's columns of finished rows."""
        if self.table is not None:
            return self.missing.take(finished.table["row_id"])
        return pa.Table.from_pylist(finished.rows or [], schema=self.schema)

    def use(self, kept: pa.Schema | None) -> None:
        """Take over the order of the parts that are there, and their types where these hold the
        same values: pandas makes floats of whole numbers once one is missing."""
        names = self.schema.names
        if kept and set(names) <= set(kept.names):
            names = [name for name in kept.names if name in names]
        fields = []
        for name in names:
            own = self.schema.field(name)
            if kept and name in kept.names:
                column = None if self.table is None else self.table[name]
                own = own.with_type(_kept_type(own.type, kept.field(name).type, column))
            fields.append(own.with_type(arrow_types.stored(own.type)))
        self.schema = pa.schema(fields, metadata=self.schema.metadata)
        if self.table is not None:
            self.table = self.table.select(names).cast(self.schema)


def source(data: Any) -> Source:
    """From what the user gave to a Source. Ray must be up, where files are to be read.

    Raises LabError for data of another kind, without rows, or of mixed types in a column.
    """
    head: list[Row] = []
    files: user_files.Files | None = None
    if isinstance(data, str | Path):
        files = user_files.opened(data)
        data = files.dataset()
        with contextlib.suppress(pa.ArrowException, OSError, LabError):  # said where they are read
            head = files.head(HEAD).to_pylist()
        if files.schema is not None:
            return Source(files.schema, dataset=data, head=head)
    if is_dataset(data):
        found = data.schema()
        if found is None:
            raise LabError(EMPTY)
        if not isinstance(found.base_schema, pa.Schema):
            data = data.map_batches(lambda table: table, batch_format="pyarrow")
            found = data.schema()
        schema = pa.schema(list(zip(found.names, found.types, strict=True)))
        return Source(schema, dataset=data, head=head, files=files)
    table = arrow_types.table(data)
    if table.num_rows == 0:
        raise LabError(EMPTY)
    return Source(table.schema, table=table)


def requests_of_missing(
    batch: pa.Table,
    *,
    task: Task,
    parameter: Parameter,
    id_column: str,
    done: IdSet,
    schema: pa.Schema,
) -> pa.Table:
    """The requests of the rows that are not done, with the rows beside them.

    Raises LabError for rows that no part could hold.
    """
    try:
        table = _cast(batch.select(schema.names), schema)
        table = table.filter(pa.array(~done.has(table[id_column])))
        rows = table.to_pylist()
        pa.Table.from_pylist(rows, schema=schema)  # better now than after the answers
    except (pa.ArrowException, KeyError, TypeError) as problem:
        raise LabError(f"A row doesn't fit the columns of the first ones: {problem}") from problem
    return _beside(table, requests.make(task, rows, parameter))


def _kept_type(own: pa.DataType, kept: pa.DataType, column: pa.ChunkedArray | None) -> pa.DataType:
    """The type `kept` if it holds the values of a column, else its own. column: None for values
    that are not in memory: they are held by a wider type."""
    if own == kept:
        return own  # its list's field may have another name in a file
    if pa.types.is_null(own):
        return kept
    if not _alike(own, kept) or (column is None and arrow_types.wider(own, kept) != kept):
        return own
    try:
        if column is not None:
            column.cast(kept)
    except pa.ArrowException:
        return own
    return kept


def _alike(one: pa.DataType, two: pa.DataType) -> bool:
    """Whether a cast from one to the other keeps each value, or says that it can't: Arrow would
    also make 5 of the text "005"."""
    one, two = (
        arrow_types.stored(kind.value_type) if pa.types.is_dictionary(kind) else kind
        for kind in map(arrow_types.stored, (one, two))
    )
    return bool(arrow_types.wider(one, two) == arrow_types.wider(two, one))


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for kept, found in zip(schema, table.schema, strict=True):
        if not pa.types.is_null(found.type) and not _alike(kept.type, found.type):
            raise TypeError(f"column {kept.name!r} was {kept.type} and is {found.type}")
    return table.cast(schema)


def with_requests(batch: pa.Table, *, task: Task, parameter: Parameter) -> pa.Table:
    """The requests of streamed rows, with the rows themselves in one column `row` (a struct): no
    name of theirs can meet another one."""
    return _beside(batch, requests.make(task, batch.to_pylist(), parameter))


def _beside(batch: pa.Table, made: pa.Table) -> pa.Table:
    nowhere = pa.nulls(made.num_rows, pa.int64())  # the place of a streamed row is not known
    made = made.set_column(0, REQUEST.field(0), nowhere)
    return made.append_column("row", batch.to_struct_array())


def streamed_rows(table: pa.Table) -> list[Row]:
    """The user's rows out of the column `row` of a table of responses."""
    return [dict(row) for row in table["row"].to_pylist()]


def is_dataset(data: Any) -> bool:
    """Whether these are rows that are streamed."""
    ray_data = sys.modules.get("ray.data")  # where it was not imported, nobody has made a Dataset
    return ray_data is not None and isinstance(data, ray_data.Dataset)


def first(dataset: ray.data.Dataset) -> list[Row]:
    """The first rows: what makes them runs for them, and again for all."""
    rows: list[Row] = []
    for batch in dataset.limit(HEAD).iter_batches(batch_size=None, batch_format="pyarrow"):
        rows += batch.to_pylist()
    return rows


def in_memory(data: Any) -> list[Row]:
    """The rows of a frame or a list of dicts. Raises LabError for other data, or none."""
    if isinstance(data, pd.DataFrame):
        if len(twice := data.columns[data.columns.duplicated()]):
            raise LabError(f"The data has two columns named {twice[0]!r}. Rename one of them.")
        data = data.to_dict("records")
    rows: list[Any] = list(data)
    if not rows:
        raise LabError(EMPTY)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise LabError(
                f"Row {number} is {type(row).__name__}, not a dict. Give a pandas frame, a list "
                "of dicts such as [{'question': 'What is 2+2?'}], or a Ray Dataset."
            )
    return rows
