"""The timeline of a job: a bar for each row, from when it came to the engine to its last token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit import metrics
from labkit.charts.axes import shown
from labkit.charts.captions import named_jobs, provenance
from labkit.charts.row_charts import LOOKS
from labkit.charts.style import ACCENT, DARK, GREY, LIGHT, MID, Chart, Sheet, styled
from labkit.errors import LabError
from labkit.results.job import Job
from labkit.results.recordings import RecordedRows

#: In what order `timeline` draws the rows.
ORDERS = ("batch", "start")


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
