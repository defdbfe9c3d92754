"""Tables for reading: text to the left, wrapped instead of cut off."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from labkit.errors import lab_errors

#: A cell that reads as a number: '1,234', '-0.5', '29.4 s', '45%', '10.3×', '–' for an unknown one.
NUMBER = re.compile(r"[-+−]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?\s?(%|×|s|ms|min|h|GiB|MiB)?")
UNKNOWN = ("–", "")
WRAPPED = "; white-space: pre-wrap; overflow-wrap: break-word; max-width: 44em"
#: A text of more letters keeps a readable width on a narrow screen, where the table scrolls.
LONG, READABLE = 60, "; min-width: 12em"


@dataclass(frozen=True)
class Table:
    """A frame that a notebook shows in full: numbers to the right, text to the left.

    names: how many of its first columns name the rows.
    """

    frame: pd.DataFrame
    names: int = 0

    def _columns(self) -> list[tuple[str, list[str]]]:
        """(head, cells) of each column, as text."""
        return [
            (_head(name), _cells(self.frame.iloc[:, at]))
            for at, name in enumerate(self.frame.columns)
        ]

    def _repr_html_(self) -> str:
        columns = self._columns()
        sides = ["right" if _is_numeric(cells) else "left" for _, cells in columns]
        heads = [
            _tag("th", "col", side, head) for side, (head, _) in zip(sides, columns, strict=True)
        ]
        rows = [f"<thead>\n<tr>{''.join(heads)}</tr>\n</thead>\n<tbody>"]
        for row in range(len(self.frame)):
            cells = [
                _tag(*(("th", "row") if at < self.names else ("td", "")), side, cells[row])
                for at, (side, (_, cells)) in enumerate(zip(sides, columns, strict=True))
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        if not len(self.frame):
            rows.append(f'<tr><td colspan="{max(1, len(columns))}">no rows</td></tr>')
        body = "\n".join(rows)
        return f'<table class="dataframe">\n{body}\n</tbody>\n</table>'

    def __repr__(self) -> str:
        columns = self._columns()
        cells = pd.DataFrame({at: cells for at, (_, cells) in enumerate(columns)})
        return cells.to_string(header=[head for head, _ in columns], index=False, max_colwidth=60)


@lab_errors("The table could not be shown")
def show(frame: pd.DataFrame, rows: int | None = None) -> Table:
    """Show a frame (its first `rows`, if given): numbers to the right, text to the left, wrapped.

    The index stands in the first columns, under its name if it has one; bare row numbers (whole
    numbers without a name) are left out. A column of whole numbers has no decimals, another one at
    most two.
    """
    frame = frame if rows is None else frame.head(rows)
    index = frame.index
    unnamed = all(name is None for name in index.names)
    if unnamed and index.nlevels == 1 and pd.api.types.is_integer_dtype(index.dtype):
        return Table(frame.set_axis(_heads(frame.columns), axis=1))
    names = ["" if name is None else str(name) for name in index.names]
    if frame.columns.nlevels == 1 and frame.columns.name is not None:  # a table of two kinds
        names[-1] = f"{names[-1]} ↓ {frame.columns.name} →".strip()
    levels = [pd.Series(index.get_level_values(at), dtype=None) for at in range(index.nlevels)]
    body = [frame.iloc[:, at].reset_index(drop=True) for at in range(frame.shape[1])]
    whole = pd.concat([*levels, *body], axis=1)
    return Table(whole.set_axis([*names, *_heads(frame.columns)], axis=1), index.nlevels)


def _heads(columns: pd.Index) -> list[str]:
    return [_head(name) for name in columns]


def _head(name: Any) -> str:
    """The name of a column; of several levels, one after the other."""
    return (
        " · ".join(str(part) for part in name if str(part))
        if isinstance(name, tuple)
        else str(name)
    )


def _cells(column: pd.Series) -> list[str]:
    """The values of a column as text. Unknown numbers are a dash."""
    if is_float_dtype(column.dtype):
        return _floats([float(value) for value in column.astype(float)])
    if is_numeric_dtype(column.dtype) and not is_bool_dtype(column.dtype):
        return ["–" if pd.isna(value) else str(value) for value in column]
    return [_text(value) for value in column]


def _floats(values: Sequence[float]) -> list[str]:
    """Alike in their decimals: none where all are whole, else the least up to two that they need.
    Very small or large ones as they are needed, each for itself."""
    known = [value for value in values if math.isfinite(value)]
    if any(value and not 0.005 <= abs(value) < 1e15 for value in known):
        texts = [
            f"{value:.2f}".rstrip("0").rstrip(".") if 1 <= abs(value) < 1e15 else f"{value:.3g}"
            for value in values
        ]
    else:
        decimals = next((n for n in (0, 1) if all(round(v, n) == round(v, 2) for v in known)), 2)
        if decimals == 0 and any(value != round(value) for value in known):
            decimals = 2
        texts = [f"{value:.{decimals}f}" for value in values]
    return ["–" if math.isnan(value) else text for value, text in zip(values, texts, strict=True)]


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return _floats([float(value)])[0]
    return re.sub(r"\r\n?", "\n", str(value))


def _is_numeric(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if cell not in UNKNOWN]
    return bool(known) and all(NUMBER.fullmatch(cell) for cell in known)


def _tag(tag: str, scope: str, side: str, text: str) -> str:
    # `align` is for GitHub, which takes styles away.
    where = f' scope="{scope}"' if scope else ""
    words = escape(text, quote=False).replace("\n", "<br>")
    wrapped = WRAPPED + (READABLE if len(text) > LONG else "") if side == "left" else ""
    style = f"text-align: {side}; vertical-align: top{wrapped}"
    return f'<{tag}{where} align="{side}" style="{style}">{words}</{tag}>'
