"""`labkit classroom`: share this machine's engine with a class."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from labkit.errors import LabError


def add(commands: Any) -> None:
    """The command and its options."""
    room = commands.add_parser("classroom", help="share this machine's engine with a class")
    room.add_argument("--seats", type=int, default=30, help="learners (default: 30)")
    room.add_argument("--sheet", type=Path, help="HTML page of the seats' links, to print")
    room.add_argument("--open", action="store_true", help="to the room: not to this machine alone")
    room.add_argument("--port", type=int, default=8899)
    room.add_argument("--model", help="registry name, Hugging Face id or folder")
    room.add_argument("--rows", type=int, default=8192, help="of a turn, at most (default: 8192)")
    room.add_argument("--seconds", type=float, default=60.0, help="of a turn (default: 60)")
    room.add_argument("--folder", type=Path, help="of the line and the key (default: the cache)")
    room.set_defaults(call=_classroom)


def _classroom(given: argparse.Namespace) -> int:
    from labkit.api.configure import configure
    from labkit.classroom.open_class import open_class
    from labkit.classroom.turn_queue import Limits
    from labkit.hardware.classroom_seat import CLASS, seated
    from labkit.paths import cache_dir

    if seated():
        raise LabError(f"This program is a seat itself: unset {CLASS}, then open the class.")
    if given.rows < 1 or not 0 < given.seconds < float("inf"):
        raise LabError("A turn has at least one row, and a time above 0.")
    open_class(
        configure(given.model, warm=True),
        seats=given.seats,
        folder=given.folder or cache_dir() / "classroom",
        host="0.0.0.0" if given.open else "127.0.0.1",
        port=given.port,
        limits=Limits(rows=given.rows, seconds=given.seconds),
        sheet=given.sheet,
        say=lambda words: print(words, flush=True),
    )
    return 0
