"""How long each lesson will take on a machine, from a short run of its engine and measured lessons.

On CPU cores: a lesson starts the engine a few times, and the rest of it goes as fast as the engine
writes tokens. So, with the measured lesson (docs/times.md) and the same short run there,

    minutes here = starts × start here + (lesson there − starts × start there) × rate there / here

On a GPU lessons take other rows, and the card hardly matters beside the starts: they are as long as
measured on an H100 (docs/gpu.md). Checked on no third machine: look at the minute, not the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from labkit.hardware.machine import Machine
from labkit.paths import lessons_folder
from labkit.results import measured_times
from labkit.results.lesson_outline import lessons

#: The kind of machine that lessons were measured on, and the rows of its table in docs/times.md.
REFERENCE, SHORT_RUN = "2 cores with AVX-512", "The short run of `labkit preflight`"
START, RATE = "start of the engine, s", "output tokens/s"
#: Engines that each lesson starts, by its number (tests/engine_starts.py counts them).
STARTS = {1: 3, 2: 1, 3: 6}
CARD = "H100"


@dataclass(frozen=True)
class LessonMinutes:
    """minutes: of a lesson; NaN where nothing tells. basis: what the number rests on."""

    title: str
    minutes: float
    basis: str


def lesson_minutes(
    machine: Machine, start_s: float, tokens_per_s: float
) -> tuple[LessonMinutes, ...]:
    """Of each lesson here. start_s, tokens_per_s: of the short run; NaN where it failed."""
    ours = [lesson for lesson in lessons() if lesson.number in STARTS]
    if machine.device == "gpu":
        text = (lessons_folder("docs") / "gpu.md").read_text(encoding="utf-8")
        measured = measured_times.tables(text)["The lessons"]
        alike = measured_times.kind(machine) == CARD
        basis = f"measured on an {CARD}" + ("" if alike else ", not on this card")
        return tuple(
            LessonMinutes(one.title, measured[str(one.number)]["seconds"] / 60, basis)
            for one in ours
        )
    page = measured_times.page()
    there = {name: page[SHORT_RUN][name][REFERENCE] for name in (START, RATE)}
    found = []
    for one in ours:
        whole, starts = page[one.name]["all of it"][REFERENCE], STARTS[one.number]
        rest = max(0.0, whole - starts * there[START])
        seconds = starts * start_s + rest * there[RATE] / tokens_per_s if tokens_per_s else math.nan
        found.append(LessonMinutes(one.title, seconds / 60, f"scaled from {REFERENCE}"))
    return tuple(found)
