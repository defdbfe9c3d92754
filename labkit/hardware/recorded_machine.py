"""The machine that the lessons were recorded on: it stands for this one while they are played back
(LABKIT_REPLAY=1), so that rows, settings and captions are those of the recording."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from labkit.errors import LabError
from labkit.paths import DATASETS

REPLAY, RECORD = "LABKIT_REPLAY", "LABKIT_RECORD"
FOLDER = DATASETS / "recordings" / "lessons"


def replaying() -> bool:
    """Whether jobs are played back instead of run: LABKIT_REPLAY is set, and not to 0."""
    return os.environ.get(REPLAY, "0") not in ("", "0")


@functools.cache
def about() -> dict[str, Any]:
    """The recording's machine, date, versions and jobs. Raises LabError where there is none."""
    try:
        found: dict[str, Any] = json.loads((FOLDER / "about.json").read_text())
        return found
    except (OSError, ValueError) as problem:
        raise LabError(
            f"The recording of the lessons can't be read: {problem}. Fetch the lab anew, or run "
            f"without {REPLAY}."
        ) from problem
