"""The look of every chart: readable on a projector and in black and white."""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

P = ParamSpec("P")
DARK, MID, LIGHT, ACCENT = "#1b3a5c", "#5b8db8", "#c9dcec", "#d1495b"
STYLE: Any = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.dpi": 110,
    "legend.frameon": False,
}


_one_at_a_time = threading.RLock()  # Matplotlib's settings belong to the whole process
_apart = threading.local()


def png(draw: Callable[..., Figure], *args: Any) -> bytes:
    """A chart as a PNG, drawn apart from pyplot: from any thread, and shown in no cell."""
    with _one_at_a_time:
        _apart.on = True
        try:
            picture = io.BytesIO()
            draw(*args).savefig(picture, format="png")
            return picture.getvalue()
        finally:
            _apart.on = False


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the lab's style, and leave Matplotlib's own settings alone."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _one_at_a_time, plt.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(width: float = 9, height: float = 4.2, columns: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes; call it from a function that is `styled`."""
    if getattr(_apart, "on", False):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns)
    return plt.subplots(1, columns, figsize=(width, height), layout="constrained")


def caption(figure: Figure, text: str) -> None:
    """Small print under the chart."""
    figure.supxlabel(text, fontsize=9, color="#555555", x=0.01, ha="left")
