"""Charts of sweeps: views only, every number comes from `Sweep.summary`.

Each has its words beside it (`Sweep.sentence`, `batch_sizes_sentence`, `off_by_words`) and its
table (`Sweep.summary`), for those who can't see the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from labkit.charts.style import ACCENT, DARK, LIGHT, MID, caption, new_figure, styled
from labkit.results.sweep_result import PLATEAU, RATE, Sweep


@styled
def saturation(sweep: Sweep, guess: Mapping[int, float] | None = None) -> Figure:
    """Throughput and row latency against rows in flight.

    Where points share a number of rows in flight, the fastest stands for it. guess: rows in flight
    → speed-up over its first point, drawn beside what was measured.
    """
    points = fastest(sweep.summary())
    figure, (left, right) = new_figure(width=12, height=5, columns=2)
    with_range(left, points["rows_in_flight"], points)
    top = points[RATE].max()
    left.axhline(PLATEAU * top, color=MID, ls=":", lw=2, label=f"{PLATEAU:.0%} of the best")
    if known := {rows: ratio for rows, ratio in (guess or {}).items() if ratio > 0}:
        scale, at = _scale(points, known), sorted(known)
        said = [scale * known[rows] for rows in at]
        left.plot(at, said, color="#777777", ls="--", marker="s", ms=7, mfc="white", label="guess")
        top = max(top, *said)
    choice = sweep.choice()
    every = sweep.summary()
    chosen = every["batch_size"].eq(choice.batch_size)
    chosen &= every["max_concurrent_batches"].eq(choice.max_concurrent_batches)
    mine = every[chosen].iloc[0]
    left.plot(
        choice.rows_in_flight, mine[RATE], "o", ms=20, mfc="none", mec=ACCENT, mew=2.5, ls="",
        label=f"{_claim(sweep)}: {choice}",
    )  # fmt: skip
    left.legend(loc="upper left", markerscale=0.6)
    left.set_ylim(0, 1.25 * top)
    left.set_title("Output tokens/s")
    for name, style, marker in (("p50", "-", "o"), ("p95", "--", "^")):
        column = points[f"row latency {name} (s)"]
        right.plot(points["rows_in_flight"], column, style, marker=marker, color=DARK, label=name)
    right.set_ylim(0, 1.15 * points["row latency p95 (s)"].max())
    right.legend(loc="upper left")
    right.set_title("Row latency (s)")
    for axes in (left, right):
        log2_axis(axes, sorted({*points["rows_in_flight"], *(guess or ())}))
        axes.set_xlabel("rows in flight")
        _limit(axes, sweep)
    caption(figure, sweep.caption())
    return figure


@styled
def prediction(guess: Mapping[int, float]) -> Figure:
    """A guess alone: rows in flight → how many times faster than its first point."""
    figure, axes = new_figure(width=8, height=4)
    at = sorted(guess)
    said = [guess[rows] / guess[at[0]] for rows in at]
    axes.plot(at, said, color="#777777", ls="--", marker="s", ms=9, mfc="white")
    for x, y in zip(at, said, strict=True):
        axes.annotate(f"{y:.3g}×", (x, y), (0, 10), textcoords="offset points", ha="center")
    axes.set_ylim(0, 1.25 * max(said))
    log2_axis(axes, at)
    axes.set_xlabel("rows in flight")
    axes.set_title("Your guess: times faster")
    caption(figure, "A guess: nothing is measured yet.")
    return figure


@styled
def batch_sizes(sweep: Sweep) -> Figure:
    """Batch size with the rows in flight held: throughput, and the tail at the end of the job."""
    points = sweep.summary()
    figure, (left, right) = new_figure(width=12, height=4.8, columns=2)
    tones = (DARK, ACCENT, MID, "#777777")
    for number, (product, own) in enumerate(points.groupby("rows_in_flight")):
        own, color = own.sort_values("batch_size"), tones[number % len(tones)]
        words = f"{product} in flight"
        with_range(left, own["batch_size"], own, color, "osD^v"[number % 5], words)
        marker = "osD^v"[number % 5]
        right.plot(own["batch_size"], own["tail (s)"], marker=marker, color=color, label=words)
    left.set_ylim(0, 1.15 * points["highest"].max())
    left.set_title("Output tokens/s")
    right.set_ylim(0, max(0.1, 1.15 * points["tail (s)"].max()))
    right.set_title("Tail (s)")
    left.legend(loc="lower left")
    for axes in (left, right):
        log2_axis(axes, sorted(set(points["batch_size"])))
        axes.set_xlabel("batch size")
    caption(figure, sweep.caption())
    return figure


def batch_sizes_sentence(sweep: Sweep) -> str:
    """`batch_sizes` in words."""
    said = []
    for product, own in sweep.summary().groupby("rows_in_flight"):
        low, top = own.iloc[own[RATE].argmin()], own.iloc[own[RATE].argmax()]
        tails = ", ".join(
            f"{tail:.1f} s at {size}"
            for size, tail in zip(own["batch_size"], own["tail (s)"], strict=True)
        )
        said.append(
            f"With {product} rows in flight: {low[RATE]:,.0f} output tokens/s at batch size "
            f"{low['batch_size']:.0f}, {top[RATE]:,.0f} at {top['batch_size']:.0f}; tail {tails}."
        )
    return " ".join(said)


@styled
def heat_map(sweep: Sweep) -> Figure:
    """Throughput for each batch size (down) and number of batches (across); darker is faster."""
    points = sweep.summary()
    table = points.pivot(index="batch_size", columns="max_concurrent_batches", values=RATE)
    figure, axes = new_figure(
        width=3 + 1.5 * len(table.columns), height=1.9 + 0.75 * len(table.index)
    )
    values, sizes, batches = table.to_numpy(float), list(table.index), list(table.columns)
    top = np.nanmax(values)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    best = sweep.choice()
    for (y, x), rate in np.ndenumerate(values):
        if np.isnan(rate):
            axes.text(x, y, "–", ha="center", va="center")
            continue
        pair = (sizes[y], batches[x])
        mark = " ◀" if pair == tuple(best) else ""
        axes.text(
            x, y, f"{rate:,.0f}{mark}\n{pair[0] * pair[1]} in flight", ha="center", va="center",
            fontsize=11, color="white" if rate > 0.55 * top else "black",
        )  # fmt: skip
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.set_yticks(range(len(table.index)), table.index)
    axes.set_xlabel("batches at the engine (max_concurrent_batches)")
    axes.set_ylabel("batch size")
    axes.set_title(f"Output tokens/s  (◀ {_claim(sweep)})")
    caption(figure, sweep.caption())
    return figure


def _claim(sweep: Sweep) -> str:
    """How `Sweep.choice` is marked: where one run can't tell, it is none of ours."""
    return "fewest within noise" if sweep.undecided else "our choice"


