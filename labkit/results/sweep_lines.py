"""The lines of the file of a sweep or a search: where it was measured, then a run a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.paths import full_path

#: What the first line of a file begins with, by its kind.
KEYS = {"sweep": "provenance", "search": "tuning"}


def read_lines(
    path: str | Path, kind: str = "sweep"
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """(provenance, runs, the text of their lines) of a file. kind: of KEYS.

    A last line that was cut off, by a kill or a full disk, is left out; where it is the first, all
    three are empty. Raises LabError when the file can't be read or is another one.
    """
    begin = f'{{"{KEYS[kind]}": '
    try:
        lines = full_path(path).read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            *before, last = lines
            if _is_json(last):  # only the end of the line is missing
                lines[-1] += "\n"
            elif last.startswith("{") and (before or begin.startswith(last[: len(begin)])):
                lines = before
                if not lines:
                    return {}, [], ""
        first, *runs = [json.loads(line) for line in lines]
        return dict(first[KEYS[kind]]), [dict(run) for run in runs], "".join(lines)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise another(path, kind, problem) from problem


def another(path: str | Path, kind: str, problem: Exception) -> LabError:
    """The error for a file that is none of this kind."""
    return LabError(f"{path} is not a {kind} of this lab ({problem}): give another file.")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
        return True
    except ValueError:
        return False
