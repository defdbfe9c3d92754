"""CSV and TSV files of any dialect: one reader, whose problems have an address."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO, TypeAlias, TypeVar

import pyarrow as pa

from labkit.errors import LabError

#: Between the values of a row: also what spreadsheets write where numbers have commas, and tabs.
DELIMITERS = ",;\t|"
#: The characters of a field, at most: more means a quote that is left open.
LONGEST_FIELD = 2**27
#: Rows that are held at a time.
CHUNK_ROWS = 1000
#: What a column may be: the first of these that holds all of its values.
KINDS = (
    *(pa.null(), pa.int64(), pa.uint64(), pa.float64(), pa.bool_()),
    *(pa.date32(), pa.timestamp("s"), pa.string()),
)
#: Numbers as machines write them. The ids 007, 1e5 and 1.2.3 are none.
NUMBER = re.compile(r"-?(0|[1-9][0-9]*|(?=\.))(\.[0-9]+)?([eE][-+][0-9]+)?")
#: A quote or a backslash behind a backslash; others stay as they are (C:\\new).
ESCAPE = re.compile(r'\\(["\\])')

T = TypeVar("T")


#: What can be opened: a `Path`, or a file elsewhere, which has the same `open` and `suffix`
#: (`rows.file_place.Place`).
Readable: TypeAlias = Any


class DatasetError(LabError, ValueError):
    """Data can't be used as it is: the message names the file, line and column, and the way out."""

    @classmethod
    def at(cls, path: Readable, problem: str, line: int = 0, column: str = "") -> DatasetError:
        """Make the error for a place: `line` counts from 1, 0 and "" leave a part out."""
        where = f", line {line}" * bool(line) + f", column '{column}'" * bool(column)
        return cls(f"{path}{where}: {problem}")


@dataclass(frozen=True)
class File:
    """A file and how it is written. escaped: a quote is \\" inside of quotes, else doubled."""

    path: Readable
    encoding: str
    delimiter: str = ","
    escaped: bool = False

    @contextlib.contextmanager
    def text(self) -> Iterator[TextIO]:
        """The open file. What goes wrong while it is read is a DatasetError."""
        try:
            with self.path.open(encoding=self.encoding, newline="") as file:
                yield file
        except FileNotFoundError:
            problem = f"no such file. Check the path, seen from {Path.cwd()}"
            raise DatasetError.at(self.path, problem) from None
        except OSError as e:
            problem = f"can't be read ({e.strerror or e}). Give a readable file"
            raise DatasetError.at(self.path, problem) from e
        except UnicodeError:
            raise _undecodable(self.path) from None

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The line on which each row starts, and its fields: those of the header first.

        Raises DatasetError for rows of another length than the header, also for blank ones (but at
        the end of the file), and for quotes that are left open.
        """
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))  # of the whole process
        start, header, blank, names = 1, 0, 0, []
        with self.text() as file:
            lines = (ESCAPE.sub(_doubled, line) for line in file) if self.escaped else file
            reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
            try:
                for row in reader:
                    if not row:
                        blank = blank or start
                    elif not header:
                        names, header, blank = [name.strip() for name in row], start, 0
                        if twice := [name for name in names if names.count(name) > 1]:
                            problem = "two columns have this name. Rename one"
                            raise DatasetError.at(self.path, problem, start, twice[0])
                        yield start, names
                    elif blank or len(row) != len(names):
                        count = 0 if blank else len(row)
                        problem = f"{count} field(s), but line {header} names {len(names)} "
                        problem += "columns. Put a value that holds a comma or a line break in "
                        problem += '"double quotes"'
                        raise DatasetError.at(self.path, problem, blank or start)
                    else:
                        yield start, row
                    start = reader.line_num + 1
            except csv.Error as e:
                problem = f"not a valid CSV row ({e}). Close each quote; write a quote inside as "
                raise DatasetError.at(self.path, f"{problem}two", start) from None
        if not header:
            problem = "the file is empty. The first line must name the columns"
            raise DatasetError.at(self.path, problem, 1)

    def columns(self) -> Iterator[dict[str, list[str]]]:
        """The columns of some rows at a time; at least once, also where there are none."""
        rows = (row for _, row in self.rows())
        names = next(rows)
        some = list(itertools.islice(rows, CHUNK_ROWS))
        while True:
            yield {name: [row[at] for row in some] for at, name in enumerate(names)}
            if not (some := list(itertools.islice(rows, CHUNK_ROWS))):
                return

    def tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows as tables of a schema by `look`; an empty field is null."""
        for columns in self.columns():
            texts = {name: [text or None for text in some] for name, some in columns.items()}
            yield pa.table([_typed(texts[f.name], f.type) for f in schema], schema)


