"""`labkit tune`: a fast setting, found within a time."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.cli.asked import add_options, asked


def add(commands: Any) -> None:
    """The command and its options."""
    tune = commands.add_parser("tune", help="find a fast setting within a time")
    add_options(tune, "sentiment", 600, "rows to draw from")
    tune.add_argument("--seconds", type=float, default=420.0, help="for all of it (default: 420)")
    tune.add_argument("--model", help="registry name, Hugging Face id or folder")
    tune.add_argument("--out", type=Path, help="JSON-lines file; a search that was cut goes on")
    tune.set_defaults(call=_tune)


def _tune(given: argparse.Namespace) -> int:
    import labkit

    task, rows = asked(given)
    task = replace(task, allow_empty=True)  # speed is measured: no text is an answer, too
    try:
        found = labkit.tune(
            task, rows, labkit.configure(given.model), seconds=given.seconds, path=given.out
        )
    finally:
        labkit.stop()
    print(found.table.round(2).to_string(index=False))
    print(found.sentence())
    return 0
