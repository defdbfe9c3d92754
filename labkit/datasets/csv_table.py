"""Tables in and out with care: a CSV file that is checked, rows of any kind as a frame."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.datasets.csv_file import DatasetError as DatasetError
from labkit.datasets.csv_file import read


def _is_number(value: str, kind: type) -> bool:
    try:
        return "_" not in value and math.isfinite(kind(value))
    except ValueError:
        return False


def read_table(
    path: str | Path,
    required: Sequence[str],
    id_column: str = "id",
    text_column: str | None = None,
    numbers: Mapping[str, type] | None = None,
) -> pd.DataFrame:
    """Read a CSV file of any dialect; every value stays text unless said here.

    `required` columns must exist (`id_column` and `text_column` always). Ids must be there and
    be unique, and are read as int if all are. `text_column` may not be blank. `numbers` maps
    columns to int or float. No row is ever dropped. Raises DatasetError at the first problem.
    """
    path, numbers = Path(path), numbers or {}
    (_, names), *found = read(path, lambda file: list(file.rows()))
    lines, rows = [line for line, _ in found], [row for _, row in found]
    needed = dict.fromkeys([id_column, *required, *([text_column] if text_column else [])])
    for name in (*needed, *numbers):
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"Did you mean '{close[0]}'? " if close else ""
            problem = f"no such column among {names}. {hint}Rename one in line 1, or add it"
            raise DatasetError.at(path, problem, 1, name)
    if not rows:
        raise DatasetError.at(path, "no rows under the header. Add at least one", 2)
    columns: dict[str, list] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    for name in dict.fromkeys([id_column, text_column or id_column]):
        for value, line in zip(columns[name], lines, strict=True):
            if not value.strip():
                raise DatasetError.at(path, "blank. Fill it in, or delete the row", line, name)
    ids = columns[id_column] = [value.strip() for value in columns[id_column]]
    first: dict[str, int] = {}
    for value, line in zip(ids, lines, strict=True):
        if first.setdefault(value, line) != line:
            problem = f"the id {value!r} stands on line {first[value]} too. Make ids unique"
            raise DatasetError.at(path, problem, line, id_column)
    if all(re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value) for value in ids):
        columns[id_column] = [int(value) for value in ids]
    for name, kind in numbers.items():
        for value, line in zip(columns[name], lines, strict=True):
            if not _is_number(value, kind):
                problem = f"{value!r} is not {'a whole' if kind is int else 'a'} number. Correct it"
                raise DatasetError.at(path, problem, line, name)
        columns[name] = [kind(value) for value in columns[name]]
    return pd.DataFrame(columns)


def check_n(n: int | None, rows: int, path: Path) -> int:
    """Return how many rows to take: `n`, or all; DatasetError if the file hasn't that many."""
    if n is not None and not 1 <= n <= rows:
        raise DatasetError.at(path, f"n={n}, but the file has {rows} rows. Ask for 1 to {rows}")
    return rows if n is None else n


def frame(rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    """Rows as pandas makes a frame of them; where it can't, or would change a value, as they are.

    pandas keeps text in Arrow, which refuses half of a surrogate pair.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        found = pd.DataFrame(rows)
        for at in np.flatnonzero([kind.kind in "fc" for kind in found.dtypes]):
            found.isetitem(at, series([row.get(names[at]) for row in rows]).array)
        if None not in names:  # which pandas would turn into NaN
            return found
    except (ValueError, TypeError, OverflowError):
        columns = [series([row.get(name, math.nan) for row in rows]) for name in names]
        found = pd.DataFrame(dict(enumerate(columns)))
    found.columns = pd.Index(names, dtype=object, tupleize_cols=False)
    return found


def series(values: Sequence[Any], index: pd.Index | None = None) -> pd.Series:
    """Values as pandas makes a column of them; where it can't, or would change one, each as it is.

    Whole numbers beside None become pandas' Int64, and no floats, which hold 53 bits.
    """
    try:
        found = pd.Series(values, index=index)
        if found.dtype.kind not in "fc":
            return found
        whole = [isinstance(value, int | np.integer) for value in values]
        if 0 < sum(whole) == len(values) - sum(value is None for value in values) < len(values):
            return pd.Series(pd.array(values, dtype="Int64"), index=index)
        exact = [int(v) if is_int else v for v, is_int in zip(values, whole, strict=True)]
        if all(a == b or pd.isna(b) for a, b in zip(found.tolist(), exact, strict=True)):
            return found
    except (ValueError, TypeError, OverflowError):
        pass
    return pd.Series(values, index=index, dtype=object)
