"""The command `labkit handed-in`: what a class handed in, a line for each learner."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    handed = commands.add_parser("handed-in", help="what a class handed in, a line a learner")
    handed.add_argument("files", nargs="+", type=Path, help="JSON that labkit.hand_in wrote")
    handed.add_argument("--out", type=Path, metavar="FILE.csv", help="write the table there, too")
    handed.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Print the table, and the files that are none; 1 where there were such."""
    from labkit.errors import LabError
    from labkit.handed_in import of_class, read

    found, bad = {}, []
    for file in given.files:
        try:
            found[file.stem] = read(file)
        except LabError as problem:
            bad.append(f"left out: {problem}")
    table = of_class(found)
    print(table.to_string() if len(table) else "No file was handed in.")
    print("\n".join(bad), end="\n" if bad else "")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        _no_formulas(table).to_csv(given.out, index_label="file")
        print(f"Written: {given.out}")
    return 1 if bad else 0


def _no_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a quote before each text that a spreadsheet would take for a formula."""
    as_text = table.rename(index=_text)
    return as_text.map(_text) if len(as_text) else as_text


def _text(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@") else value
