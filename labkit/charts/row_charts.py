"""Charts of a job's rows over time: in flight, one by one, and where a row's time goes: views only.

Each returns a `Chart`: end a notebook cell with it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit import metrics
from labkit.charts.axes import shown
from labkit.charts.captions import named_jobs, provenance, setting, where_run
from labkit.charts.labels import readable_on
from labkit.charts.style import ACCENT, DARK, GREY, LIGHT, MID, Chart, Sheet, styled
from labkit.errors import LabError
from labkit.results.job import Job
from labkit.results.recordings import RecordedRows

#: The color and the hatch of each of `metrics.PHASES`, from the bottom of a stack to its top.
LOOKS = dict(zip(metrics.PHASES, ((DARK, ""), (MID, "////"), (LIGHT, "")), strict=True))
#: In what order `timeline` draws the rows.
ORDERS = ("batch", "start")


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


@styled
def timeline(
    jobs: Job | RecordedRows | Mapping[str, Job | RecordedRows],
    rows: int = 64,
    *,
    order: str = "batch",
    title: str = "",
) -> Chart:
    """One bar a row: waiting, prefill, decode. Several jobs: below each other, on the same axis.

    rows: at most so many of a job, from its start. order: 'batch' (by batch, as their rows end,
    with lines between batches) or 'start' (as the engine takes them). Stragglers are red; a dot is
    where a row takes the place of one that has ended while others go on. title: else it says what
    was found. Raises LabError for another order.
    """
    if order not in ORDERS:
        raise LabError(f"order must be one of {', '.join(map(repr, ORDERS))}, not {order!r}.")
    named = named_jobs(jobs)
    parts = {name: _first_rows(job, rows, order) for name, job in named.items()}
    total = sum(len(part) for part in parts.values())
    each = min(0.085, 8 / total)
    sheet = Sheet(
        width=12, height=0.9 + 0.4 * len(named) + each * total, rows=len(named), sharex=True,
        height_ratios=[max(len(part), 4) for part in parts.values()],
    )  # fmt: skip
    for (axes,), (name, part) in zip(sheet.axes, parts.items(), strict=True):
        _draw_rows(axes, part, order, each)
        if name:
            axes.set_title(name)
    sheet.axes[-1][0].set_xlabel("seconds since the first row came to the engine")
    legend: dict[str, Any] = {
        "waiting": Patch(facecolor=LIGHT, edgecolor=DARK),
        "prefill": Patch(facecolor=MID, hatch="////", edgecolor=DARK),
        "decode": Patch(facecolor=DARK),
        "straggler": Patch(facecolor=ACCENT),
        "takes the place of a row that has ended": Line2D(
            [], [], marker="o", ms=6, mfc="white", mec=DARK, ls=""
        ),
    }
    facts = [_rows_words(name, part) for name, part in parts.items()]
    late, taken = (sum(int(part[by].sum()) for part in parts.values()) for by in ("late", "takes"))
    if not title and order == "start":
        title = _of(taken, total, "take", "the place of one that has ended")
    elif not title:
        title = _of(late, total, "hold", "the others of a batch back")
    captions = dict.fromkeys(_caption_of_rows(job) for job in named.values())
    rule = (
        "straggler: its last token comes in the last quarter of its batch's time, though half of "
        "the batch was done in the first half"
    )
    rule += " · dotted: between batches" if order == "batch" else ""
    return sheet.chart(
        title,
        "\n".join([*captions, rule]),
        f"A bar for each row from when it came to the engine to its last token. "
        f"{' '.join(facts)} {next(iter(captions)).splitlines()[0]}.",
        legend,
    )


def _of(some: int, rows: int, verb: str, what: str) -> str:
    number = f"{some:,}" if some else "None"
    return f"{number} of {rows:,} rows {verb}{'' if some > 1 else 's'} {what}"


def _caption_of_rows(job: Job | RecordedRows) -> str:
    return job.caption if isinstance(job, RecordedRows) else provenance(job)


def _first_rows(job: Job | RecordedRows, rows: int, order: str) -> pd.DataFrame:
    """The first rows of a job in their order, with `late` (stragglers of whole batches), `takes`
    (see `metrics.takes_a_place`), in seconds since its first row was queued."""
    found = job.timeline()
    first = found.groupby("batch_uuid")["queued_s"].transform("min")
    late, takes = metrics.stragglers(found), metrics.takes_a_place(found)
    found = found.assign(first=first, late=late, takes=takes)
    by = ["first", "batch_uuid", "last_token_s"] if order == "batch" else ["scheduled_s"]
    found = found.sort_values(by, kind="stable").head(rows)
    zero = found["queued_s"].min()
    for name in ("queued_s", "scheduled_s", "first_token_s", "last_token_s"):
        found[name] = found[name] - zero
    found["first_token_s"] = found["first_token_s"].fillna(found["scheduled_s"])
    return found


def _rows_words(name: str, part: pd.DataFrame) -> str:
    batches = part["batch_uuid"].nunique()
    return (
        f"{name + ': ' if name else ''}{len(part)} rows of {batches} "
        f"batch{'es' if batches > 1 else ''} in {shown(part['last_token_s'].max())} s; "
        f"{part['late'].sum()} stragglers; {part['takes'].sum()} take the place of one that has "
        "ended."
    )


def _draw_rows(axes: Axes, part: pd.DataFrame, order: str, each: float) -> None:
    at = np.arange(len(part))
    for phase, (color, hatch) in reversed(LOOKS.items()):
        begin, end = metrics.PHASES[phase]
        decode = color == DARK
        colors = [ACCENT if decode and late else color for late in part["late"]]
        axes.barh(
            at, part[end] - part[begin], left=part[begin], color=colors, hatch=hatch, height=0.85,
            edgecolor="none" if decode else DARK, linewidth=0.3,
        )  # fmt: skip
    marked = at[part["takes"].to_numpy()]
    axes.plot(
        part["scheduled_s"][part["takes"]], marked, "o", ls="", mfc="white", mec=DARK, mew=0.8,
        ms=max(2.5, 50 * each),
    )  # fmt: skip
    batch = part["batch_uuid"].to_numpy()
    borders = np.flatnonzero(batch[1:] != batch[:-1]) if order == "batch" else np.array([])
    for border in borders:
        axes.axhline(border + 0.5, color=GREY, lw=0.8, ls=":")
    count = part["batch_uuid"].nunique()
    axes.set_ylim(len(part) - 0.5, -0.5)
    axes.set_xlim(0, None)
    axes.set_yticks([])
    axes.set_ylabel(f"{len(part)} rows, {count} batch{'es' if count > 1 else ''}")
