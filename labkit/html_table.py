"""Tables for reading: text to the left, wrapped instead of cut off."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

#: A line break while pandas makes the table: it would write \n as two characters, as in `C:\new`.
BREAK = "\ue000"
CELL = 'style="text-align: left; vertical-align: top; white-space: pre-wrap; max-width: 44em"'


@dataclass(frozen=True)
class Table:
    """A frame that a notebook shows in full, with its text to the left."""

    frame: pd.DataFrame

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None, "display.precision", 2):
            frame = self.frame.replace(r"\r\n?|\n", BREAK, regex=True)
            frame = frame.rename(columns=lambda name: str(name).replace("\n", BREAK))
            text = frame.to_html(border=0)
        text = text.replace('<tr style="text-align: right;">', "<tr>")
        # The cells keep their spaces (`pre-wrap`): pandas need not make two of them hard ones.
        text = text.replace(BREAK, "<br>").replace("&nbsp;", " ")
        return text.replace("<td>", f"<td {CELL}>").replace("<th>", f"<th {CELL}>")

    def __repr__(self) -> str:
        return self.frame.to_string(max_colwidth=60)


def show(frame: pd.DataFrame, rows: int | None = None) -> Table:
    """Show a frame (its first `rows`, if given) with its text to the left and not cut off.

    The name of the index goes to the head of the table; a bare row number is left out.
    """
    frame = frame if rows is None else frame.head(rows)
    named = [name for name in frame.index.names if name is not None]
    if named:
        frame = frame.reset_index()
    return Table(frame.set_axis([""] * len(frame), axis=0))
