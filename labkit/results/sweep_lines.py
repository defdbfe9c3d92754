"""The lines of a sweep's file: where it was measured, then a run a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labkit.errors import LabError

#: How the file of a sweep begins.
FIRST = '{"provenance": '


def read_runs(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """(provenance, runs, the text of their lines) of the file of a sweep.

    A last line that was cut off, by a kill or a full disk, is left out; where it is the first, all
    three are empty. Raises LabError when the file can't be read or is another one.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            *before, last = lines
            if _is_json(last):  # only the end of the line is missing
                lines[-1] += "\n"
            elif last.startswith("{") and (before or FIRST.startswith(last[: len(FIRST)])):
                lines = before
                if not lines:
                    return {}, [], ""
        first, *runs = [json.loads(line) for line in lines]
        return dict(first["provenance"]), [dict(run) for run in runs], "".join(lines)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise LabError(
            f"{path} is not a sweep of this lab ({problem}): give another file."
        ) from problem


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
        return True
    except ValueError:
        return False