def fastest(points: pd.DataFrame) -> pd.DataFrame:
    """One point for each number of rows in flight: the fastest."""
    best = points.sort_values(RATE).groupby("rows_in_flight").tail(1)
    return best.sort_values("rows_in_flight").reset_index(drop=True)


def _scale(points: pd.DataFrame, guess: Mapping[int, float]) -> float:
    """Output tokens/s for 1× of a guess: it agrees with the measurement at its first point there
    (with the slowest point, as long as none of its own is measured)."""
    rate = points.set_index("rows_in_flight")[RATE]
    first = min((rows for rows in guess if rows in rate.index), default=None)
    if first is None:
        return float(rate.min()) / guess[min(guess)]
    return float(rate[first]) / guess[first]


def with_range(
    axes: Axes,
    at: pd.Series,
    points: pd.DataFrame,
    color: str = DARK,
    marker: str = "o",
    label: str = "measured",
) -> None:
    """Medians with a bar from the lowest to the highest run, each with its number."""
    rate = points[RATE]
    bars = [rate - points["lowest"], points["highest"] - rate]
    axes.errorbar(at, rate, bars, color=color, marker=marker, ms=8, lw=2.5, capsize=6, label=label)
    for x, y in zip(at, rate, strict=True):
        axes.annotate(
            f"{y:,.0f}", (x, y), (0, 10), textcoords="offset points", ha="center", fontsize=11
        )


def log2_axis(axes: Axes, ticks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.1)


def _limit(axes: Axes, sweep: Sweep) -> None:
    """The engine's own limit: rows beyond it wait in its queue."""
    limit = sweep.limit
    if math.isfinite(limit):
        axes.axvline(limit, color=LIGHT, ls="--", lw=2.5, zorder=0)
        words = f"max_num_seqs {limit:.0f}"
        axes.text(
            limit, 1.01, words, fontsize=10, color=DARK, va="bottom", ha="center",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
