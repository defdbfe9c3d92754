"""Points, sweeps and guesses: what a sweep measured, in numbers and words. Pure: no engine."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from labkit.errors import LabError
from labkit.html_table import show

#: A point is good enough when its throughput reaches this share of the best one.
PLATEAU = 0.95


class Point(NamedTuple):
    """One setting of both knobs."""

    batch_size: int
    max_concurrent_batches: int

    @property
    def rows_in_flight(self) -> int:
        """The rows handed to the engine at once."""
        return self.batch_size * self.max_concurrent_batches

    def __str__(self) -> str:
        return f"{self.batch_size} × {self.max_concurrent_batches}"


def in_flight(*rows: int) -> list[Point]:
    """A point for each number of rows in flight, in four batches where it divides by four."""
    return [Point(n // 4, 4) if n % 4 == 0 and n > 4 else Point(1, n) for n in rows]


def at_product(product: int, batch_sizes: Iterable[int]) -> list[Point]:
    """Points with the same rows in flight and different batch sizes (divisors of `product`)."""
    sizes = list(batch_sizes)
    if odd := [size for size in sizes if size < 1 or product % size]:
        raise LabError(f"The batch sizes {odd} don't divide {product}.")
    return [Point(size, product // size) for size in sizes]


def grid(batch_sizes: Iterable[int], max_concurrent_batches: Iterable[int]) -> list[Point]:
    """Every pair of the two."""
    batches = list(max_concurrent_batches)
    return [Point(size, number) for size in batch_sizes for number in batches]


@dataclass(frozen=True, repr=False)
class Sweep:
    """What was measured.

    table: one row a run: `batch_size`, `max_concurrent_batches`, `rows_in_flight` (handed over),
    `repeat`, `order`, `started` (Unix seconds), `overhead_s` (wall time minus engine span) and
    every field of `metrics.Metrics`. provenance: device, model, versions, settings, task, rows.
    """

    table: pd.DataFrame
    provenance: Mapping[str, Any]

    @property
    def limit(self) -> float:
        """The engine's `max_num_seqs`: rows beyond it wait in its queue."""
        return float(self.provenance["settings"].get("vllm max_num_seqs", math.inf))

    def summary(self) -> pd.DataFrame:
        """One row a point, by rows in flight: medians over its runs, and their range."""
        keys = ["rows_in_flight", "batch_size", "max_concurrent_batches"]
        groups = self.table.groupby(keys)
        rate = groups["output_tokens_per_s"]
        frame = pd.DataFrame(
            {
                "runs": groups.size(),
                "output tokens/s": rate.median(),
                "lowest": rate.min(),
                "highest": rate.max(),
                "rows/s": groups["rows_per_s"].median(),
                "row latency p50 (s)": groups["latency_p50_s"].median(),
                "row latency p95 (s)": groups["latency_p95_s"].median(),
                "tail (s)": groups["tail_s"].median(),
                "mean rows in flight": groups["mean_rows_in_flight"].median(),
            }
        )
        return frame.reset_index()

    def choice(self) -> Point:
        """The point we would take: the fewest rows in flight that reach PLATEAU of the best.

        Among points with as many rows in flight, the one with the lowest p95 row latency. Fewer
        rows in flight mean that each row waits less, and a shorter tail.
        """
        points = self.summary()
        good = points[points["output tokens/s"] >= PLATEAU * points["output tokens/s"].max()]
        best = good.sort_values(["rows_in_flight", "row latency p95 (s)"]).iloc[0]
        return Point(int(best["batch_size"]), int(best["max_concurrent_batches"]))

    def sentence(self) -> str:
        """The result in words: the range, the choice, and why."""
        points, choice = self.summary(), self.choice()
        low, top = points.iloc[0], points.iloc[points["output tokens/s"].to_numpy().argmax()]
        at = points["batch_size"].eq(choice.batch_size)
        at &= points["max_concurrent_batches"].eq(choice.max_concurrent_batches)
        mine = points[at].iloc[0]
        widest = points["rows_in_flight"].max()
        one_limit = points["rows_in_flight"].nunique() == 1
        rising = choice.rows_in_flight == widest and widest < self.limit and not one_limit
        more = " The curve still rises there: try more rows in flight." if rising else ""
        begin, end = f"{low['rows_in_flight']:.0f} in flight", f"{top['rows_in_flight']:.0f}"
        if one_limit:
            begin, end = (f"batches of {point['batch_size']:.0f}" for point in (low, top))
        return (
            f"From {low['output tokens/s']:,.0f} output tokens/s with {begin} to "
            f"{top['output tokens/s']:,.0f} with {end} "
            f"({top['output tokens/s'] / low['output tokens/s']:.1f}×). Our choice: {choice}, "
            f"{choice.rows_in_flight} in flight: the fewest that reach {PLATEAU:.0%} of the best "
            f"({mine['output tokens/s'] / top['output tokens/s']:.0%}), with a p95 row latency of "
            f"{mine['row latency p95 (s)']:.2g} s.{more}"
        )

    def caption(self) -> str:
        """On what it was measured, for the small print of a chart."""
        about = self.provenance
        runs = self.table.groupby(["batch_size", "max_concurrent_batches"]).size()
        many = f"{runs.min()}–{runs.max()}" if runs.min() < runs.max() else f"{runs.max()}"
        spread = "one run a point" if many == "1" else f"median and range of {many} runs"
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        rows = _rows_a_run(self.table)
        where = f"Recorded {about['made']} on" if about.get("recorded") else "Measured on"
        inputs = self.table["input_tokens"].sum() / self.table["rows"].sum()
        outputs = self.table["output_tokens"].sum() / self.table["rows"].sum()
        return (
            f"{where} {about['device']} · {about['model']} · {versions}\n"
            f"{rows} rows a run, mean {inputs:.0f} input and {outputs:.0f} output tokens"
            f" · warm engine, warm-up left out · {spread}"
        )

    def __repr__(self) -> str:
        points = self.table.groupby(["batch_size", "max_concurrent_batches"]).ngroups
        return f"Sweep({len(self.table)} runs at {points} points on {self.provenance['device']})"

    def _repr_html_(self) -> str:
        return show(self.summary().set_index("rows_in_flight"))._repr_html_()

    @staticmethod
    def load(path: str | Path) -> Sweep:
        """Read a file that `sweep` wrote. Raises LabError when it is none."""
        try:
            first, *runs = Path(path).read_text(encoding="utf-8").splitlines()
            about = json.loads(first)["provenance"]
            table = pd.DataFrame([json.loads(line) for line in runs])
        except (ValueError, KeyError, TypeError) as problem:
            raise LabError(f"{path} is not a sweep of this lab ({problem}).") from problem
        if table.empty:
            raise LabError(f"{path} is a sweep that was stopped before its first run had ended.")
        return Sweep(table, about)


