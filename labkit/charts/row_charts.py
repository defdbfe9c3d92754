"""Charts of a job's rows: how many are in flight, and where a row's time goes: views only.

Each returns a `Chart`: end a notebook cell with it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit import metrics
from labkit.charts.axes import shown
from labkit.charts.captions import named_jobs, provenance, setting, where_run
from labkit.charts.labels import readable_on
from labkit.charts.style import ACCENT, DARK, GREY, LIGHT, MID, Chart, Sheet, styled
from labkit.results.job import Job

#: The color and the hatch of each of `metrics.PHASES`, from the bottom of a stack to its top.
LOOKS = dict(zip(metrics.PHASES, ((DARK, ""), (MID, "////"), (LIGHT, "")), strict=True))


def _seconds(value: float) -> str:
    """For a label: 3.09 s, and 0 s for what is under a thousandth."""
    return f"{shown(value if value >= 0.001 else 0.0)} s"


@styled
def row_time(jobs: Mapping[str, Job]) -> Chart:
    """Where the time of a row in the middle goes: a bar a job, in seconds, with its TTFT.

    Waiting at the engine's door (queued to scheduled), prefill (to the first token), decode (to the
    last). A row in the middle: the mean of the fifth of the rows whose latency is nearest to the
    median. A server tells no first token: prefill and decode are one part there.
    """
    sheet = Sheet(height=1.1 + 0.85 * len(jobs))
    axes, found = sheet.axes[0][0], list(jobs.values())
    middles = [metrics.middle_row(job.timeline()) for job in found]
    longest = max(float(parts.sum()) for parts in middles)
    said = []
    for y, (name, parts) in enumerate(zip(jobs, middles, strict=True)):
        wait, prefill, decode = (float(part) for part in parts)
        known, left = not np.isnan(prefill), 0.0
        words = dict(zip(LOOKS, (decode, prefill, wait), strict=True))
        for part in reversed(LOOKS):
            width = words[part] if known or part != "in prefill" else 0.0
            color, hatch = LOOKS[part]
            bar = axes.barh(
                y, width, left=left, color=color, hatch=hatch, edgecolor=DARK, height=0.5
            )
            bar.patches[0].set_linewidth(0.8)
            if not hatch and width:
                sheet.label(
                    axes, _seconds(width), (left + width / 2, y), sides=("middle",),
                    color=readable_on(color),
                )  # fmt: skip
            left += width
        total = wait + (prefill if known else 0.0) + decode
        sheet.label(axes, _seconds(total), (total, y), sides=("right",), weight="bold")
        if known:
            first = wait + prefill
            axes.plot([first, first], [y - 0.36, y + 0.36], color=ACCENT, lw=2.5)
            sheet.label(
                axes, f"TTFT {_seconds(first)}", (first, y - 0.3), color=ACCENT,
                sides=("above", "above right", "above left"),
            )  # fmt: skip
            said.append(
                f"{name}: {_seconds(wait)} waiting, {_seconds(prefill)} prefill, "
                f"{_seconds(decode)} decode; TTFT {_seconds(first)}"
            )
        else:
            said.append(f"{name}: {_seconds(wait)} waiting, {_seconds(decode)} prefill and decode")
    axes.set_ylim(len(jobs) - 0.5, -0.75)
    axes.set_yticks(range(len(jobs)), [textwrap.fill(name, 24) for name in jobs])
    axes.set_xlim(0, 1.15 * max(longest, 1e-9))
    axes.set_xlabel("seconds since the row came to the engine")
    legend: dict[str, Any] = {
        {"decoding": "decode", "in prefill": "prefill"}.get(part, part): Patch(
            facecolor=color, hatch=hatch, edgecolor=DARK
        )
        for part, (color, hatch) in reversed(LOOKS.items())
    }
    legend["time to the first token (TTFT)"] = Line2D([], [], color=ACCENT, lw=2.5)
    note = "a row in the middle: the mean of the fifth of the rows nearest to the median latency"
    return sheet.chart(
        "Where a row's time goes",
        provenance(*found, note=note),
        f"Stacked bars of the time of a row in the middle. {'; '.join(said)}. {where_run(*found)}",
        legend,
    )


@styled
def in_flight(jobs: Job | Mapping[str, Job]) -> Chart:
    """Rows in flight and output tokens/s over the engine span; several jobs on the same axes.

    Rows in flight: waiting at the engine's door, in prefill, decoding; with the limit of rows in
    flight, and the rows that the engine takes at once (`max_num_seqs` of all replicas).
    """
    named = named_jobs(jobs)
    sheet = Sheet(
        width=12, height=0.6 + 2.9 * len(named), rows=len(named), columns=2, sharex=True,
        sharey="col",
    )  # fmt: skip
    said = []
    limits = [job.spec.rows_in_flight for job in named.values()]
    for (left, right), (name, job) in zip(sheet.axes, named.items(), strict=True):
        rows, before = job.timeline(), f"{name}: " if name else ""
        begin, span, tail = rows["scheduled_s"].min(), job.metrics.engine_span_s, job.metrics.tail_s
        counts = metrics.in_phases(rows)
        at, bottom = counts.index.to_numpy() - begin, np.zeros(len(counts))
        for part, (color, hatch) in LOOKS.items():
            top = bottom + counts[part].to_numpy()
            left.fill_between(
                at, bottom, top, step="post", facecolor=color, hatch=hatch, edgecolor=DARK, lw=0
            )
            bottom = top
        left.step(at, bottom, where="post", color=DARK, lw=1)
        left.set_xlim(min(0.0, at.min()), None)
        left.set_ylim(0, 1.28 * max(limits))
        _limit_lines(sheet, left, job)
        left.set_title(f"{before}rows in flight")
        edges = np.linspace(begin, rows["last_token_s"].max(), 25)
        rate = np.diff(metrics.tokens_until(rows, edges)) / np.diff(edges)
        right.stairs(rate, edges - begin, color=MID, fill=True)
        right.stairs(rate, edges - begin, color=DARK, lw=1.5)
        right.set_title(f"{before}output tokens/s")
        right.set_ylim(0, max(right.get_ylim()[1], 1.3 * rate.max()))
        if tail > 0.02 * span:
            for axes in (left, right):
                axes.axvline(span - tail, color=ACCENT, ls=":", lw=2)
                sheet.label(
                    axes, f"tail {shown(tail)} s", [(span - tail, y) for y in (0.95, 0.88, 0.8)],
                    transform=axes.get_xaxis_transform(), color=ACCENT, sides=("right", "left"),
                )  # fmt: skip
        m = job.metrics
        mean, places = shown(m.mean_rows_in_flight), _places(job)
        said.append(
            f"{before}up to {m.peak_rows_in_flight:,} rows in flight, {mean} on average, "
            f"{f'{places:,}' if places else 'an unknown number'} decoding at most; "
            f"{shown(m.output_tokens_per_s)} output tokens/s over {shown(span)} s, "
            f"tail {shown(tail)} s"
        )
    for axes in sheet.axes[-1]:
        axes.set_xlabel("seconds since the first row was scheduled")
    bounds = [
        f"{name}: {bound.sentence}" if name else bound.sentence
        for name, job in named.items()
        if (bound := job.bottleneck())
    ]
    legend: dict[str, Any] = {
        part: Patch(facecolor=color, hatch=hatch, edgecolor=DARK)
        for part, (color, hatch) in LOOKS.items()
    }
    found = list(named.values())
    for job in found:
        if (places := _places(job)) and places != job.spec.rows_in_flight:
            legend[f"max_num_seqs {places:,}"] = Line2D([], [], color=GREY, lw=1.5)
    return sheet.chart(
        "Rows in flight and output tokens/s over time",
        "\n".join([provenance(*found), *bounds]),
        f"Rows in flight and output tokens/s over time. {'; '.join(said)}. {' '.join(bounds)} "
        f"{where_run(*found)}",
        legend,
    )


def _places(job: Job) -> int | None:
    """The rows that all replicas decode at once; None where a server does not tell."""
    seqs = setting(job, "max_num_seqs")
    return seqs * job.spec.replicas if seqs else None


def _limit_lines(sheet: Sheet, axes: Axes, job: Job) -> None:
    limit, places = job.spec.rows_in_flight, _places(job)
    words = f"limit {limit:,}"
    if places == limit:
        words += f", max_num_seqs {limit:,}"
    elif places and places <= axes.get_ylim()[1]:
        axes.axhline(places, color=GREY, lw=1.5)
    axes.axhline(limit, color=ACCENT, ls="--", lw=1.5)
    sheet.label(
        axes, words, [(x, limit) for x in (0.99, 0.01, 0.5)], color=DARK,
        transform=axes.get_yaxis_transform(),
        sides=("above left", "below left", "above right", "below right", "above", "below"),
    )  # fmt: skip
