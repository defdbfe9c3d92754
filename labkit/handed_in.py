"""Hand in: the work of this notebook beside what lies in the file, and reading such a file back.

Each lesson is a program of its own: a later call puts its work beside what lies in the file. No
answer of an exercise is in it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from labkit import __version__
from labkit.errors import LabError, lab_errors
from labkit.hand_in_page import KIND, HandIn
from labkit.hardware import classroom_seat
from labkit.hardware import machine as machines
from labkit.hardware.classroom_seat import seated
from labkit.hardware.recorded_machine import replaying
from labkit.paths import full_path
from labkit.results.class_work import STATES, Tried, work
from labkit.results.curve import curve, plain_text
from labkit.results.job import Job
from labkit.results.sweep_file import write_whole

#: Characters of a name and of a cell, rows of the learner's own job, bytes of a file: at most.
NAME, CELL, ROWS, MOST_BYTES = 60, 160, 8, 2**20
#: Tries that a file may claim.
MOST_TRIES = 10**6


@lab_errors("The work could not be handed in")
def hand_in(
    path: str | Path = "hand_in.html", *, name: str | None = None, capstone: Job | None = None
) -> HandIn:
    """Write what you did in the lessons as one page, and as JSON beside it, for your teacher.

    path: the page; the JSON has its name with .json. Where a JSON of yours lies there already, as
    from another lesson, what it holds is kept: an exercise that was right stays right.
    name: what stands on it; None: as it was, else nothing. capstone: the job of your own rows; its
    numbers and first rows go in.

    `.right` of what comes back counts exercises: as the last value of a cell that nbgrader grades,
    it is the points.

    Raises LabError where the files can't be written, or what lies there is no hand-in or another
    learner's: nothing is overwritten then.
    """
    page = full_path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise LabError(f"path is the page's file, such as 'hand_in.html', not {str(path)!r}.")
    file = page.with_suffix(".json")
    before = read(file) if file.exists() else None
    shown = None if name is None else plain_text(name, NAME)
    if before is not None and before.name and shown and before.name != shown:
        raise LabError(
            f"{file} holds the work of {before.name!r}: give another path, or move it away."
        )
    done = HandIn(
        name=shown if shown is not None else before.name if before else "",
        made=time.strftime("%Y-%m-%d"),
        machine=_machine(),
        exercises=work.all_exercises(),
        curves=tuple(work.all_curves()),
        capstone=None if capstone is None else _own_job(capstone),
    )
    done = done if before is None else merged(before, done)
    done.page().save(page)
    write_whole(file, json.dumps(done.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
    return done


def merged(before: HandIn, now: HandIn) -> HandIn:
    """Both: the best state of each exercise, the newer of two curves and of two jobs."""
    exercises = dict(before.exercises)
    for name, one in now.exercises.items():
        there = exercises.get(name, Tried(STATES[0], 0))
        state = max(there.state, one.state, key=STATES.index)
        exercises[name] = Tried(state, max(there.tries, one.tries))
    curves = {(*one.what, one.device): one for one in before.curves}
    for new in now.curves:
        key = (*new.what, new.device)
        guess = new.guess if new.guesses() or key not in curves else curves[key].guess
        curves[key] = replace(new, guess=guess)
    return replace(
        now,
        exercises=exercises,
        curves=tuple(curves.values()),
        capstone=now.capstone or before.capstone,
    )


def of_class(handed: Mapping[str, HandIn]) -> pd.DataFrame:
    """A row for what each file holds: name, exercises that are right in each lesson and in all, of
    how many, whether a job of their own is in it, and when it was made."""
    rows = {
        file: {
            "name": one.name,
            **{title: right for title, (right, _) in one.by_lesson().items()},
            "right": one.right,
            "of": one.of,
            "own job": "yes" if one.capstone else "no",
            "made": one.made,
        }
        for file, one in handed.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def read(file: Path) -> HandIn:
    """A file that `hand_in` wrote. Raises LabError for any other."""
    file = full_path(file)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        held = json.loads(file.read_text(encoding="utf-8"))
        if held["kind"] != KIND:
            raise ValueError("it is of another kind")
        texts = {key: str(value) for key, value in dict(held["machine"]).items()}
        return HandIn(
            name=plain_text(held["name"], NAME),
            made=plain_text(held["made"], NAME),
            machine={plain_text(key): plain_text(value, CELL) for key, value in texts.items()},
            exercises={plain_text(one["name"]): _tried(one) for one in held["exercises"]},
            curves=tuple(map(curve, held["curves"])),
            capstone=_capstone(held["capstone"]),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError, LabError) as problem:
        raise LabError(
            f"{file} is not what labkit.hand_in wrote ({problem}): give another path, or move it "
            "away."
        ) from problem


def _tried(one: Mapping[str, Any]) -> Tried:
    if one["state"] not in STATES or type(one["tries"]) is not int:
        raise ValueError("an exercise has a state and a number of tries")
    return Tried(one["state"], min(MOST_TRIES, max(0, one["tries"])))


def _machine() -> dict[str, str]:
    """On what the work was done; no name of a host or a user, and no token."""
    machine = machines.detect()
    facts = {"machine": machine.described, "memory": f"{machine.memory_gib:.0f} GiB"}
    if replaying():
        facts["engine"] = "none: jobs were played back from the recording"
    elif seated():
        facts["engine"] = classroom_seat.words()
    versions = [f"{name} {version}" for name, version in machine.versions.items() if version]
    return {**facts, "versions": ", ".join([f"labkit {__version__}", *versions])}


def _own_job(job: Job) -> dict[str, Any]:
    """Numbers and first rows of a job, as JSON."""
    m = job.metrics
    numbers = {"answered": f"{m.rows:,}", "failed": f"{len(job.failed):,}"}
    for words, rate in (("rows/s", m.rows_per_s), ("output tokens/s", m.output_tokens_per_s)):
        if math.isfinite(rate):
            numbers[words] = f"{rate:,.1f}"
    frame = job.answers.head(ROWS)
    return {
        "numbers": numbers,
        "columns": [plain_text(column) for column in frame.columns],
        "rows": [[_cell(value) for value in row] for row in frame.to_numpy(object)],
    }


def _cell(value: Any) -> str:
    text = plain_text(value, CELL + 1)
    return text if len(text) <= CELL else f"{text[: CELL - 2]} …"


def _capstone(held: Any) -> dict[str, Any] | None:
    if held is None:
        return None
    columns = [plain_text(column) for column in list(held["columns"])]
    rows = [[plain_text(value, CELL) for value in list(row)] for row in list(held["rows"])[:ROWS]]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError("its rows have other columns")
    numbers = {plain_text(k): plain_text(v, CELL) for k, v in dict(held["numbers"]).items()}
    return {"numbers": numbers, "columns": columns, "rows": rows}
