"""JSON lines, and files that hold one JSON array: the values as written, in typed columns."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labkit.datasets.csv_file import CHUNK_ROWS, DatasetError
from labkit.rows.arrow_types import UNHELD, writable
from labkit.rows.file_place import Place

Line = tuple[int, dict[str, Any]]
#: What is said of a column that mixes types.
ONE_TYPE = (
    "A column has values of one type, or null: write numbers as text, or leave the column out"
)


@dataclass(frozen=True)
class JsonFile:
    """A file with an object on each line, or an array of objects."""

    place: Place

    def rows(self) -> Iterator[Line]:
        """The number of its line (in an array: of the object), from 1, and each object.

        Raises DatasetError for what is no JSON, or no object. Blank lines are passed over.
        """
        try:
            with self.place.open(encoding="utf-8-sig") as file:
                if self.place.suffix == ".json" and _is_array(file.readline(64)):
                    yield from self._array()
                    return
            with self.place.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, self._object(self._loaded(line, number), number)
        except UnicodeError as problem:
            what = f"not UTF-8 ({problem.reason if hasattr(problem, 'reason') else problem})"
            raise self._wrong(f"{what}. Save the file again with the encoding UTF-8") from None
        except OSError as problem:
            raise self._wrong(f"can't be read ({problem.strerror or problem})") from problem

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows as tables of a schema by `look`."""
        for some in self._chunks():
            columns = [pa.array([row.get(f.name) for _, row in some], f.type) for f in schema]
            yield pa.table(columns, schema)

    def types(self, kinds: dict[str, pa.DataType]) -> None:
        """Widen the types by name, so that they hold all values of this file. Raises DatasetError
        for the first value that has no place beside the others."""
        for some in self._chunks():
            for name in dict.fromkeys(name for _, row in some for name in row):
                values = [row.get(name) for _, row in some]
                before = kinds.get(name, pa.null())
                try:
                    kinds[name] = _joined(before, pa.array(values).type)
                    pa.array(values, kinds[name])
                except UNHELD:
                    kinds[name] = self._one_by_one(name, before, some)

    def _one_by_one(self, name: str, kind: pa.DataType, some: list[Line]) -> pa.DataType:
        """The same, value by value: to say where."""
        for number, row in some:
            value = row.get(name)
            try:
                kind = _joined(kind, pa.array([value]).type)
                pa.array([value], kind)
            except UNHELD as problem:
                text = json.dumps(value, ensure_ascii=False)[:60]
                what = f"{text} doesn't fit the values before it ({kind}; {problem}). {ONE_TYPE}"
                raise self._wrong(what, number, name) from None
        try:  # each for itself, and not together: a whole number that no float holds
            pa.array([row.get(name) for _, row in some], kind)
        except UNHELD as problem:
            raise self._wrong(f"{problem}. {ONE_TYPE}", some[0][0], name) from None
        return kind

    def _chunks(self) -> Iterator[list[Line]]:
        rows = self.rows()
        while some := list(itertools.islice(rows, CHUNK_ROWS)):
            yield some

    def _array(self) -> Iterator[Line]:
        with self.place.open(encoding="utf-8-sig") as file:
            for number, row in enumerate(self._loaded(file.read(), 0), 1):
                yield number, self._object(row, number)

    def _loaded(self, text: str, number: int) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise self._wrong(f"no JSON ({problem})", number) from None

    def _object(self, row: Any, number: int) -> dict[str, Any]:
        if not isinstance(row, dict):
            what = f"{json.dumps(row, ensure_ascii=False)[:60]} is no object. Write each row as "
            raise self._wrong(f'{what}{{"column": value, …}}', number)
        return row

    def _wrong(self, problem: str, line: int = 0, column: str = "") -> DatasetError:
        return DatasetError.at(self.place, problem, line, column)


def look(places: Sequence[Place]) -> tuple[list[JsonFile], pa.Schema]:
    """The files, and the types of their columns by all values, in the order of first sight. A file
    without a column has null there. Raises DatasetError."""
    found, kinds = [JsonFile(place) for place in places], dict[str, pa.DataType]()
    for file in found:
        file.types(kinds)
    for name, kind in kinds.items():
        try:
            writable(kind)
        except pa.ArrowException as problem:
            raise DatasetError.at(places[0], f"{problem}. Leave it out", column=name) from None
    return found, pa.schema(kinds)


def _is_array(begin: str) -> bool:
    return begin.lstrip().startswith("[")


def _joined(one: pa.DataType, two: pa.DataType) -> pa.DataType:
    """The type of both: also a dict's keys of both. Raises ArrowException where there is none."""
    schemas = [pa.schema([("any", kind)]) for kind in (one, two)]
    found: pa.DataType = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    return found
