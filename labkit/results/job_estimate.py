"""How long a job will take, from a few short runs; and how sure that is.

The wall time of a job of n rows is taken as `once + n × each`. `once` is what every job has one
time: its start at the engine, the filling of the rows in flight, and the tail, in which fewer and
fewer of them are busy. Scaling one short run up in proportion would multiply all of that by the
number of rows. So runs have two sizes, and the line through the means of the two tells both parts:
`each` is the difference of the means over the difference of the rows.

The interval is a prediction interval of 90%. Each run has rows of its own, drawn at random, so that
the spread of the runs holds both how rows vary and how the machine does. The variances of the two
sizes are not taken as equal: Welch, Biometrika 34 (1947), with Satterthwaite's degrees of freedom
(Biometrics Bulletin 2, 1946). Pure: no engine.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labkit.errors import LabError

#: A machine is by so much faster or slower in the minutes of a job than in those in which it was
#: measured, which no spread within these can tell (see `python -m benchmarks.plan`).
DRIFT = 0.08
#: Student's t for an interval of 90%, by degrees of freedom.
T90: dict[float, float] = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943}
T90 |= {8: 1.860, 10: 1.812, 15: 1.753, 30: 1.697, math.inf: 1.645}


@dataclass(frozen=True)
class Run:
    """One short run. rows: that were asked. wall_s: from its call to its result. output_tokens:
    of its answers; cut: how many of them ended at `max_tokens`."""

    rows: int
    wall_s: float
    output_tokens: float = math.nan
    cut: int = 0


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
    """Seconds of a job of `rows` on an engine that is up, from runs of one or two sizes.

    With one size they are scaled in proportion to the rows: right only where the job is as large.
    Raises LabError for fewer than two runs of a size, or more than two sizes.
    """
    sizes = sorted({run.rows for run in runs})
    groups = [[run.wall_s for run in runs if run.rows == size] for size in sizes]
    if not 1 <= len(sizes) <= 2 or min(map(len, groups)) < 2 or sizes[0] < 1:
        raise LabError("A plan needs at least two runs of each size, and one or two sizes.")
    if rows <= 0:
        return Interval(0.0, 0.0, 0.0)
    if len(sizes) == 1:
        weights = [rows / sizes[0]]
    else:
        part = (rows - sizes[0]) / (sizes[1] - sizes[0])
        weights = [1 - part, part]
    means = [statistics.fmean(group) for group in groups]
    spread = [statistics.variance(group) for group in groups]
    value = math.fsum(w * mean for w, mean in zip(weights, means, strict=True))
    of_means = [w**2 * s / len(g) for w, s, g in zip(weights, spread, groups, strict=True)]
    own = spread[-1] * rows / sizes[-1]  # the job's own rows: their spread adds up row by row
    half = t90(_freedom(of_means, groups)) * math.sqrt(math.fsum(of_means) + own)
    if rows >= sizes[-1]:
        value = max(value, means[-1])  # a larger job takes no less than a smaller one did
    half = math.hypot(half, drift * value)
    return Interval(max(value, 0.0), max(value - half, 0.0), max(value, 0.0) + half)


def _freedom(of_means: Sequence[float], groups: Sequence[Sequence[float]]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances of means."""
    total = math.fsum(of_means)
    parts = [v**2 / (len(g) - 1) for v, g in zip(of_means, groups, strict=True)]
    return total**2 / math.fsum(parts) if total and math.fsum(parts) else math.inf


def ratio(amounts: Sequence[float], rows: Sequence[int]) -> Interval:
    """Something a row, such as output tokens, from clusters of rows: the ratio estimator and its
    variance (Cochran, Sampling Techniques, 1977, chapter 6)."""
    count, total = len(amounts), sum(rows)
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    value = math.fsum(amounts) / total
    if count < 2:
        return Interval(value, 0.0, math.inf)
    squares = [(a - value * n) ** 2 for a, n in zip(amounts, rows, strict=True)]
    half = t90(count - 1) * math.sqrt(math.fsum(squares) * count / (count - 1)) / total
    return Interval(value, max(0.0, value - half), value + half)
