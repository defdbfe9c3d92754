"""Charts of sweeps over rows in flight: views only, every number comes from `Sweep.summary`.

Each has its words beside it (`Chart.alt`, `Sweep.sentence`) and its table (`Sweep.summary`), for
those who can't see the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from labkit.charts.axes import THOUSANDS, log2_axis, shown, times
from labkit.charts.style import ACCENT, DARK, GREY, MID, Chart, Sheet, styled
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import PLATEAU, RATE, RATES, Sweep, check_rate


def in_rate(sweep: Sweep, rate: str) -> Sweep:
    """The sweep with `rate` where output tokens/s stand, so that all its numbers are of that."""
    check_rate(rate)
    table = sweep.table.assign(output_tokens_per_s=sweep.table[RATES[rate]])
    return sweep if rate == RATE else Sweep(table, sweep.provenance)


def perfect(points: pd.DataFrame, rows: Any, limit: float) -> Any:
    """What `rows` in flight would give if each row decoding cost nothing: n times the throughput of
    the first point for each of its rows; above `max_num_seqs` no more are decoded."""
    first = points.iloc[0]
    return first[RATE] * np.minimum(rows, limit) / min(first["rows_in_flight"], limit)


def caption_of(sweep: Sweep) -> str:
    """`Sweep.caption`, with the type that the engine computed in where it is not yet there."""
    first, *others = sweep.caption().splitlines()
    dtype = str(sweep.provenance["settings"].get("vllm dtype", "auto"))
    first += f" · {dtype}" if dtype != "auto" and dtype not in first else ""
    return "\n".join([first, *others])


@styled
def saturation(
    sweep: Sweep, guess: Mapping[int, float | None] | None = None, *, rate: str = RATE
) -> Chart:
    """Throughput and row latency against rows in flight, with the line of perfect scaling.

    Where points share a number of rows in flight, the fastest stands for it. A label has a point's
    throughput and, where it fits, its share of perfect scaling.
    guess: rows in flight → speed-up over its first point (None: no guess), drawn beside what was
    measured. rate: 'output tokens/s', or 'rows/s' for short answers.
    Raises LabError for another rate.
    """
    sweep = in_rate(sweep, rate)
    points = sweep.fastest()
    known = {rows: ratio for rows, ratio in (guess or {}).items() if ratio and ratio > 0}
    sheet = Sheet(width=12, height=4.2, columns=2, width_ratios=[1.25, 1])
    (left, right) = sheet.axes[0]
    at, top = points["rows_in_flight"], points["highest"].max()
    legend: dict[str, Any] = {}
    if known:
        scale, rows = _scale(points, known), sorted(known)
        said = [scale * known[n] for n in rows]
        (legend["your guess"],) = left.plot(
            rows, said, color=GREY, ls="--", marker="s", ms=8, mfc="white", zorder=2
        )
        top = max(top, *said)
    choice, every = sweep.choice(), sweep.summary()
    mine = every[_is_point(every, choice)].iloc[0]
    left.plot(
        choice.rows_in_flight, mine[RATE], "o", ms=22, mfc="none", mec=ACCENT, mew=2.5, zorder=1
    )
    legend = {"measured": with_range(left, at, points)} | legend
    log2_axis((left, right), sorted({*at, *known}))
    ideal = np.geomspace(at.min(), max(at), 200)
    legend["perfect scaling: n × the first point"] = left.plot(
        ideal, perfect(points, ideal, sweep.limit), color=GREY, ls="-", lw=1.2, zorder=1.5
    )[0]
    legend[f"{PLATEAU:.0%} of the best"] = left.axhline(
        PLATEAU * points[RATE].max(), color=MID, ls=":", lw=2, zorder=1.5
    )
    legend[f"{claim(sweep)}: {choice}"] = Line2D(
        [], [], marker="o", ms=15, mfc="none", mec=ACCENT, mew=2.5, ls=""
    )
    left.set_ylim(0, 1.3 * top)
    left.yaxis.set_major_formatter(THOUSANDS)
    left.set_title(rate)
    for name, style, marker in (("p50", "-", "o"), ("p95", "--", "^")):
        column = points[f"row latency {name} (s)"]
        right.plot(at, column, style, marker=marker, ms=8, lw=2.5, color=DARK)
        ends = [(at.iloc[n], column.iloc[n]) for n in range(len(at) - 1, -1, -1)]
        sheet.label(right, name, ends, sides=("right", "left", "above left", "below right"))
    right.set_ylim(0, 1.2 * points["row latency p95 (s)"].max())
    right.set_title("row latency (s)")
    limits = [_limit(sheet, axes, sweep) for axes in (left, right)]
    ordered = points.sort_values(RATE, ascending=False).index  # the best has the first choice
    for number in dict.fromkeys([ordered[0], 0, *ordered]):
        point = points.loc[number]
        share = point[RATE] / perfect(points, point["rows_in_flight"], sweep.limit)
        words = shown(point[RATE])
        both = [f"{words}\n{share:.0%} of perfect", f"{words} ({share:.0%})", words]
        sheet.label(
            left, both if number else words, (point["rows_in_flight"], point[RATE]), weight="bold"
        )
    beyond = f"\nmax_num_seqs {sweep.limit:,.0f} is beyond the axes" if not all(limits) else ""
    return sheet.chart(
        "Throughput and row latency by rows in flight",
        f"{caption_of(sweep)}\npercent: of perfect scaling, in which each row more adds as much as "
        f"the first{beyond}",
        _saturation_words(sweep, points, known, rate),
        legend,
    )


def _saturation_words(
    sweep: Sweep, points: pd.DataFrame, guess: Mapping[int, float], rate: str
) -> str:
    parts = [
        f"{shown(point[RATE])} with {point['rows_in_flight']:,.0f} in flight"
        f" ({point[RATE] / perfect(points, point['rows_in_flight'], sweep.limit):.0%} of perfect "
        f"scaling, p95 row latency {point['row latency p95 (s)']:.2g} s)"
        for _, point in points.iterrows()
    ]
    words = f"Two charts over rows in flight. Left, {rate}: {'; '.join(parts)}. "
    words += f"Marked as {claim(sweep)}: {sweep.choice()}. "
    if guess:
        first = min(guess)
        said = [f"{times(guess[n] / guess[first])} with {n:,}" for n in sorted(guess)]
        words += f"Your guess: {', '.join(said)}. "
    words += "Right, row latency in seconds, p50 and p95. "
    return words + sweep.caption().splitlines()[0]


@styled
def prediction(guess: Mapping[int, float | None]) -> Chart:
    """A guess alone: rows in flight → how many times faster than its first point; None (or 0):
    not guessed yet, drawn as a question mark."""
    at = sorted(guess)
    known = {rows: ratio for rows in at if (ratio := guess[rows]) and ratio > 0}
    sheet = Sheet(width=8, height=3)
    axes = sheet.axes[0][0]
    scale = known[min(known)] if known else 1.0
    said = [known[rows] / scale for rows in known]
    top = max(said, default=1.0)
    axes.set_ylim(0, 1.35 * top)
    log2_axis((axes,), at)
    if known:
        axes.plot(list(known), said, color=GREY, ls="--", marker="s", ms=9, mfc="white")
    else:
        axes.set_yticks([])
    for x, y in zip(known, said, strict=True):
        sheet.label(axes, f"{y:.3g}×", (x, y))
    for rows in at:
        if rows not in known:
            frame = {"boxstyle": "round", "fc": "white", "ec": GREY, "ls": "--"}
            axes.text(rows, 0.12 * top, "?", color=DARK, ha="center", bbox=frame)
    axes.set_xlabel("rows in flight")
    axes.set_title("times faster than the first point")
    words = [f"{y:.3g}× with {x:,}" for x, y in zip(known, said, strict=True)]
    words += [f"none for {rows:,}" for rows in at if rows not in known]
    return sheet.chart(
        "Your guess: how many times faster?",
        "A guess: nothing is measured yet."
        if known
        else "No guess yet, and nothing is measured: how many times faster will it be?",
        f"Your guess, times faster than the first point, by rows in flight: {', '.join(words)}. "
        "Nothing is measured yet.",
    )


def claim(sweep: Sweep) -> str:
    """How `Sweep.choice` is marked: where one run can't tell, it is none of ours."""
    return "fewest within noise" if sweep.undecided else "our choice"


