"""What a sweep measured, in numbers and words: a table, the point we would take, and how sure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.errors import LabError
from labkit.pages.html_table import show
from labkit.results.sweep_lines import read_lines
from labkit.results.sweep_point import Point

#: A point is good enough when its throughput reaches this share of the best one.
PLATEAU = 0.95
#: Two single runs of one setting differ by about so much of the faster one (31,231 to 40,140
#: tokens/s, datasets/recordings/h100-smollm2-135m-parity.json): within it, one run a point can't
#: tell which point is faster.
NOISE = 0.2
RATE, ROWS = "output tokens/s", "rows/s"
#: The rates that a sweep can be judged by, and where they stand in its table.
RATES = {RATE: "output_tokens_per_s", ROWS: "rows_per_s"}


def check_rate(rate: str) -> None:
    """Raise LabError for a rate that a sweep does not have."""
    if rate not in RATES:
        raise LabError(f"rate must be one of {', '.join(map(repr, RATES))}, not {rate!r}.")


@dataclass(frozen=True, repr=False)
class Sweep:
    """What was measured.

    table: one row a run: `batch_size`, `max_concurrent_batches`, `rows_in_flight` (handed over),
    `repeat`, `order`, `started` (Unix seconds), `overhead_s` (wall time minus engine span),
    `repeated_prompts` (rows whose prompt a row before them in the run had; older files lack it)
    and every field of `metrics.Metrics`. provenance: device, model, versions, settings, task, rows.
    """

    table: pd.DataFrame
    provenance: Mapping[str, Any]

    @property
    def limit(self) -> float:
        """The engine's `max_num_seqs`: rows beyond it wait in its queue."""
        return float(self.provenance["settings"].get("vllm max_num_seqs", math.inf))

    def summary(self, rate: str = RATE) -> pd.DataFrame:
        """One row a point, by rows in flight: medians over its runs, and the range of `rate`:
        'output tokens/s', or 'rows/s' where answers are short."""
        keys = ["rows_in_flight", "batch_size", "max_concurrent_batches"]
        groups = self.table.groupby(keys)
        spread = groups[RATES[rate]]
        frame = pd.DataFrame(
            {
                "runs": groups.size(),
                "output tokens/s": groups["output_tokens_per_s"].median(),
                "lowest": spread.min(),
                "highest": spread.max(),
                "rows/s": groups["rows_per_s"].median(),
                "row latency p50 (s)": groups["latency_p50_s"].median(),
                "row latency p95 (s)": groups["latency_p95_s"].median(),
                "tail (s)": groups["tail_s"].median(),
                "mean rows in flight": groups["mean_rows_in_flight"].median(),
            }
        )
        return frame.reset_index()

    def fastest(self, rate: str = RATE) -> pd.DataFrame:
        """One point of `summary` for each number of rows in flight: the fastest."""
        points = self.summary(rate).sort_values(rate, na_position="first")
        best = points.groupby("rows_in_flight").tail(1)
        return best.sort_values("rows_in_flight").reset_index(drop=True)

    def near_best(self, rate: str = RATE) -> pd.DataFrame:
        """The points of `summary` that can't be told from the fastest, which is one of them.

        Points of several runs whose ranges overlap; where one of the two has a single run, which
        has no range, those within NOISE of the fastest.
        """
        points = self.summary(rate)
        best = points.iloc[points[rate].to_numpy().argmax()]
        overlap = points["highest"] >= best["lowest"]
        close = points[rate] >= (1 - NOISE) * best[rate]
        return points[overlap.where(points["runs"].clip(upper=best["runs"]) > 1, close)]

    @property
    def undecided(self) -> bool:
        """Whether noise could turn the choice round: one of the points near the best has one run.

        `choice` is then only the fewest rows in flight among them.
        """
        return self._undecided(RATE)

    def _undecided(self, rate: str) -> bool:
        near = self.near_best(rate)
        return len(near) > 1 and bool(near["runs"].min() == 1)

    def choice(self, rate: str = RATE) -> Point:
        """The point we would take: the fewest rows in flight that reach PLATEAU of the best, or,
        where one run can't tell (`undecided`), that can't be told from the best.

        Among points with as many rows in flight, the one with the lowest p95 row latency. Fewer
        rows in flight mean that each row waits less, and a shorter tail.
        """
        points = self.summary(rate)
        good = points[points[rate] >= PLATEAU * points[rate].max()]
        good = self.near_best(rate) if self._undecided(rate) else good
        return _point(good.sort_values(["rows_in_flight", "row latency p95 (s)"]).iloc[0])

    def sentence(self, rate: str = RATE) -> str:
        """The result in words: the range, the choice, why, and how sure it is."""
        points, near, choice = self.summary(rate), self.near_best(rate), self.choice(rate)
        low, top = points.iloc[0], points.iloc[points[rate].to_numpy().argmax()]
        mine = points[[_point(point) == choice for _, point in points.iterrows()]].iloc[0]
        one_limit = points["rows_in_flight"].nunique() == 1
        begin, end = f"{low['rows_in_flight']:.0f} in flight", f"{top['rows_in_flight']:.0f}"
        if one_limit:
            begin, end = (f"batches of {point['batch_size']:.0f}" for point in (low, top))
        digits = 1 if top[rate] < 20 else 0
        said = (
            f"From {low[rate]:,.{digits}f} {rate} with {begin} to {top[rate]:,.{digits}f} with "
            f"{end} "
            f"({top[rate] / low[rate]:.1f}×). "
        )
        share = f"{mine[rate] / top[rate]:.0%}"
        latency = f"a p95 row latency of {mine['row latency p95 (s)']:.2g} s."
        if self._undecided(rate):
            least = "lowest row latency" if one_limit else "fewest rows in flight"
            said += (
                f"One run can't tell {_names(near)} apart: two jobs of one setting may differ by "
                f"a fifth. The {least} among them: {choice}, {choice.rows_in_flight} in flight "
                f"({share} of the best), with {latency} For a choice, give each point more runs "
                "(repeats=3)."
            )
        else:
            least = "the lowest row latency of those" if one_limit else "the fewest"
            said += (
                f"Our choice: {choice}, {choice.rows_in_flight} in flight: {least} that reach "
                f"{PLATEAU:.0%} of the best ({share}), with {latency}"
            )
            if len(others := near[near.index != top.name]):
                s, verb = ("s", "overlap") if len(others) > 1 else ("", "overlaps")
                said += (
                    f" The range{s} of {_names(others)} {verb} with that of the best, "
                    f"{_point(top)}: other runs could choose otherwise."
                )
        widest = points["rows_in_flight"].max()
        first = min(choice.rows_in_flight, near["rows_in_flight"].min())
        if first == widest < self.limit and not one_limit:
            said += " The curve still rises there: try more rows in flight."
        return said

    def caption(self) -> str:
        """On what it was measured, for the small print of a chart."""
        about = self.provenance
        runs = self.table.groupby(["batch_size", "max_concurrent_batches"]).size()
        many = f"{runs.min()}–{runs.max()}" if runs.min() < runs.max() else f"{runs.max()}"
        spread = "one run a point" if many == "1" else f"median and range of {many} runs"
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        rows = _rows_a_run(self.table)
        where = self._recorded() or f"Measured on {about['device']}"
        inputs = self.table["input_tokens"].sum() / self.table["rows"].sum()
        outputs = self.table["output_tokens"].sum() / self.table["rows"].sum()
        return (
            f"{where} · {about['model']} · {versions}\n"
            f"{rows} rows a run, mean {inputs:.0f} input and {outputs:.0f} output tokens"
            f" · warm engine, warm-up left out · {spread}{self._repeats()}"
        )

    def _recorded(self) -> str:
        """When and on what it was recorded; '' for a sweep of this machine."""
        about = self.provenance
        recorded = about.get("recorded")
        return f"Recorded {about['made']} on {about['device']}" if recorded else ""

    def _repeats(self) -> str:
        """A line on repeated prompts, which vLLM's prefix cache reads only once; or ''."""
        off = self.provenance["settings"].get("vllm enable_prefix_caching") is False
        if off or "repeated_prompts" not in self.table:
            return ""
        share = self.table["repeated_prompts"] / (self.table["rows"] + self.table["failed"])
        if not (most := share.max()) > 0:
            return ""
        at = self.table["rows_in_flight"][share == most].iloc[0]
        return (
            f"\nprompts that repeat one of their run: up to {most:.0%} of the rows (with {at:,} in "
            "flight); the prefix cache saves their prefill"
        )

    def __repr__(self) -> str:
        points = self.table.groupby(["batch_size", "max_concurrent_batches"]).ngroups
        return f"Sweep({len(self.table)} runs at {points} points on {self.provenance['device']})"

    def _repr_html_(self) -> str:
        table: str = show(self.summary().set_index("rows_in_flight"))._repr_html_()
        return table + (f"<p><b>{recorded}</b></p>" if (recorded := self._recorded()) else "")

    @staticmethod
    def load(path: str | Path) -> Sweep:
        """Read a file that `sweep` wrote, also one that was killed while it wrote a line.

        Raises LabError when it is none, or holds no run.
        """
        about, runs, _ = read_lines(path)
        if not runs:
            raise LabError(f"{path} is a sweep that was stopped before its first run had ended.")
        return Sweep(pd.DataFrame(runs), about)


def _point(row: pd.Series) -> Point:
    return Point(int(row["batch_size"]), int(row["max_concurrent_batches"]))


def _names(points: pd.DataFrame) -> str:
    """Points as '4 × 4, 8 × 4 and 16 × 4'."""
    *names, last = [str(_point(point)) for _, point in points.iterrows()]
    return f"{', '.join(names)} and {last}" if names else last


def _rows_a_run(table: pd.DataFrame) -> str:
    asked = table["rows"] + table["failed"]
    return f"{asked.max():,}" if asked.nunique() == 1 else f"{asked.min():,} to {asked.max():,}"
