"""The evening before: can this machine do the lessons, in how many minutes, and what if not?

One page for the teacher, with the same as JSON folded below it; `preflight_room` sums up thirty.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from labkit import __version__, tasks
from labkit.api.checkup import doctor
from labkit.api.configure import configure
from labkit.api.measure_job import measure
from labkit.api.report import FAIL, OK, WARN, Check, Report
from labkit.datasets import load_faq
from labkit.errors import LabError, lab_errors
from labkit.hardware import machine as machines
from labkit.hardware.classroom_seat import CLASS
from labkit.hardware.recorded_machine import REPLAY, replaying
from labkit.pages.page import Page
from labkit.progress import View
from labkit.results.curve import plain_text
from labkit.results.lesson_minutes import LessonMinutes, lesson_minutes

KIND = "labkit preflight"
#: About how long the engine runs, its start aside, in how many runs at most; and what a lesson may
#: take, in minutes.
SECONDS, MOST_RUNS, LIMIT_MIN = 20.0, 20, 15.0
#: Questions of a run, tokens that each writes at most, and how they are handed over: as in the run
#: whose numbers stand in docs/times.md.
ROWS, MAX_TOKENS, BATCH_SIZE, BATCHES = 64, 16, 4, 4
#: Characters of a name and of a finding, at most.
NAME, TEXT = 60, 400
RUNS, LONG, NOT_AT_ALL = "run it here", "too long here", "it does not run here"
INSTEAD = (
    f"a seat of the class ({CLASS}=your link), else the replay ({REPLAY}=1: recorded answers, "
    "no engine)"
)


@dataclass(frozen=True)
class Preflight:
    """What was found. A notebook shows its page.

    name: whose machine it is, '' for nobody's. checks: of `labkit.doctor`. start_s, rows_per_s,
    tokens_per_s: of the engine's short run, NaN where it failed. problem: why it did, '' where it
    did not. lessons: the minutes of each. limit_min: what one may take.
    """

    name: str
    made: str
    machine: str
    model: str
    checks: tuple[Check, ...]
    start_s: float
    rows_per_s: float
    tokens_per_s: float
    problem: str
    lessons: tuple[LessonMinutes, ...]
    limit_min: float

    @property
    def works(self) -> bool:
        """Whether an engine ran here."""
        return not self.problem and Report(self.checks).healthy

    @property
    def ready(self) -> bool:
        """Whether there are lessons, and all can be done here, in their time."""
        return bool(self.lessons) and all(self.advice(one) == RUNS for one in self.lessons)

    def advice(self, lesson: LessonMinutes) -> str:
        """What to do about a lesson, in a few words."""
        if not self.works:
            return NOT_AT_ALL
        return RUNS if lesson.minutes <= self.limit_min else LONG

    def sentence(self) -> str:
        """The result in words."""
        if not self.works:
            bad = [c.name for c in self.checks if c.state == FAIL]
            why = f"the doctor found: {', '.join(bad)}" if bad else "the engine did not run"
            return f"No lesson runs here ({why}). Mend it as said below, or use {INSTEAD}."
        long = [one.title.split(":")[0] for one in self.lessons if self.advice(one) != RUNS]
        if not self.lessons:
            return (
                "An engine runs here, but no lesson can be read here: take a fresh copy of the lab."
            )
        if not long:
            return "Ready: all lessons run here."
        return (
            f"Too long here, at more than {self.limit_min:g} minutes: {'; '.join(long)}. Use "
            f"{INSTEAD}."
        )

    def table(self) -> pd.DataFrame:
        """A row a lesson: minutes, what to do, what the minutes rest on."""
        rows = [(one.title, minutes(one.minutes), self._do(one), one.basis) for one in self.lessons]
        return pd.DataFrame(rows, columns=["lesson", "minutes here", "what to do", "basis"])

    def _do(self, one: LessonMinutes) -> str:
        advice = self.advice(one)
        return advice if advice == RUNS else f"{advice}: a seat of the class, or the replay"

    def page(self) -> Page:
        """The page for the teacher; `read` takes it, too."""
        page = Page(f"Pre-flight of {self.name}" if self.name else "Pre-flight", self.sentence())
        known = [one for one in self.lessons if math.isfinite(one.minutes)]
        if self.works and known:
            page.facts({one.title.split(":")[0]: f"{minutes(one.minutes)} min" for one in known})
        page.section("The lessons here").table(self.table())
        page.section("A short run of the engine")
        if self.problem:
            page.text(self.problem, kind="warning")
        else:
            start = "" if not self.start_s else f"{self.start_s:,.0f} s"
            page.facts(
                {"start": start or "was up"}
                | {"rows/s": f"{self.rows_per_s:,.1f}"}
                | {"output tokens/s": f"{self.tokens_per_s:,.0f}"}
            )
        page.text(f"{self.model} on {self.machine}", kind="small")
        page.section("The doctor")
        page.table(Report(self.checks).table().reset_index())
        page.text(f"Made on {self.made} with labkit {__version__}.", kind="small")
        data = json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False)
        return page.code(data, folded="The same for a program (labkit preflight --room)")

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts; unknown numbers are null."""
        whole = {"kind": KIND, "labkit": __version__, **asdict(self)}
        whole["checks"] = [asdict(check) for check in self.checks]
        whole["lessons"] = [{**asdict(one), "minutes": _known(one.minutes)} for one in self.lessons]
        for name in ("start_s", "rows_per_s", "tokens_per_s"):
            whole[name] = _known(whole[name])
        return whole

    def __str__(self) -> str:
        marks = {OK: "ok", WARN: "warning", FAIL: "FAIL"}
        lines = [f"{c.name}: {marks.get(c.state, c.state)}, {c.found}" for c in self.checks]
        if self.problem:
            lines.append(f"engine: FAIL, {self.problem}")
        else:
            lines.append(
                f"engine: start {self.start_s:.0f} s, {self.rows_per_s:.1f} rows/s, "
                f"{self.tokens_per_s:.0f} output tokens/s"
            )
        lines += [f"{m} min  {one.title}: {self.advice(one)}" for one in self.lessons
                  for m in [f"{minutes(one.minutes):>5}"]]  # fmt: skip
        return "\n".join([*lines, self.sentence()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.page()._repr_html_()


def minutes(value: float) -> str:
    """Minutes as a reader wants them."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 1.5 else f"{value:.1f}"


@lab_errors("The pre-flight could not be done")
def preflight(
    model: str | None = None,
    *,
    name: str = "",
    seconds: float = SECONDS,
    limit_min: float = LIMIT_MIN,
    progress: bool | View = True,
    cancel: threading.Event | None = None,
) -> Preflight:
    """Look at this machine, run its engine for about `seconds`, and say how long each lesson takes.

    model: as in `labkit.get_model`; None for the lessons' own. name: what stands on the page.
    limit_min: what a lesson may take. On a seat of a class it is the class's engine that runs; the
    wait in line counts in nothing. A machine that can't run an engine is a result, too: only
    arguments that can't be used raise LabError. The engine stays up: `labkit.stop()` ends it.
    """
    for what, value in (("seconds", seconds), ("limit_min", limit_min)):
        if isinstance(value, bool) or not 0 < value < math.inf:
            raise LabError(f"{what} must be a number above 0, not {value!r}.")
    if replaying():
        raise LabError(f"Nothing runs while jobs are played back: unset {REPLAY}.")
    report, problem = doctor(model=model), ""
    machine = machines.detect()
    start_s = rows_per_s = tokens_per_s = math.nan
    chosen = model or ""
    if report.healthy:
        try:
            sizes = {"batch_size": BATCH_SIZE, "max_concurrent_batches": BATCHES}
            spec = configure(model, warm=True).with_(**sizes)
            chosen = spec.model.name
            found = measure(
                tasks.faq(max_tokens=MAX_TOKENS),
                load_faq(ROWS),
                spec,
                seconds=seconds,
                runs=MOST_RUNS,
                progress=progress,
                cancel=cancel,
                enough=_until(0.75 * seconds),
            )
            rows_per_s = found.metrics.rows_per_s
            tokens_per_s = found.metrics.output_tokens_per_s
            start_s = max(0.0, found.start_s - found.rows / rows_per_s)  # it warmed up with a run
        except LabError as error:
            if cancel is not None and cancel.is_set():
                raise
            problem = str(error)
    else:
        problem = "Not tried: the doctor found what would stop it."
    return Preflight(
        name=plain_text(name, NAME),
        made=time.strftime("%Y-%m-%d"),
        machine=machine.described,
        model=chosen,
        checks=report.checks,
        start_s=start_s,
        rows_per_s=rows_per_s,
        tokens_per_s=tokens_per_s,
        problem=plain_text(problem, TEXT),
        lessons=lesson_minutes(machine, start_s, tokens_per_s),
        limit_min=limit_min,
    )


def _until(seconds: float) -> Callable[[Sequence[float]], bool]:
    """Whether so many seconds have gone by since the first run ended: a slow machine runs two."""
    ends = list[float]()

    def enough(rates: Sequence[float]) -> bool:
        ends.append(time.monotonic())
        return len(ends) > 1 and ends[-1] - ends[0] >= seconds

    return enough


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