def _rows_a_run(table: pd.DataFrame) -> str:
    asked = table["rows"] + table["failed"]
    return f"{asked.max():,}" if asked.nunique() == 1 else f"{asked.min():,} to {asked.max():,}"


def off_by(summary: pd.DataFrame, guess: Mapping[int, float]) -> pd.DataFrame:
    """A guess beside what was measured: a row a number of rows in flight.

    guess: rows in flight → speed-up over the first point of it. Columns: `you said` and `measured`
    (speed-ups), `off by` (the larger over the smaller: 1 is a hit).
    """
    rate = summary.groupby("rows_in_flight")["output tokens/s"].max()
    known = [rows for rows in sorted(guess) if rows in rate.index and guess[rows] > 0]
    if not known:
        raise LabError("The guess has no point that was measured.")
    said = pd.Series({rows: guess[rows] / guess[known[0]] for rows in known})
    true = rate[known] / rate[known[0]]
    ratio = said / true
    return pd.DataFrame(
        {"you said": said, "measured": true, "off by": ratio.where(ratio >= 1, 1 / ratio)}
    ).rename_axis("rows in flight")


def off_by_words(table: pd.DataFrame) -> str:
    """`off_by` in words: the geometric mean over all points but the first, which is always 1."""
    factors = table["off by"].iloc[1:]
    if factors.empty:
        return "One point alone is no curve: guess at least two."
    mean = math.exp(statistics.fmean(math.log(factor) for factor in factors))
    worst = int(factors.to_numpy().argmax()) + 1
    at, said, true = (
        table.index[worst],
        table["you said"].iloc[worst],
        table["measured"].iloc[worst],
    )
    side = "more" if said > true else "less"
    return (
        f"You were off by a factor of {mean:.1f} on average; most at {at} rows in flight, "
        f"where you expected {side} ({said:.1f}×, measured {true:.1f}×)."
    )