def _undecodable(path: Readable) -> DatasetError:
    save = "Save the file again with the encoding UTF-8"
    before = 0
    with path.open("rb") as file:
        for line, data in enumerate(file, 1):
            try:
                data.decode()
            except UnicodeDecodeError as e:
                problem = f"byte {before + e.start} is not UTF-8. {save}"
                return DatasetError.at(path, problem, line)
            before += len(data)
    return DatasetError.at(path, f"it is cut in the middle of a character. {save}")


def _doubled(escape: re.Match[str]) -> str:
    return '""' if escape[1] == '"' else "\\"


def read(
    path: Readable,
    use: Callable[[File], T],
    dialects: Callable[[Readable], list[File]] | None = None,
) -> T:
    """What `use` makes of the file in the first dialect in which it is read from end to end.

    dialects: how it may be written; None for those of CSV files. Raises DatasetError, that of the
    likeliest dialect.
    """
    problems = []
    for file in (dialects or _dialects)(path):
        try:
            return use(file)
        except DatasetError as problem:
            problems.append(problem)
    raise problems[0]


def _dialects(path: Readable) -> list[File]:
    """How a file may be written, by its first bytes and its header, the likeliest first."""
    with File(path, "latin-1").text() as text:
        marked = text.read(2).encode("latin-1") in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file = File(path, "utf-16" if marked else "utf-8-sig")
    with file.text() as text:
        if "\0" in text.read(4096):
            problem = "NUL characters: no text, or UTF-16 without a mark. Save it as UTF-8"
            raise DatasetError.at(path, problem, 1)
    own = "\t" if path.suffix.lower() == ".tsv" else ","
    columns = dict.fromkeys(own + DELIMITERS, 1)
    for delimiter in columns:
        with contextlib.suppress(DatasetError):
            columns[delimiter] = len(next(replace(file, delimiter=delimiter).rows())[1])
    likely = sorted(columns, key=lambda delimiter: -columns[delimiter])
    likely = [delimiter for delimiter in likely if columns[delimiter] > 1] or [own]
    return [File(path, file.encoding, one, escaped) for one in likely for escaped in (False, True)]


def look(
    paths: Sequence[Readable], dialects: Callable[[Readable], list[File]] | None = None
) -> tuple[list[File], pa.Schema]:
    """How each file is written, and the types of the columns, in the order of the first file.

    Every row is read: a column has a type only if each value is written as Python would write it
    (but 0.50 is a number). So 007 stays text. The type is null where all fields are empty.
    dialects: as for `read`. Raises DatasetError for the first problem of a file, and for files with
    other columns.
    """
    files: list[File] = []
    kinds: list[dict[str, list[pa.DataType]]] = []
    for path in paths:
        file, own = read(path, lambda file: (file, _kinds(file)), dialects)
        if kinds and own.keys() != kinds[0].keys():
            problem = f"the columns are {[*own]}, and {[*kinds[0]]} in {paths[0]}. Give files "
            raise DatasetError.at(path, f"{problem}with the same columns", 1)
        files.append(file)
        kinds.append(own)
    first = {n: next(k for k in KINDS if all(k in own[n] for own in kinds)) for n in kinds[0]}
    return files, pa.schema(first)


def _kinds(file: File) -> dict[str, list[pa.DataType]]:
    """The types of KINDS that hold all values of each column."""
    kinds: dict[str, list[pa.DataType]] = {}
    for columns in file.columns():
        for name, values in columns.items():
            texts = [text for text in values if text]
            kinds[name] = [kind for kind in kinds.get(name, KINDS) if _holds(kind, texts)]
    return kinds


def _holds(kind: pa.DataType, texts: list[str]) -> bool:
    if pa.types.is_string(kind):
        return True
    number = pa.types.is_floating(kind)
    if number and not all(map(NUMBER.fullmatch, texts)):
        return False
    try:
        values = _typed(texts, kind).to_pylist()
    except pa.ArrowException:
        return False
    if number:  # 17 digits: repr has those that tell it from the next number
        return [Decimal(repr(value)) for value in values] == [Decimal(text) for text in texts]
    return list(map(str, values)) == texts


def _typed(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.array(texts, kind)
    return pa.array(texts, pa.string()).cast(kind)
