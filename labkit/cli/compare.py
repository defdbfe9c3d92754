"""The command `labkit compare`: the curves of several sweeps on one chart."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    compare = commands.add_parser("compare", help="the curves of several sweeps on one chart")
    compare.add_argument("files", nargs="+", type=Path, help="of labkit sweep --out")
    compare.add_argument("--rate", default="output tokens/s", help="or 'rows/s'")
    compare.add_argument("--out", type=Path, help="a page (.html) or a picture (.png, .svg)")
    compare.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Print the table and one sentence; write the page or the picture."""
    from labkit.sweep_comparison import compare_sweeps

    found = compare_sweeps(*given.files, rate=given.rate)
    print(found.table().round(1).to_string())
    print(found.sentence())
    if given.out:
        page = given.out.suffix.lower() in (".html", ".htm")
        if page:
            found.page().save(given.out)
        else:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            found.chart().save(given.out)
        print(f"Written: {given.out}")
    return 0
