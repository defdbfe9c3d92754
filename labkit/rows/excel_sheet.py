"""The first sheet of an Excel workbook, read as a CSV file is: the same types, the same errors.

openpyxl reads it.
"""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labkit.datasets import csv_file
from labkit.datasets.csv_file import DatasetError
from labkit.errors import LabError
from labkit.rows.file_place import Place


@dataclass(frozen=True)
class Sheet(csv_file.File):
    """The first sheet of a workbook: its first row names the columns; blank rows are none."""

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The number of each row, and its cells as text: those of the header first."""
        cells = _rows(self.path)
        number, names = next(((n, row) for n, row in cells if any(row)), (0, []))
        while names and not names[-1]:
            names.pop()
        if not names:
            raise DatasetError.at(self.path, "the first sheet is empty", 1)
        for at, name in enumerate(names):
            if not name or names.index(name) < at:
                what = f"column {at + 1} has {'the name of another' if name else 'no name'}"
                raise DatasetError.at(self.path, f"{what}. Give each one its own", number)
        yield number, names
        for number, row in cells:
            if any(row[len(names) :]):
                what = f"a cell beyond the {len(names)} columns that have names"
                raise DatasetError.at(self.path, f"{what}. Name its column, or clear it", number)
            if any(row):
                yield number, [*row, *[""] * len(names)][: len(names)]


def _rows(place: Any) -> Iterator[tuple[int, list[str]]]:
    try:
        import openpyxl
    except ImportError:
        raise LabError(
            f"{place} is an Excel file, and openpyxl, which reads them, is not installed: `pip "
            "install openpyxl`, or save the sheet as CSV (UTF-8)."
        ) from None
    try:
        book = openpyxl.load_workbook(place.whole(), read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as problem:
        raise DatasetError.at(place, f"no Excel workbook (.xlsx): {problem}") from None
    try:
        for number, row in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            yield number, [_text(value) for value in row]
    finally:
        book.close()


def _text(value: Any) -> str:
    """A cell as a CSV file has it. Midnight is a day; a number that Excel holds as 3.0 is 3."""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return "" if value is None else str(value)


def look(places: Sequence[Place]) -> tuple[list[csv_file.File], pa.Schema]:
    """The sheets, and the types of their columns. Raises DatasetError and LabError."""
    return csv_file.look(places, lambda place: [Sheet(place, "")])
