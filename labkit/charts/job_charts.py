"""Charts of jobs: views only, every number comes from `metrics`.

Readable on a projector and in black and white (hatches, labels, one dark and one light tone).
Each returns a `Chart`: end a notebook cell with it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit import metrics
from labkit.charts.axes import shown, tiles, times
from labkit.charts.captions import provenance, where_run
from labkit.charts.labels import readable_on
from labkit.charts.style import ACCENT, DARK, LIGHT, MID, Chart, Sheet, styled
from labkit.quality import Quality
from labkit.results.job import Job
from labkit.results.recordings import RecordedSystems


def _bars(
    sheet: Sheet, names: Sequence[str], rates: Any, low: Any, high: Any, words: Sequence[str]
) -> Axes:
    """Bars across with whiskers from low to high, the words beside each; the first is paler: all
    others are compared with it."""
    axes = sheet.axes[0][0]
    at, rates, low, high = (
        np.arange(len(names)),
        *(np.asarray(x, float) for x in (rates, low, high)),
    )
    axes.barh(
        at, rates, color=[LIGHT, *[MID] * (len(names) - 1)], edgecolor=DARK,
        xerr=[np.maximum(rates - low, 0), np.maximum(high - rates, 0)],
        error_kw={"ecolor": ACCENT, "capsize": 5, "lw": 2},
    )  # fmt: skip
    axes.set_yticks(at, [textwrap.fill(name, 24) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(high.max(), rates.max(), 1e-9))
    for y, (end, text) in enumerate(zip(np.maximum(rates, high), words, strict=True)):
        sheet.label(axes, text, (float(end), y), sides=("right",), weight="bold", fontsize=13)
    return axes


@styled
def throughput_bars(
    jobs: Mapping[str, Job], title: str = "Output tokens/s of each job over its engine span"
) -> Chart:
    """Output tokens/s of each job over its engine span, with the speed-up over the first.

    Whiskers: the slowest and the fastest third of the job's time, not a spread over runs.
    """
    names, found = list(jobs), list(jobs.values())
    rates = [job.metrics.output_tokens_per_s for job in found]
    thirds = [metrics.rate_in_parts(job.timeline()) for job in found]
    words = [shown(rates[0]), *(f"{shown(r)}  ({times(r / rates[0])})" for r in rates[1:])]
    sheet = Sheet(height=1.1 + 0.7 * len(jobs))
    low, high = [part.min() for part in thirds], [part.max() for part in thirds]
    axes = _bars(sheet, names, rates, low, high, words)
    axes.set_xlabel("output tokens/s")
    whisker = Line2D([], [], color=ACCENT, lw=2, marker="|", ms=10)
    return sheet.chart(
        title,
        provenance(*found, note="engine span only: startup is left out · one run each"),
        f"Bars of output tokens/s. {sentence(jobs)} {where_run(*found)}",
        {"slowest and fastest third of the job's time": whisker},
    )


def sentence(jobs: Mapping[str, Job]) -> str:
    """`throughput_bars` in words, for those who can't see the picture."""
    names: Sequence[str] = list(jobs)
    first = jobs[names[0]].metrics.output_tokens_per_s
    parts = [
        f"{name}: {shown(jobs[name].metrics.output_tokens_per_s)} output tokens/s "
        f"({times(jobs[name].metrics.output_tokens_per_s / first)})"
        for name in names
    ]
    return "; ".join(parts) + "."


@styled
def engines_on_card(recorded: RecordedSystems) -> Chart:
    """Rows/s of short answers: `vllm.LLM.chat`, and one or more labkit engines on the same card.

    Bars: medians; whiskers: the slowest and the fastest job; in words, the ratio to `LLM.chat` in
    the same round.
    """
    table = recorded.table
    sheet = Sheet(height=1.1 + 0.6 * len(table))
    words = [f"{row['rows/s']:,.0f}  ({row['ratio']:.1f}×)" for _, row in table.iterrows()]
    words[0] = f"{table['rows/s'].iloc[0]:,.0f}"
    names = [str(name) for name in table.index]
    axes = _bars(sheet, names, table["rows/s"], table["lowest"], table["highest"], words)
    axes.set_xlabel("rows/s")
    whisker = Line2D([], [], color=ACCENT, lw=2, marker="|", ms=10)
    return sheet.chart(
        "Engines on one card: rows/s of short answers",
        recorded.caption,
        f"Bars of rows/s. {engines_on_card_sentence(recorded)} {recorded.caption.splitlines()[0]}.",
        {"slowest and fastest job": whisker},
    )


def engines_on_card_sentence(recorded: RecordedSystems) -> str:
    """`engines_on_card` in words."""
    first, *others = recorded.table.iterrows()
    parts = [f"{first[0]}: {first[1]['rows/s']:,.0f} rows/s"]
    parts += [f"{name}: {row['rows/s']:,.0f} ({row['ratio']:.1f}×)" for name, row in others]
    return "; ".join(parts) + "."


