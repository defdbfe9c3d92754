"""How long a job will take and what it will cost, from a few short runs; and how sure that is.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from labkit.errors import LabError

#: A machine is by so much faster or slower in the minutes of a job than in those in which it was
#: measured, which no spread within these can tell (see `python -m benchmarks.plan`).
DRIFT = 0.08
#: Student's t for an interval of 90%, by degrees of freedom.
T90: dict[float, float] = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943}
T90 |= {8: 1.860, 10: 1.812, 15: 1.753, 30: 1.697, math.inf: 1.645}
#: What this machine is called where prices are given by machine.
HERE = "here"


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


@dataclass(frozen=True)
class Elsewhere:
    """What the job would take on another machine, by a recorded sweep (`results.recorded_rates`).
    seconds: of the job, on an engine that is up."""

    machine: str
    recorded: str
    seconds: Interval


@dataclass(frozen=True, repr=False)
class Plan:
    """What `labkit.plan` found.

    rows: of the job. seconds: it will take on an engine that is up; start_s: until that engine was
    up (0 where it was before). input_tokens, output_tokens: a row. sample: rows whose tokens were
    counted. runs: what was measured. warnings: what to mend before the job. prices: an hour of a
    machine, in `currency`, by HERE or by a part of the machine's name. elsewhere: other machines.
    measured_s: what the plan itself took.
    """

    rows: int
    machine: str
    model: str
    seconds: Interval
    start_s: float
    input_tokens: Interval
    output_tokens: Interval
    sample: int
    runs: tuple[Run, ...]
    warnings: tuple[str, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""
    elsewhere: tuple[Elsewhere, ...] = ()
    measured_s: float = 0.0

    @property
    def hours(self) -> Interval:
        """Machine-hours, the start of the engine included."""
        return (self.seconds + self.start_s) * (1 / 3600)

    def price(self, machine: str = HERE) -> Interval | None:
        """What the job costs on a machine; None where its price is not known."""
        if machine == HERE:
            each, hours = self.prices.get(HERE), self.hours
        else:
            named = [cost for name, cost in self.prices.items() if _names(name, machine)]
            each = named[0] if named else None
            found = [one.seconds for one in self.elsewhere if one.machine == machine]
            hours = found[0] * (1 / 3600)
        return None if each is None else hours * each

    @property
    def table(self) -> pd.DataFrame:
        """A row a machine: `minutes` with `lowest` and `highest` (of the job, on an engine that is
        up), `machine-hours`, `price` with its own bounds, and `measured`: where the rate is from.
        """
        rows = [self._row(self.machine, self.seconds, self.hours, self.price(), "here, now")]
        for one in self.elsewhere:
            hours = one.seconds * (1 / 3600)
            price = self.price(one.machine)
            rows.append(self._row(one.machine, one.seconds, hours, price, one.recorded))
        return pd.DataFrame(rows)

    def _row(
        self, machine: str, seconds: Interval, hours: Interval, price: Interval | None, how: str
    ) -> dict[str, Any]:
        minutes = seconds * (1 / 60)
        shown = {"machine": machine, "minutes": minutes.value, "lowest": minutes.low}
        shown |= {"highest": minutes.high, "machine-hours": hours.value}
        if self.prices:
            unit = f"price ({self.currency})" if self.currency else "price"
            shown[unit] = price.value if price else math.nan
            shown["lowest price"] = price.low if price else math.nan
            shown["highest price"] = price.high if price else math.nan
        return {**shown, "measured": how}

    def sentence(self) -> str:
        """The result in words: how long, how sure, how much, and what to mend."""
        s = self.seconds
        unit, per = ("min", 60) if s.value >= 90 else ("s", 1)
        span = f"{_number(s.low / per)} to {_number(s.high / per)}"
        said = (
            f"{self.rows:,} rows take about {_number(s.value / per)} {unit} ({span}, in nine of "
            f"ten cases) on {self.machine} with {self.model}"
        )
        said += f", after {self.start_s:,.0f} s for the engine's start" if self.start_s else ""
        said += f": {_number(self.hours.value)} machine-hours"
        if price := self.price():
            said += (
                f", {_number(price.value)} {self.currency}".rstrip()
                + f" ({_number(price.low)} to {_number(price.high)})"
            )
        runs = " and ".join(f"{n:,}" for n in sorted({run.rows for run in self.runs}))
        said += f". Measured in {self.measured_s:,.0f} s: {len(self.runs)} runs of {runs} rows."
        return " ".join([said, *self.warnings])

    def __repr__(self) -> str:
        from labkit.html_table import show

        return f"{show(self.table)!r}\n{self.sentence()}"

    def _repr_html_(self) -> str:
        from labkit.html_table import show

        return f"{show(self.table)._repr_html_()}<p>{self.sentence()}</p>"


def _names(part: str, machine: str) -> bool:
    return part != HERE and part.lower() in machine.lower()


def _number(value: float) -> str:
    """Three digits that matter."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:,.{digits}f}"


def told_warnings(
    sample: int, refused: int, too_long: int, may_not_end: int, answered: int, cut: int, limit: int
) -> tuple[str, ...]:
    """What to mend, in sentences. sample: rows whose prompts were made, of which `refused` can't
    be asked, `too_long` have no room for an answer in the context of `limit` tokens, and
    `may_not_end` have less room than their `max_tokens`. answered: rows that ran, of which `cut`
    ended at a limit of length."""
    told = []
    if refused:
        told.append(f"{_share(refused, sample)} rows of the sample can't be asked.")
    if too_long:
        told.append(
            f"{_share(too_long, sample)} rows of the sample do not fit the context of {limit:,} "
            "tokens and will fail: shorten them, or raise max_model_len."
        )
    if may_not_end:
        told.append(
            f"{_share(may_not_end, sample)} rows of the sample leave less of the context of "
            f"{limit:,} tokens than their max_tokens: their answers may be cut."
        )
    if cut:
        told.append(
            f"{_share(cut, answered)} answers were cut at max_tokens: raise it where the whole "
            "answer matters, and plan again."
        )
    return tuple(told)


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})"
