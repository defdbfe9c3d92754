"""What charts share: numbers as words, tones of lines, tiles, and an axis of powers of two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, StrMethodFormatter

from labkit.charts.style import ACCENT, DARK, GREY, MID

#: How an axis writes its numbers: 20,000, 0.5.
THOUSANDS = StrMethodFormatter("{x:,g}")
TONES, MARKERS, DASHES = (DARK, ACCENT, MID, GREY), "osD^v", ("-", "--", "-.", ":")


def shown(value: float) -> str:
    """A number for a label: 1,234, 98.7, 9.87, 0.0987, 40."""
    digits = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}" if abs(value) >= 1 or not value else f"{value:.3g}"


def times(ratio: float) -> str:
    """A ratio for a label: 104×, 9.5×, 0.95×."""
    return f"{ratio:,.{0 if ratio >= 20 else 1 if ratio >= 2 else 2}f}×"


def tiles(axes: Axes, table: pd.DataFrame, values: np.ndarray, top: float) -> np.ndarray:
    """Tiles from white (0) to dark blue (`top`), named as the rows and columns of the table; the
    colour of each, as numbers from 0 to 1."""
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.set_yticks(range(len(table.index)), table.index)
    return np.asarray(image.to_rgba(np.nan_to_num(values)))[..., :3]


def text_tone(color: str) -> str:
    """The tone of a line, or a darker one where text in it could not be read on white."""
    return DARK if color == MID else color


def log2_axis(every: Sequence[Axes], ticks: Sequence[int]) -> None:
    """The same axis of powers of two for all of them, with room for labels beside its ends."""
    for axes in every:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(ticks), [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        room = max(math.log2(max(ticks) / min(ticks)), 2)
        axes.set_xlim(min(ticks) / 2 ** (0.14 * room), max(ticks) * 2 ** (0.26 * room))