@styled
def where_time_goes(jobs: Mapping[str, Job]) -> Chart:
    """Each job's wall time in seconds: startup, the engine span before its tail, the tail,
    shutdown."""
    sheet = Sheet(height=1.1 + 0.65 * len(jobs))
    axes, found = sheet.axes[0][0], list(jobs.values())
    parts = {
        "startup": (LIGHT, "", lambda m: m.startup_s),
        "engine span before the tail": (DARK, "", lambda m: m.engine_span_s - m.tail_s),
        "tail": (MID, "///", lambda m: m.tail_s),
        "shutdown": ("white", "...", lambda m: m.shutdown_s),
    }
    left, at, legend = np.zeros(len(found)), np.arange(len(found)), {}
    for name, (color, hatch, value) in parts.items():
        width = np.array([value(job.metrics) for job in found])
        axes.barh(at, width, left=left, color=color, hatch=hatch, edgecolor=DARK)
        legend[name] = Patch(facecolor=color, hatch=hatch, edgecolor=DARK)
        left += width
    said = []
    for y, (name, job) in enumerate(jobs.items()):
        m = job.metrics
        shares = f"startup {m.startup_s / m.wall_s:.0%}, engine {m.engine_span_s / m.wall_s:.0%}"
        short = f"{shown(m.wall_s)} s, startup {m.startup_s / m.wall_s:.0%}"
        texts = [f"{shown(m.wall_s)} s: {shares}", short, f"{shown(m.wall_s)} s"]
        sheet.label(axes, texts, (left[y], y), sides=("right",))
        said.append(f"{name}: {shown(m.wall_s)} s, {shares}, tail {m.tail_s / m.wall_s:.0%}")
    axes.set_yticks(at, [textwrap.fill(name, 24) for name in jobs])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.7 * left.max())
    axes.set_xlabel("seconds, from the call to the result")
    return sheet.chart(
        "Where a job's time goes",
        provenance(*found, note="one run each"),
        f"Stacked bars of each job's wall time. {'; '.join(said)}. {where_run(*found)}",
        legend,
    )


@styled
def confusion(table: pd.DataFrame, title: str, job: Job | None = None) -> Chart:
    """A confusion matrix (`quality.confusion`): counts, and shares of each true label as tone.
    job: what the labels come from, for the small print."""
    counts = table.to_numpy()
    share = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    sheet = Sheet(width=8, height=1 + 0.9 * len(table))
    axes = sheet.axes[0][0]
    tones = tiles(axes, table, share, 1)
    said = []
    for (y, x), part in np.ndenumerate(share):
        words = f"{int(counts[y, x])}\n{part:.0%}"
        axes.text(x, y, words, ha="center", va="center", color=readable_on(tones[y, x]))
        said.append(f"{table.columns[x]} for {table.index[y]}: {int(counts[y, x])} ({part:.0%})")
    axes.set_xlabel("predicted")
    axes.set_ylabel("people say")
    rows = f"{int(counts.sum()):,} rows; shares are of each label that people gave"
    return sheet.chart(
        title,
        provenance(job, note=rows) if job is not None else rows,
        f"A confusion matrix, predicted labels for those that people gave: {'; '.join(said)}.",
    )


@styled
def quality_throughput(
    jobs: Mapping[str, Job], quality: Mapping[str, Quality], baselines: Mapping[str, float]
) -> Chart:
    """Macro-F1 against rows/s: a point a job with its 95% interval, a line a baseline."""
    sheet = Sheet(width=9, height=4)
    axes, legend, said = sheet.axes[0][0], cast("dict[str, Any]", {}), []
    for number, (name, job) in enumerate(jobs.items()):
        score, rate = quality[name], job.metrics.rows_per_s
        bounds = [[score.macro_f1 - score.macro_f1_low], [score.macro_f1_high - score.macro_f1]]
        legend[name] = axes.errorbar(
            rate, score.macro_f1, bounds, marker="osD^v"[number % 5], ms=10, ls="", capsize=5,
            color=(DARK, MID)[number % 2],
        )  # fmt: skip
        sheet.label(axes, f"{score.macro_f1:.2f}", (rate, score.macro_f1))
        said.append(
            f"{name}: {score.macro_f1:.2f} ({score.macro_f1_low:.2f} to {score.macro_f1_high:.2f})"
            f" at {shown(rate)} rows/s"
        )
    for number, (name, line) in enumerate(baselines.items()):
        style = ("--", ":", "-.")[number % 3]
        legend[f"{name} ({line:.2f})"] = axes.axhline(line, color=ACCENT, ls=style, lw=2)
        said.append(f"baseline {name}: {line:.2f}")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, 1.25 * max(job.metrics.rows_per_s for job in jobs.values()))
    axes.set_xlabel("rows/s over the engine span")
    axes.set_title("macro-F1")
    found = list(jobs.values())
    return sheet.chart(
        "Better, or faster?",
        provenance(*found, note="bars: 95% bootstrap interval"),
        f"Macro-F1 against rows/s. {'; '.join(said)}. {where_run(*found)}",
        legend,
    )
