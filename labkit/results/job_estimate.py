"""How long a job will take, from a few short runs; and how sure that is.

A job has its startup, tail and shutdown once, however many rows it has; in a short run they are a
large part. So a run is not scaled up as a whole. Its steady part, from the first row at the engine
to the tail, tells what a row costs: seconds over rows, by the ratio estimator over the runs
(Cochran, Sampling Techniques, 1977, chapter 6). What comes once is added once.

The interval is a prediction interval of 90%. Each run has rows of its own, drawn at random, so that
the spread of the runs holds both how rows vary and how the machine does. Slow drifts of the machine
are in no spread of runs that follow one another: see DRIFT. Pure: no engine.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labkit.errors import LabError

#: A machine is by so much faster or slower in the minutes of a job than in those in which it was
#: measured, which no spread within these can tell. Of 20 plans (9 on an H100, 11 on 2 CPU cores,
#: datasets/recordings/*-plan.json) intervals with this hold 19 of the jobs, with 0.08, the
#: assumption before, 16. It was set by them; of 18 plans after that, on H200s, all were held.
DRIFT = 0.15
#: Student's t for an interval of 90%, by degrees of freedom.
T90: dict[float, float] = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943}
T90 |= {8: 1.860, 10: 1.812, 15: 1.753, 30: 1.697, math.inf: 1.645}


@dataclass(frozen=True)
class Run:
    """One short run. rows: that were asked. wall_s: from its call to its result; once_s: of these,
    startup, tail and shutdown. steady_rows: what was done in the rest, in rows (a part of its
    tokens is as much of a row). output_tokens: of its answers; cut: how many of them ended at
    `max_tokens`."""

    rows: int
    wall_s: float
    once_s: float
    steady_rows: float
    output_tokens: float = math.nan
    cut: int = 0

    @property
    def steady_s(self) -> float:
        """Seconds of the steady part."""
        return self.wall_s - self.once_s


@dataclass(frozen=True)
class Interval:
    """A value, and where it lies in nine of ten cases."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """The larger of the two distances from the value, as a share of it; 0 for a sure value."""
        widest = max(self.value - self.low, self.high - self.value)
        return widest / self.value if self.value else (math.inf if widest else 0.0)

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def __add__(self, sure: float) -> Interval:
        return Interval(self.value + sure, self.low + sure, self.high + sure)


def t90(freedom: float) -> float:
    """Student's t, between the degrees of freedom of T90 by their reciprocals."""
    known = sorted(T90, reverse=True)
    places = [1 / f for f in known]
    return float(np.interp(1 / max(1.0, freedom), places, [T90[f] for f in known]))


def job_seconds(rows: int, runs: Sequence[Run], drift: float = DRIFT) -> Interval:
    """Seconds of a job of `rows` on an engine that is up. Raises LabError for fewer than two runs,
    and for runs without a steady part."""
    if len(runs) < 2 or min(min(run.steady_rows, run.steady_s) for run in runs) <= 0:
        raise LabError("A plan needs at least two runs, each with a steady part.")
    if rows <= 0:
        return Interval(0.0, 0.0, 0.0)
    count, done = len(runs), math.fsum(run.steady_rows for run in runs)
    each = math.fsum(run.steady_s for run in runs) / done
    once = statistics.fmean(run.once_s for run in runs)
    steady = max(0.0, rows - statistics.fmean(run.rows - run.steady_rows for run in runs))
    value = once + each * steady
    # What the runs took beside what the two numbers say of them.
    squares = [(run.wall_s - once - each * run.steady_rows) ** 2 for run in runs]
    spread = math.fsum(squares) / (count - 1)
    in_runs = steady / (done / count)
    variance = spread * in_runs**2 / count + spread * max(1.0, in_runs)  # of `each`; of the job
    half = math.hypot(t90(count - 1) * math.sqrt(variance), drift * value)
    return Interval(value, max(value - half, 0.0), value + half)


def ratio(amounts: Sequence[float], rows: Sequence[int]) -> Interval:
    """Something a row, such as output tokens, from clusters of rows: the ratio estimator and its
    variance."""
    count, total = len(amounts), sum(rows)
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    value = math.fsum(amounts) / total
    if count < 2:
        return Interval(value, 0.0, math.inf)
    squares = [(a - value * n) ** 2 for a, n in zip(amounts, rows, strict=True)]
    half = t90(count - 1) * math.sqrt(math.fsum(squares) * count / (count - 1)) / total
    return Interval(value, max(0.0, value - half), value + half)
