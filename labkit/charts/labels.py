"""Labels where they are free: beside what they name, on no line, marker or other text.

The chart is drawn once without them. A label then takes the first place around its point where all
pixels have one colour that it can be read on. Where there is none it is left out: the words and the
table beside a chart have every number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

#: WCAG 2.2, level AA: what text needs beside its background.
CONTRAST = 4.5
#: How far a label may stand from its point, in points: first near with any of its words, then
#: farther away.
NEAR, FAR = (7, 12, 16), (21, 27, 34)
#: Pixels around a label that must be free, too.
MARGIN = 2
#: Where it stands: (to the right, upwards, horizontal and vertical alignment).
SIDES: dict[str, tuple[float, float, str, str]] = {
    "above": (0, 1, "center", "bottom"),
    "below": (0, -1, "center", "top"),
    "right": (1, 0, "left", "center"),
    "left": (-1, 0, "right", "center"),
    "above right": (0.7, 0.7, "left", "bottom"),
    "above left": (-0.7, 0.7, "right", "bottom"),
    "below right": (0.7, -0.7, "left", "top"),
    "below left": (-0.7, -0.7, "right", "top"),
    "high right": (0.4, 1, "left", "bottom"),
    "high left": (-0.4, 1, "right", "bottom"),
    "low right": (0.4, -1, "left", "top"),
    "low left": (-0.4, -1, "right", "top"),
    "middle": (0, 0, "center", "center"),
}
#: All sides of a point, in the order in which they are tried.
AROUND = tuple(SIDES)[:-1]


def luminance(rgb: Any) -> float:
    """Relative luminance of an sRGB colour of three numbers from 0 to 1, as WCAG defines it."""
    channels = np.asarray(rgb, dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: Any, other: Any) -> float:
    """WCAG's contrast of two colours: 1 (none) to 21 (black on white)."""
    low, high = sorted((luminance(to_rgb(one)), luminance(to_rgb(other))))
    return (high + 0.05) / (low + 0.05)


def readable_on(background: Any) -> str:
    """Black or white: what has the larger contrast there."""
    return max("black", "white", key=lambda color: contrast(color, background))


@dataclass(frozen=True)
class Label:
    """A label that was asked for. texts: its words, the first of them that finds a place."""

    axes: Axes
    texts: Sequence[str]
    anchors: Sequence[tuple[float, float]]
    transform: Any  # of the anchors; None: they are in the axes' data
    sides: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)


def place(figure: Figure, wanted: Sequence[Label]) -> None:
    """Lay the figure out, once and for all, and put each label where it is free, in their order."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        _thin_ticks(axes, canvas.get_renderer())
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    taken = np.zeros(pixels.shape[:2], dtype=bool)
    renderer: Any = canvas.get_renderer()
    for label in wanted:
        for text, gaps in ((text, gaps) for gaps in (NEAR, FAR) for text in label.texts):
            if (box := _first_free(label, text, gaps, pixels, taken, renderer)) is not None:
                taken[box] = True
                break


def _thin_ticks(axes: Axes, renderer: Any) -> None:
    """Leave out a number below the axes that meets the next one to its right."""
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    left = float("inf")
    for tick in reversed(ticks):
        area = tick.label1.get_window_extent(renderer)
        if area.x1 + 2 * MARGIN > left:
            tick.label1.set_visible(False)
        elif tick.label1.get_text():
            left = area.x0


def _first_free(
    label: Label,
    text: str,
    gaps: Sequence[float],
    pixels: np.ndarray,
    taken: np.ndarray,
    renderer: Any,
) -> tuple[slice, slice] | None:
    """The rows and columns of pixels that the label took; None where it found no place."""
    axes = label.axes
    transform = label.transform or axes.transData
    note = axes.annotate(
        text, label.anchors[0], (0, 0), xycoords=transform, textcoords="offset points",
        annotation_clip=False, **label.options,
    )  # fmt: skip
    note.set_in_layout(False)
    size = note.get_window_extent(renderer)
    limits, color = axes.get_window_extent(renderer), to_rgb(note.get_color())
    dot, height = axes.figure.dpi / 72, pixels.shape[0]
    for gap in gaps:
        for anchor, side in itertools.product(label.anchors, label.sides):
            right, up, horizontal, vertical = SIDES[side]
            x, y = transform.transform(anchor) + dot * gap * np.array([right, up])
            x -= size.width * {"left": 0, "center": 0.5, "right": 1}[horizontal]
            y -= size.height * {"bottom": 0, "center": 0.5, "top": 1}[vertical]
            if x < limits.x0 or x + size.width > limits.x1 or y < limits.y0:
                continue
            if y + size.height > limits.y1:
                continue
            box = (
                slice(int(height - y - size.height) - MARGIN, int(height - y) + 1 + MARGIN),
                slice(int(x) - MARGIN, int(x + size.width) + 1 + MARGIN),
            )
            if _is_free(pixels[box], taken[box], color):
                note.xy = anchor
                note.set(position=(gap * right, gap * up), ha=horizontal, va=vertical)
                return box
    note.remove()
    return None


def _is_free(pixels: np.ndarray, taken: np.ndarray, color: Any) -> bool:
    """One colour all over, that the text can be read on, and no label yet."""
    if not pixels.size or taken.any() or np.ptp(pixels, axis=(0, 1)).max() > 4:
        return False
    return contrast(color, pixels[0, 0] / 255) >= CONTRAST
