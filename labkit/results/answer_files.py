"""A folder of answers, part by part: to a CSV or JSON-lines file, and counted by reason. Holds one
part at a time."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from labkit.errors import LabError
from labkit.rows import arrow_types, file_place

#: What `save` writes, by the ending of the name (`.gz` and `.zst` behind it are packed).
ENDINGS = (".csv", ".tsv", ".jsonl")


def parts(path: str | Path) -> Iterator[pa.Table]:
    """The parts of a folder of `labkit.write`, oldest first, here or at a URL."""
    folder = file_place.place(path)
    found = folder.filesystem.get_file_info(pafs.FileSelector(folder.path))
    names = [info.base_name for info in found if re.fullmatch(r"part-\d+\.parquet", info.base_name)]
    for name in sorted(names, key=lambda name: (len(name), name)):
        yield pq.read_table(folder.below(name).path, filesystem=folder.filesystem)


def frame(path: str | Path) -> pd.DataFrame:
    """All rows of a folder. See `arrow_types.frame`."""
    return arrow_types.frame(pa.concat_tables(parts(path)))


def save(path: str | Path, target: str | Path) -> None:
    """Write all rows of a folder to one file: `.csv`, `.tsv` or `.jsonl`, also packed, also a URL.

    In CSV an answer that is a dict has a column for each of its keys (`answer.name`), lists are
    JSON, and null is an empty field. Raises LabError for another ending.
    """
    place = target_of(target)
    with place.create() as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        if place.suffix == ".jsonl":
            for table in parts(path):
                for row in table.to_pylist():
                    text.write(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
            return
        writer = csv.writer(text, delimiter="\t" if place.suffix == ".tsv" else ",")
        for number, table in enumerate(parts(path)):
            flat = flattened(table)
            if number == 0:
                writer.writerow(flat.column_names)
            columns = [[_field(value) for value in column.to_pylist()] for column in flat.columns]
            writer.writerows(zip(*columns, strict=True))


def target_of(target: str | Path) -> file_place.Place:
    """The file to save to. Raises LabError for another ending, and for a folder."""
    place = file_place.place(target)
    if place.suffix not in ENDINGS:
        raise LabError(f"{place}: name a file that ends in {', '.join(ENDINGS)}.")
    if place.is_local and Path(place.path).is_dir():
        raise LabError(f"{place} is a folder: name a file in it.")
    return place


def flattened(table: pa.Table) -> pa.Table:
    """The same with a column for each key of a dict: `answer.name`. Deeper ones, too."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def failures(path: str | Path, id_column: str) -> tuple[pd.DataFrame, int]:
    """(failed rows by reason, all failed rows). Columns: `rows`, `reason` (numbers in it are "…":
    they differ from row to row), `such as`: the id and the whole reason of the first."""
    count: Counter[str] = Counter()
    first: dict[str, str] = {}
    for table in parts(path):
        failed = table.select([id_column, "error"]).filter(table["error"].is_valid())
        for id_, error in zip(*(column.to_pylist() for column in failed.columns), strict=True):
            kind = re.sub(r"\d+(\.\d+)?", "…", error)
            count[kind] += 1
            first.setdefault(kind, f"{id_}: {error}")
    rows = [(number, kind, first[kind]) for kind, number in count.most_common()]
    return pd.DataFrame(rows, columns=["rows", "reason", "such as"]), count.total()


def _plain(value: Any) -> Any:
    """A value that JSON has no name for, as text."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _field(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return value if value is None or isinstance(value, str | int | float) else _plain(value)
