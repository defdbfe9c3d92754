"""The user's files, of any format and anywhere, as tables and as a Ray Dataset.

Parquet is streamed by Ray Data. The types of text files (CSV, TSV, JSON lines, Excel) are those of
all their rows, which are read in a pass of their own: no first block decides for the others.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.datasets import csv_file
from labkit.datasets.csv_file import DatasetError
from labkit.errors import LabError, reason
from labkit.rows import excel_sheet, file_place, json_lines
from labkit.rows.file_place import Place
from labkit.settings.engine_defaults import STAGE_CPUS

if TYPE_CHECKING:
    import ray.data

#: So few rows in so small files of this machine are read by the program itself, in a fraction of a
#: second: Ray Data would start processes and take seconds for them. A row costs the program some
#: two kilobytes until the job ends.
ROWS_HERE, BYTES_HERE = 50_000, 32 * 2**20
#: So much may come out of packed files.
UNPACKED_HERE = 8 * BYTES_HERE

#: The variable that says by how many actors Ray Data reads the footers of Parquet files. By itself
#: it starts MOST_READERS, for one file, too, a process each: 3 s of a short job on two cores. One
#: has 20 footers under way.
READERS = "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"
MOST_READERS, FILES_A_READER = 32, 20

#: Files of one ending → (objects with `tables(schema)`, the schema).
LOOKS: dict[str, Callable[[list[Place]], tuple[Any, pa.Schema]]] = {
    **dict.fromkeys((".csv", ".tsv"), csv_file.look),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), json_lines.look),
    ".xlsx": excel_sheet.look,
}
FORMATS = (".parquet", *LOOKS)
KINDS = (
    "Parquet, CSV, TSV, JSON lines (.jsonl, .ndjson, .json) or Excel (.xlsx); the text formats "
    "also packed (.gz, .zst)"
)


@dataclass(frozen=True)
class Files:
    """Files of one format. readers, schema: of text files, known; None of Parquet."""

    places: list[Place]
    readers: list[Any] = field(default_factory=list)
    schema: pa.Schema | None = None

    def tables(self, numbered: str = "") -> Iterator[pa.Table]:
        """All rows, some at a time. numbered: the name of a column to add: see `dataset`."""
        if self.schema is None:
            with self.known():
                yield from map(pa.Table.from_batches, ([b] for b in self._parquet().to_batches()))
            return
        for at in range(len(self.readers)):
            yield from _numbered(self, at, numbered)

    def head(self, rows: int, numbered: str = "") -> pa.Table:
        """The first rows, in the order of the files."""
        if self.schema is None:
            with self.known():
                return self._parquet().head(rows)
        some, left = [], rows
        for table in self.tables(numbered):
            some.append(table.slice(0, left))
            left -= some[-1].num_rows
            if left <= 0:
                break
        return pa.concat_tables(some)

    def few(self, column: str, most: int) -> list[pa.Table] | None:
        """A column of Parquet files that all have it in one type, and at most so many rows; None
        for others, and where they can't be read: Ray reads them then, and says why."""
        if self.schema is not None:
            return None
        with contextlib.suppress(pa.ArrowException, OSError, KeyError):
            found = self._parquet()
            kind = found.schema.field(column).type
            schemas = [fragment.physical_schema for fragment in found.get_fragments()]
            same = all(schema.field(column).type == kind for schema in schemas)
            if same and found.count_rows() <= most:
                return [found.to_table(columns=[column])]
        return None

    def rows_here(self, numbered: str = "") -> pa.Table | None:
        """All rows, where they are few (see ROWS_HERE); None for more, for files elsewhere, and for
        Parquet files that differ, or can't be read: Ray reads them then, and says why. numbered: as
        in `dataset`."""
        if not _are_small(self.places):
            return None
        if self.schema is None:
            with contextlib.suppress(pa.ArrowException, OSError, KeyError):
                found = self._parquet()
                kinds = [fragment.physical_schema for fragment in found.get_fragments()]
                alike = all(kind.equals(found.schema) for kind in kinds)
                if alike and found.count_rows() <= ROWS_HERE:
                    return found.to_table()
            return None
        some, rows, size = [], 0, 0
        for table in self.tables(numbered):
            some.append(table)
            rows, size = rows + table.num_rows, size + table.nbytes
            if rows > ROWS_HERE or size > UNPACKED_HERE:
                return None
        return pa.concat_tables(some) if rows else None

    def dataset(self, numbered: str = "") -> ray.data.Dataset:
        """The rows as a Ray Dataset. Ray must be up.

        numbered: the name of a column to add, which names the rows where they have no id: their
        number in the file, from 1; with several files behind the file's name, as `a.csv:7`.
        """
        import ray.data

        if self.schema is None:
            paths, filesystem = [p.path for p in self.places], self.places[0].filesystem
            with self.known(), _footer_readers(len(paths)):
                made = ray.data.read_parquet(paths, filesystem=filesystem)
                made.schema()  # which it keeps
            return made
        places = ray.data.from_items([{"file": n} for n in range(len(self.readers))])
        return places.repartition(len(self.readers)).map_batches(
            _tables,
            fn_kwargs={"files": self, "numbered": numbered},
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=STAGE_CPUS,
        )

    def columns(self) -> list[str]:
        """The names of the columns, without reading the rows."""
        if self.schema is not None:
            return list(self.schema.names)
        with self.known():
            return list(self._parquet().schema.names)

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """What goes wrong while Parquet is read, with the file that is to blame."""
        try:
            yield
        except (pa.ArrowException, OSError) as problem:
            if self.schema is not None:
                raise
            raise _to_blame(self.places, problem) from problem

    def _parquet(self) -> Any:
        import pyarrow.dataset

        paths, filesystem = [p.path for p in self.places], self.places[0].filesystem
        return pyarrow.dataset.dataset(
            paths, format="parquet", filesystem=filesystem, partitioning="hive"
        )


