"""Charts that lay a sweep beside others, and under the limits of its device: views only."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from labkit.charts.style import ACCENT, DARK, MID, caption, new_figure, styled
from labkit.charts.sweep_charts import RATE, fastest, log2_axis, with_range
from labkit.results.sweep_result import Sweep
from labkit.weights.architecture import Shape
from labkit.weights.roofline import Limits, step_seconds


@styled
def speed_ups(sweeps: Mapping[str, Sweep]) -> Figure:
    """Several machines or models: how many times the throughput of the fewest rows in flight."""
    figure, axes = new_figure(width=10, height=5.2)
    tones = (DARK, ACCENT, MID, "#777777")
    ticks: set[int] = set()
    for number, (name, sweep) in enumerate(sweeps.items()):
        points = fastest(sweep.summary())
        ratio = points[RATE] / points[RATE].iloc[0]
        style = ("-", "--", "-.", ":")[number % 4]
        color, marker = tones[number % 4], "osD^"[number % 4]
        axes.plot(points["rows_in_flight"], ratio, style, color=color, marker=marker, label=name)
        x, y = points["rows_in_flight"].iloc[-1], ratio.iloc[-1]
        axes.annotate(f"{y:.0f}×", (x, y), (8, 0), textcoords="offset points", va="center")
        ticks |= set(points["rows_in_flight"])
    log2_axis(axes, sorted(ticks))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}×")
    axes.set_xlabel("rows in flight")
    axes.set_title("Times the throughput of the first point")
    axes.legend(loc="upper left")
    caption(figure, "\n".join(sweep.caption().splitlines()[0] for sweep in sweeps.values()))
    return figure


@styled
def roof(sweep: Sweep, shape: Shape, limits: Limits) -> Figure:
    """Measured throughput under the roofline of decode, on logarithmic axes.

    The slanted line: every weight and the KV cache are read once a step; the flat one: each weight
    is multiplied once for every row. `roof_sentence` says the same.
    """
    points, bounds = _bounds(sweep, shape, limits)
    at = points["rows_in_flight"]
    figure, axes = new_figure(width=10, height=5.2)
    axes.plot(at, bounds["read"], color=MID, ls="--", lw=2, label="limit of reading")
    axes.plot(at, bounds["work"], color=ACCENT, ls=":", lw=2.5, label="limit of multiplying")
    with_range(axes, at, points)
    for x, y, share in zip(at, points[RATE], bounds["share"], strict=True):
        axes.annotate(f"{share:.0%}", (x, y), (0, -20), textcoords="offset points", ha="center")
    axes.set_yscale("log")
    top = bounds[["read", "work"]].min(axis=1).max()
    axes.set_ylim(0.4 * points[RATE].min(), 6 * top)
    log2_axis(axes, sorted(at))
    axes.set_xlabel("rows in flight")
    axes.set_title("Output tokens/s, and how far from the limit")
    axes.legend(loc="lower right")
    words = (
        f"limits measured on {limits.device}: {limits.bytes_per_s / 1e12:.2f} TB/s read, "
        f"{limits.operations_per_s / 1e12:.0f} TFLOP/s bf16"
    )
    caption(figure, f"{sweep.caption()}\n{words}")
    return figure


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
    points = fastest(sweep.summary())
    table = sweep.table
    # On average a row in decode has its prompt and half of its answer in the KV cache.
    context = (table["input_tokens"] + table["output_tokens"] / 2).sum() / table["rows"].sum()
    decoding = points["rows_in_flight"].clip(upper=sweep.limit)
    steps = [step_seconds(shape, limits, rows, context) for rows in decoding]
    found = pd.DataFrame(steps, columns=["read", "work"])
    found = found.rdiv(decoding, axis=0)
    found["share"] = points[RATE] / found.min(axis=1)
    return points, found
