"""What a plan says of a job before it runs: minutes, machine-hours, price and warnings, as a table
and in a sentence. Pure: no engine; the numbers come from `job_estimate` and `recorded_rates`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from labkit.results.job_estimate import Interval, Run

#: What this machine is called where prices are given by machine.
HERE = "here"
#: An interval that is wider, as a share of its value, is told to be so.
WIDE = 0.25


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
            f"{self.rows:,} rows take about {_number(s.value / per)} {unit} ({span}: a 90% "
            f"interval, if the machine stays as busy as it was) on {self.machine} with {self.model}"
        )
        said += f", after {self.start_s:,.0f} s for the engine's start" if self.start_s else ""
        said += f": {_number(self.hours.value)} machine-hours"
        if price := self.price():
            said += (
                f", {_number(price.value)} {self.currency}".rstrip()
                + f" ({_number(price.low)} to {_number(price.high)})"
            )
        runs = f"{len(self.runs)} runs of {self.runs[0].rows:,} rows"
        said += f". Measured in {self.measured_s:,.0f} s: {runs}."
        inputs, outputs = (_number(n.value) for n in (self.input_tokens, self.output_tokens))
        said += f" A row has about {inputs} tokens, its answer {outputs}."
        return " ".join([said, *self.warnings])

    def __repr__(self) -> str:
        from labkit.pages.html_table import show

        return f"{show(self.table)!r}\n{self.sentence()}"

    def _repr_html_(self) -> str:
        from labkit.pages.html_table import show

        return f"{show(self.table)._repr_html_()}<p>{self.sentence()}</p>"


def _names(part: str, machine: str) -> bool:
    return part != HERE and part.lower() in machine.lower()


def _number(value: float) -> str:
    """Three digits that matter."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:,.{digits}f}"


def told_warnings(
    *,
    width: float,
    sample: int,
    refused: int,
    too_long: int,
    may_not_end: int,
    answered: int,
    cut: int,
    limit: int,
) -> tuple[str, ...]:
    """What to mend, in sentences. width: of the interval of the time. sample: rows whose prompts
    were made, of which `refused` can't be asked, `too_long` have no room for an answer in the
    context of `limit` tokens, and `may_not_end` have less room than their `max_tokens`.
    answered: rows that ran, of which `cut` ended at a limit of length."""
    told = []
    if width > WIDE:
        told.append(
            f"The interval is wide ({width:.0%}), as the runs differed: end other programs on the "
            "machine, or measure for more seconds."
        )
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