@contextlib.contextmanager
def _footer_readers(files: int) -> Iterator[None]:
    """Have Ray Data read the footers of so many files by as many actors as they take. (What the
    program reads by itself later starts as few, unless it sets the variable.)"""
    if READERS in os.environ:
        yield
        return
    os.environ[READERS] = str(min(MOST_READERS, 1 + files // FILES_A_READER))
    try:
        yield
    finally:
        os.environ.pop(READERS, None)


def rows_here(path: str | Path) -> pa.Table | None:
    """All rows of a path, where they are few: see `Files.rows_here`."""
    places = [] if file_place.is_url(path) else file_place.files(path)
    return opened(path).rows_here() if _are_small(places) else None


def _are_small(places: list[Place]) -> bool:
    """Whether these are small files of this machine."""
    sizes = [place.size or 0 for place in places if place.is_local]
    return bool(sizes) and len(sizes) == len(places) and all(sizes) and sum(sizes) <= BYTES_HERE


def opened(path: str | Path) -> Files:
    """The files that a path, a folder, a pattern or a URL names (`file_place.files`); text files
    are read once, for their types.

    Raises LabError where there are none of a known format, or of several; DatasetError with the
    file, line and column of what can't be read.
    """
    every = file_place.files(path)
    known = [one for one in every if one.suffix in FORMATS]
    endings = sorted({one.suffix for one in known})
    if not known:
        other = f" ({every[0].name} is none)" if every else ""
        raise LabError(f"{file_place.place(path)} holds no file to read{other}: give {KINDS}.")
    if len(endings) > 1:
        raise LabError(
            f"{file_place.place(path)} holds files of several kinds ({', '.join(endings)}): name "
            f"one, or a pattern such as '*{endings[0]}'."
        )
    if endings == [".parquet"]:
        if packed := [one for one in known if one.packing]:
            raise LabError(f"{packed[0]}: Parquet is packed inside already. Unpack the file.")
        if empty := [one for one in known if one.size == 0]:  # Ray would pass over it
            raise _to_blame(empty, ValueError())
        return Files(known)
    readers, schema = LOOKS[endings[0]](known)
    return Files(known, readers, schema)


def _to_blame(places: list[Place], problem: Exception) -> DatasetError:
    """An error with the first file that is no Parquet, or has a column of another type than those
    before it."""
    import pyarrow.parquet as pq

    seen: dict[str, tuple[pa.DataType, Place]] = {}
    for place in places:
        try:
            schema = pq.read_schema(place.path, filesystem=place.filesystem)
        except (pa.ArrowException, OSError) as broken:
            what = f"can't be read as Parquet ({reason(broken)}). Write it again, or leave it out"
            return DatasetError.at(place, what)
        for column in schema:
            kind, first = seen.setdefault(column.name, (column.type, place))
            if not _fit(kind, column.type):
                what = f"{column.type} here, {kind} in {first}. Give it one type in all files"
                return DatasetError.at(place, what, column=column.name)
    return DatasetError.at(places[0], f"can't be read ({reason(problem)}). Is the file whole?")


def _fit(one: pa.DataType, two: pa.DataType) -> bool:
    """Whether one column can hold both."""
    schemas = [pa.schema([("any", kind)]) for kind in (one, two)]
    try:
        pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _numbered(files: Files, at: int, name: str) -> Iterator[pa.Table]:
    """The tables of one file, with the column `name` in front."""
    count = itertools.count(1)
    for table in files.readers[at].tables(files.schema):
        if name:
            numbers: list[Any] = list(itertools.islice(count, table.num_rows))
            if len(files.places) > 1:
                numbers = [f"{files.places[at].name}:{number}" for number in numbers]
            kind = pa.string() if len(files.places) > 1 else pa.int64()
            table = table.add_column(0, name, pa.array(numbers, kind))
        yield table


def _tables(batch: pa.Table, *, files: Files, numbered: str) -> Iterator[pa.Table]:
    for at in batch["file"].to_pylist():
        yield from _numbered(files, at, numbered)