def _is_point(points: pd.DataFrame, point: Point) -> pd.Series:
    same = points["batch_size"].eq(point.batch_size)
    return same & points["max_concurrent_batches"].eq(point.max_concurrent_batches)


def _scale(points: pd.DataFrame, guess: Mapping[int, float]) -> float:
    """The rate for 1× of a guess: it agrees with the measurement at its first point there (with the
    slowest point, as long as none of its own is measured)."""
    rate = points.set_index("rows_in_flight")[RATE]
    first = min((rows for rows in guess if rows in rate.index), default=None)
    if first is None:
        return float(rate.min()) / guess[min(guess)]
    return float(rate[first]) / guess[first]


def with_range(
    axes: Axes, at: pd.Series, points: pd.DataFrame, color: str = DARK, marker: str = "o"
) -> Any:
    """Medians, with a bar from the lowest to the highest run where a point has several."""
    rate, several = points[RATE], points["runs"] > 1
    line = axes.plot(at, rate, color=color, marker=marker, ms=8, lw=2.5, zorder=3)[0]
    if several.any():
        bars = [(rate - points["lowest"])[several], (points["highest"] - rate)[several]]
        axes.errorbar(
            at[several], rate[several], bars, color=color, ls="", lw=2, capsize=6, zorder=3
        )
    return line


def _limit(sheet: Sheet, axes: Axes, sweep: Sweep) -> bool:
    """The engine's own limit: rows beyond it wait in its queue. False: beyond the axes."""
    axes.set_xlabel("rows in flight")
    limit = sweep.limit
    if not math.isfinite(limit):
        return True
    low, high = axes.get_xlim()
    if not low < limit < high:
        return False
    axes.axvline(limit, color=MID, ls="--", lw=2, zorder=1)
    sheet.label(
        axes, f"max_num_seqs {limit:,.0f}", [(limit, y) for y in (0.97, 0.9, 0.04, 0.5, 0.3)],
        transform=axes.get_xaxis_transform(), sides=("left", "right"), fontsize=11,
    )  # fmt: skip
    return True
