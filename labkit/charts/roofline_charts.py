"""Charts that lay a sweep beside others, and under the limits of its device: views only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pandas as pd

from labkit.charts.axes import DASHES, MARKERS, TONES, log2_axis, shown, text_tone, times
from labkit.charts.style import ACCENT, GREY, MID, Chart, Sheet, styled
from labkit.charts.sweep_charts import caption_of, in_rate, with_range
from labkit.results.sweep_result import RATE, Sweep
from labkit.weights.architecture import Shape
from labkit.weights.roofline import Limits, step_seconds


@styled
def speed_ups(sweeps: Mapping[str, Sweep], *, rate: str = RATE) -> Chart:
    """Several machines or models: how many times the throughput of the fewest rows in flight.

    The best point of each is labelled; bars from the slowest to the fastest run where a point has
    several. rate: 'output tokens/s' or 'rows/s'. Raises LabError for another.
    """
    sheet = Sheet(width=10, height=4.6)
    axes, legend, said = sheet.axes[0][0], cast("dict[str, Any]", {}), []
    curves = {name: in_rate(sweep, rate).fastest() for name, sweep in sweeps.items()}
    ticks = sorted({int(n) for points in curves.values() for n in points["rows_in_flight"]})
    log2_axis((axes,), ticks)
    axes.set_yscale("log", base=2)
    for number, (name, points) in enumerate(curves.items()):
        color, marker = TONES[number % 4], MARKERS[number % 5]
        unit = points[RATE].iloc[0]
        ratio = points.assign(**{c: points[c] / unit for c in (RATE, "lowest", "highest")})
        line = with_range(axes, ratio["rows_in_flight"], ratio, color, marker)
        line.set_linestyle(DASHES[number % 4])
        best = ratio.iloc[ratio[RATE].to_numpy().argmax()]
        legend[name] = line
        sheet.label(
            axes, [f"best: {times(best[RATE])}", times(best[RATE])],
            (best["rows_in_flight"], best[RATE]), color=text_tone(color), weight="bold",
        )  # fmt: skip
        said.append(
            f"{name}: best {times(best[RATE])} with {best['rows_in_flight']:,.0f} in flight, over "
            f"{points['rows_in_flight'].iloc[0]:,} in flight"
        )
    first = min(int(points["rows_in_flight"].iloc[0]) for points in curves.values())
    top = axes.get_ylim()[1]
    legend["perfect scaling"] = axes.plot(
        [first, max(ticks)], [1, max(ticks) / first], color=GREY, lw=1.2, zorder=1
    )[0]
    axes.set_ylim(axes.get_ylim()[0], 2 * top)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}×")
    axes.set_xlabel("rows in flight")
    axes.set_title(f"{rate}: times its own first point")
    notes = [f"{name}: {_measured(sweep)}" for name, sweep in sweeps.items()]
    return sheet.chart(
        "How many times faster with many rows in flight",
        "\n".join(notes),
        f"Curves of how many times the {rate} of their first point, on logarithmic axes. "
        f"{'; '.join(said)}. {' '.join(notes)}",
        legend,
    )


def _measured(sweep: Sweep) -> str:
    """On what a sweep was measured and how long its rows are, in one line."""
    where, *_ = caption_of(sweep).splitlines()
    rows = sweep.table["rows"].sum()
    inputs, outputs = (sweep.table[f"{kind}_tokens"].sum() / rows for kind in ("input", "output"))
    runs = sweep.summary()["runs"]
    many = f"{runs.min()} to {runs.max()}" if runs.min() < runs.max() else f"{runs.max()}"
    return (
        f"{where} · mean {inputs:.0f} input and {outputs:.0f} output tokens a row · {many} "
        f"run{'s' if runs.max() > 1 else ''} a point"
    )


@styled
def roof(sweep: Sweep, shape: Shape, limits: Limits) -> Chart:
    """Measured output tokens/s under the roofline of decode, on logarithmic axes.

    The slanted line: every weight and the KV cache are read once a step; the flat one: each weight
    is multiplied once for every row. A label has the share of the lower one that was reached.
    `roof_sentence` says the same.
    """
    points, bounds = _bounds(sweep, shape, limits)
    at = points["rows_in_flight"]
    sheet = Sheet(width=10, height=4.6)
    axes = sheet.axes[0][0]
    axes.set_yscale("log")
    top = bounds[["read", "work"]].min(axis=1).max()
    axes.set_ylim(0.3 * points[RATE].min(), 6 * top)
    log2_axis((axes,), sorted(at))
    legend: dict[str, Any] = {"measured": with_range(axes, at, points)}
    legend["limit of reading"] = axes.plot(at, bounds["read"], color=MID, ls="--", lw=2)[0]
    legend["limit of multiplying"] = axes.plot(at, bounds["work"], color=ACCENT, ls=":", lw=2.5)[0]
    said = []
    for x, y, share in zip(at, points[RATE], bounds["share"], strict=True):
        sheet.label(
            axes, [f"{shown(y)}: {share:.0%}", f"{share:.0%}"], (x, y),
            sides=("below right", "below", "right", "left", "above left", "above"),
        )  # fmt: skip
        said.append(f"{shown(y)} with {x:,} in flight ({share:.0%} of its limit)")
    axes.set_xlabel("rows in flight")
    axes.set_title("output tokens/s, and the share of the limit")
    words = (
        f"limits measured on {limits.device}: {limits.bytes_per_s / 1e12:.3g} TB/s read, "
        f"{limits.operations_per_s / 1e12:.3g} TFLOP/s bf16"
    )
    return sheet.chart(
        "How far from the limit of the device",
        f"{caption_of(sweep)}\n{words}",
        f"Output tokens/s under the limits of the device: {'; '.join(said)}. "
        f"{roof_sentence(sweep, shape, limits)} {sweep.caption().splitlines()[0]}; {words}.",
        legend,
    )


def roof_sentence(sweep: Sweep, shape: Shape, limits: Limits) -> str:
    """`roof` in words: which limit counts where, and the share of it that was reached."""
    points, bounds = _bounds(sweep, shape, limits)
    first, best = 0, int(points[RATE].to_numpy().argmax())
    said = []
    for at in dict.fromkeys((first, best)):
        kind = "reading" if bounds["read"].iloc[at] < bounds["work"].iloc[at] else "multiplying"
        said.append(
            f"With {points['rows_in_flight'].iloc[at]} in flight the limit is {kind}, at "
            f"{bounds[['read', 'work']].iloc[at].min():,.0f} output tokens/s; "
            f"{bounds['share'].iloc[at]:.0%} of it was reached."
        )
    return " ".join(said)


def _bounds(sweep: Sweep, shape: Shape, limits: Limits) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(points, their bounds in output tokens/s by `read` and `work`, and the share reached). Rows
    above the engine's `max_num_seqs` wait and are not decoded."""
    points = sweep.fastest()
    table = sweep.table
    # On average a row in decode has its prompt and half of its answer in the KV cache.
    context = (table["input_tokens"] + table["output_tokens"] / 2).sum() / table["rows"].sum()
    decoding = points["rows_in_flight"].clip(upper=sweep.limit)
    steps = [step_seconds(shape, limits, rows, context) for rows in decoding]
    found = pd.DataFrame(steps, columns=["read", "work"])
    found = found.rdiv(decoding, axis=0)
    found["share"] = points[RATE] / found.min(axis=1)
    return points, found
