"""Charts of sweeps over batch sizes: at one limit of rows in flight, and as a map of batch size ×
batches. Views only, with their words beside them (`batch_sizes_sentence`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.charts.axes import MARKERS, THOUSANDS, TONES, log2_axis, shown, text_tone, tiles
from labkit.charts.labels import readable_on
from labkit.charts.style import Chart, Sheet, styled
from labkit.charts.sweep_charts import caption_of, claim, in_rate, with_range
from labkit.results.sweep_result import RATE, Sweep


@styled
def batch_sizes(sweep: Sweep, *, rate: str = RATE) -> Chart:
    """Batch size with the limit of rows in flight held: throughput, and the rows that really were
    in flight on average. rate: 'output tokens/s' or 'rows/s'. Raises LabError for another."""
    sweep = in_rate(sweep, rate)
    points = sweep.summary()
    sheet = Sheet(width=12, height=4, columns=2)
    (left, right), legend = sheet.axes[0], {}
    ticks = sorted(set(points["batch_size"]))
    left.set_ylim(0, 1.2 * points["highest"].max())
    left.yaxis.set_major_formatter(THOUSANDS)
    right.set_ylim(0, 1.15 * points["rows_in_flight"].max())
    groups: Any = points.groupby("rows_in_flight")
    for number, (product, own) in enumerate(groups):
        own, color = own.sort_values("batch_size"), TONES[number % len(TONES)]
        marker = MARKERS[number % len(MARKERS)]
        words = f"at most {product:,} in flight"
        legend[words] = with_range(left, own["batch_size"], own, color, marker)
        mean = own["mean rows in flight"]
        right.plot(own["batch_size"], mean, marker=marker, ms=8, lw=2.5, color=color)
        right.axhline(product, color=color, ls="--", lw=1.5)
        here = (right.transData + right.transAxes.inverted()).transform((1, product))[1]
        sheet.label(
            right, f"limit {product:,}", [(0.99, here), (0.5, here), (0.01, here)],
            transform=right.transAxes, color=text_tone(color),
            sides=("below left", "above left", "below", "above", "below right", "above right"),
        )  # fmt: skip
        for axes, column in ((left, own[RATE]), (right, mean)):
            for x, y in zip(own["batch_size"], column, strict=True):
                sheet.label(axes, shown(y), (x, y), color=text_tone(color))
    left.set_title(rate)
    right.set_title("mean rows in flight")
    log2_axis((left, right), ticks)
    for axes in (left, right):
        axes.set_xlabel("batch size")
    return sheet.chart(
        "Batch size, with the limit of rows in flight held",
        caption_of(sweep),
        f"Two charts by batch size: {rate} and mean rows in flight. "
        f"{_batch_sizes_words(sweep, rate)} {sweep.caption().splitlines()[0]}",
        legend,
    )


def batch_sizes_sentence(sweep: Sweep, *, rate: str = RATE) -> str:
    """`batch_sizes` in words."""
    return _batch_sizes_words(in_rate(sweep, rate), rate)


def _batch_sizes_words(sweep: Sweep, rate: str) -> str:
    said = []
    for product, own in sweep.summary().groupby("rows_in_flight"):
        low, top = own.iloc[own[RATE].argmin()], own.iloc[own[RATE].argmax()]
        means = ", ".join(
            f"{mean:,.0f} at {size:,}"
            for size, mean in zip(own["batch_size"], own["mean rows in flight"], strict=True)
        )
        said.append(
            f"With at most {product:,} rows in flight: {shown(low[RATE])} {rate} at batch size "
            f"{low['batch_size']:,.0f}, {shown(top[RATE])} at {top['batch_size']:,.0f}; "
            f"mean rows in flight {means}."
        )
    return " ".join(said)


@styled
def heat_map(sweep: Sweep, *, rate: str = RATE) -> Chart:
    """Throughput for each batch size (down) and number of batches (across); darker is faster.
    rate: 'output tokens/s' or 'rows/s'. Raises LabError for another."""
    sweep = in_rate(sweep, rate)
    points = sweep.summary()
    table = points.pivot(index="batch_size", columns="max_concurrent_batches", values=RATE)
    sheet = Sheet(width=max(8, 3 + 1.7 * len(table.columns)), height=1 + 0.8 * len(table.index))
    axes = sheet.axes[0][0]
    values, sizes, batches = table.to_numpy(float), list(table.index), list(table.columns)
    best = sweep.choice()
    tones = tiles(axes, table, values, np.nanmax(values))
    said = []
    for (y, x), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(x, y, "–", ha="center", va="center")
            continue
        pair = (sizes[y], batches[x])
        mark = " ◀" if pair == tuple(best) else ""
        axes.text(
            x, y, f"{shown(value)}{mark}\n{pair[0] * pair[1]:,} in flight", ha="center",
            va="center", fontsize=12, color=readable_on(tones[y, x]),
        )  # fmt: skip
        said.append(f"{pair[0]:,} × {pair[1]:,}: {shown(value)}")
    axes.set_xlabel("batches at the engine (max_concurrent_batches)")
    axes.set_ylabel("batch size")
    return sheet.chart(
        f"{rate.capitalize()} by batch size and batches  (◀ {claim(sweep)})",
        caption_of(sweep),
        f"A map of {rate} by batch size × batches: {'; '.join(said)}. Marked as {claim(sweep)}: "
        f"{best}. {sweep.caption().splitlines()[0]}",
    )
