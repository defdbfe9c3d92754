"""The command `labkit preflight`: this machine the evening before a class; or the whole room."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from labkit.errors import LabError


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    check = commands.add_parser("preflight", help="will the lessons run here, in how many minutes")
    check.add_argument("--out", type=Path, help="a page (.html) for the teacher, or .json")
    check.add_argument("--name", default="", help="what stands on it, such as yours")
    check.add_argument("--minutes", type=float, default=15.0, help="of a lesson (default: 15)")
    check.add_argument("--model", help="registry name, Hugging Face id or folder")
    check.add_argument("--room", type=Path, nargs="+", metavar="FILE", help="sum up these pages")
    check.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Print what was found and write the page; 1 where something is to be done."""
    import labkit
    from labkit.preflight_check import preflight
    from labkit.preflight_room import room
    from labkit.results.sweep_file import write_whole

    out = given.out
    if out and out.suffix.lower() not in (".html", ".htm", ".json"):
        raise LabError(f"--out is a page such as preflight.html, or a .json, not {out}.")
    if given.room:
        many = room(given.room)
        print(many)
        if out:
            many.page().save(out)
        return 1 if many.bad else 0
    try:
        found = preflight(given.model, name=given.name, limit_min=given.minutes)
    finally:
        labkit.stop()
    print(found)
    if out and out.suffix.lower() == ".json":
        write_whole(out, json.dumps(found.to_json(), indent=1, allow_nan=False))
    elif out:
        found.page().save(out)
    if out:
        print(f"Send {out} to your teacher.")
    return 0 if found.ready else 1
