"""Curves of several sweeps on one chart: of thirty machines, or of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.charts.axes import DASHES, MARKERS, THOUSANDS, log2_axis, shown, text_tone
from labkit.charts.style import ACCENT, DARK, GREY, MID, Chart, Sheet, styled
from labkit.results.curve import Curve, medians

TONES = (DARK, ACCENT, "#1c7a46", "#8a5a00", MID, GREY)


@styled
def curves(named: Sequence[tuple[str, Curve]], caption: str = "") -> Chart:
    """Throughput by rows in flight: a thin line each, by device a bold one of their medians (by
    model and task, too, where these differ).

    named: what each curve is called → its curve; all of one unit. The last point of each bold line
    is labelled. caption: the small print.
    """
    sheet, legend, said = Sheet(width=11, height=5), dict[str, Any](), []
    axes = sheet.axes[0][0]
    differ = [
        what for what in ("model", "task") if len({getattr(one, what) for _, one in named}) > 1
    ]
    by_device: dict[str, list[tuple[str, Curve]]] = {}
    for name, one in named:
        words = " · ".join([one.device, *(getattr(one, what) for what in differ)])
        by_device.setdefault(words, []).append((name, one))
    points = [point for _, one in named for point in one.points]
    log2_axis((axes,), sorted({rows for rows, *_ in points}))
    axes.set_ylim(0, 1.15 * max(1e-9, *(high for *_, high in points)))
    axes.yaxis.set_major_formatter(THOUSANDS)
    for number, (device, some) in enumerate(by_device.items()):
        color, marker = TONES[number % len(TONES)], MARKERS[number % len(MARKERS)]
        if len(some) > 1:
            for _, one in some:
                rows, rates = zip(*(point[:2] for point in one.points), strict=True)
                axes.plot(rows, rates, color=color, lw=1, alpha=0.45, zorder=2)
        else:
            rows, rates, lows, highs = zip(*some[0][1].points, strict=True)
            bars = [
                [rate - low for rate, low in zip(rates, lows, strict=True)],
                [high - rate for rate, high in zip(rates, highs, strict=True)],
            ]
            axes.errorbar(rows, rates, bars, color=color, ls="", lw=2, capsize=5, zorder=2)
        rows, rates = zip(*medians([one for _, one in some]), strict=True)
        (line,) = axes.plot(
            rows, rates, color=color, marker=marker, ls=DASHES[number % len(DASHES)], ms=8, lw=2.8,
            zorder=3,
        )  # fmt: skip
        words = some[0][0] if len(some) == 1 else f"{device}: median of {len(some)}"
        legend[words] = line
        sheet.label(
            axes, shown(rates[-1]), (rows[-1], rates[-1]), color=text_tone(color), weight="bold"
        )
        parts = [f"{shown(rate)} with {n:,}" for n, rate in zip(rows, rates, strict=True)]
        said.append(f"{words}: {', '.join(parts)}")
    rate = named[0][1].rate
    axes.set_title(rate)
    axes.set_xlabel("rows in flight")
    task = "" if "task" in differ else f" (task {named[0][1].task})"
    return sheet.chart(
        f"{rate[0].upper()}{rate[1:]} by rows in flight{task}",
        caption,
        f"Curves of {rate} by rows in flight. {'; '.join(said)}.",
        legend,
    )
