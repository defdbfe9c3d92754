"""The command line: run, batch, plan, doctor, fetch, label, sweep, tune, classroom and others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from labkit import __version__
from labkit.cli import (
    batch,
    classroom,
    compare,
    get,
    handed_in,
    label,
    lessons,
    look,
    plan,
    preflight,
    repository,
    run,
    sweep,
    tune,
)
from labkit.errors import LabError

#: Each adds its commands, in the order of the help.
ROOM = (
    run,
    look,
    get,
    lessons,
    label,
    sweep,
    tune,
    batch,
    plan,
    compare,
    preflight,
    classroom,
    handed_in,
    repository,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 for a LabError, which is shown as one message, and
    where some of the work failed."""
    parser = argparse.ArgumentParser(prog="labkit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"labkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in ROOM:
        module.add(commands)
    given = parser.parse_args(arguments)
    try:
        code: int = given.call(given)
        return code
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("tools"):
            raise
        print(
            f"labkit {given.command}: this is of the repository, not of the installed package: "
            "run it in a clone or in the unpacked source archive.",
            file=sys.stderr,
        )
        return 1
    except LabError as error:
        print(f"labkit {given.command}: {error}", file=sys.stderr)
        return 1
