"""The look of every chart: readable on a projector and in black and white."""

from __future__ import annotations

import base64
import functools
import io
import math
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, PngImagePlugin

from labkit.charts.labels import AROUND, Label, place
from labkit.paths import full_path

P = ParamSpec("P")
#: DARK, ACCENT and GREY can be read on white and, DARK, on LIGHT (contrast at least 4.5); MID is
#: for areas and lines.
DARK, MID, LIGHT, ACCENT, GREY = "#1b3a5c", "#5b8db8", "#c9dcec", "#b8324a", "#5f5f5f"
#: Points. Nothing is smaller than SMALL.
TITLE, BODY, SMALL = 15, 13, 11
STYLE: Any = {
    "font.size": BODY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": BODY,
    "legend.fontsize": SMALL,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "figure.dpi": 110,
    "legend.frameon": False,
}

_one_at_a_time = threading.RLock()  # Matplotlib's settings belong to the whole process


class Chart:
    """A drawn chart, for the end of a notebook's cell.

    figure: Matplotlib's own, apart from pyplot. alt: what it shows, in words, for those who can't
    see it. Whatever else a figure can do (`axes`, `savefig`), the chart passes on to it.
    """

    def __init__(self, figure: Figure, alt: str):
        self.figure = figure
        self.alt = " ".join(alt.split())

    def png(self) -> bytes:
        """The picture; its words are in its metadata."""
        canvas = FigureCanvasAgg(self.figure)
        with _look():
            canvas.draw()
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        about, file = PngImagePlugin.PngInfo(), io.BytesIO()
        about.add_itxt("Description", self.alt)
        # Few colours: a notebook keeps the picture as text, which is a third as long so.
        few = drawn.quantize(64, method=Image.Quantize.MAXCOVERAGE)
        few.save(file, format="png", pnginfo=about)
        return file.getvalue()

    def save(self, path: str | Path) -> None:
        """Write it to a file: .png, or what else Matplotlib knows by its ending (.svg, .pdf)."""
        path = full_path(path)
        if path.suffix.lower() in ("", ".png"):
            path.write_bytes(self.png())
        else:
            with _look():
                self.figure.savefig(path)

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return bundle(self.png(), self.alt)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "figure":
            raise AttributeError(name)
        return getattr(self.figure, name)

    def __repr__(self) -> str:
        return self.alt


#: Smaller than this the words of a chart can't be read.
SIZE = "max-width: max(100%, 640px)"


def image(picture: bytes, alt: str) -> str:
    """A picture in HTML, as wide as its place; on a phone it keeps a readable size, and scrolls."""
    text = base64.b64encode(picture).decode()
    tag = f'<img src="data:image/png;base64,{text}" alt="{escape(alt)}" style="{SIZE}">'
    return f'<div style="overflow-x: auto" tabindex="0">{tag}</div>'


def bundle(picture: bytes, alt: str, below: str = "") -> tuple[dict[str, str], dict[str, Any]]:
    """A picture as Jupyter's mime bundle and its metadata. below: HTML to follow it.

    JupyterLab and the template `lab` of nbconvert set no `alt` for an image/png, whatever its
    metadata say, so the picture is sent as HTML, too; nbconvert's `classic` takes the metadata.
    """
    text = base64.b64encode(picture).decode()
    return (
        {"text/plain": alt, "image/png": text, "text/html": image(picture, alt) + below},
        {"image/png": {"alt": alt}},
    )


def png(draw: Callable[..., Chart], *args: Any, **options: Any) -> bytes:
    """A chart as a PNG, for a file or a widget; from any thread."""
    return draw(*args, **options).png()


@contextmanager
def _look() -> Iterator[None]:
    """Matplotlib's defaults and the lab's style, whatever the reader has set; put back after."""
    with _one_at_a_time, matplotlib.style.context(["default", STYLE]):
        yield


def styled(draw: Callable[P, Chart]) -> Callable[P, Chart]:
    """Draw in the lab's style, and leave Matplotlib's own settings alone."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Chart:
        with _look():
            return draw(*args, **kwargs)

    return wrapped


class Sheet:
    """A figure on the way to a chart: title and legend above its axes, small print below.

    Make it in a function that is `styled`. height: inches of the axes alone.
    """

    def __init__(
        self, width: float = 9, height: float = 3.6, rows: int = 1, columns: int = 1, **grid: Any
    ):
        self.figure = Figure(figsize=(width, height))
        FigureCanvasAgg(self.figure)
        self.axes: list[list[Axes]] = self.figure.subplots(rows, columns, squeeze=False, **grid)
        self.width, self.height = width, height
        self._labels: list[Label] = []

    def label(
        self,
        axes: Axes,
        text: str | Sequence[str],
        at: tuple[float, float] | Sequence[tuple[float, float]],
        *,
        sides: Sequence[str] = AROUND,
        transform: Any = None,
        **options: Any,
    ) -> None:
        """Ask for a label beside a point of the axes, or of the first of several.

        text: or several, the first that fits. sides: where to try, in this order. Labels are placed
        in the order in which they were asked for, when all else is drawn.
        """
        options = {"color": DARK, "fontsize": 12} | options
        texts = [text] if isinstance(text, str) else text
        anchors: Any = [at] if isinstance(at[0], (int, float)) else at
        self._labels.append(Label(axes, texts, anchors, transform, sides, options))

    def chart(
        self, title: str, caption: str, alt: str, legend: Mapping[str, Any] | None = None
    ) -> Chart:
        """The finished chart. legend: words → what they name, above the axes."""
        for words, artist in (legend or {}).items():
            artist.set_label(words)
        bottom = self._write_below(caption)
        top = self._write_above(title, legend or {})
        height = self.height + top + bottom
        for text, y in self._texts:
            text.set_y(y / height if y >= 0 else 1 + y / height)
        if self._legend is not None:
            self._legend.set_bbox_to_anchor((0, 1 - self._legend_y / height))
        self.figure.set_size_inches(self.width, height)
        inner = (0.0, bottom / height, 1.0, self.height / height)
        self.figure.set_layout_engine(ConstrainedLayoutEngine(rect=inner, w_pad=0.08, h_pad=0.08))
        place(self.figure, self._labels)
        return Chart(self.figure, alt)

    def _write_below(self, caption: str) -> float:
        """The small print, as wide as the figure; inches of it."""
        self._texts: list[tuple[Any, float]] = []
        lines = [part for line in caption.splitlines() for part in self._wrap(line, SMALL)]
        text = self.figure.text(
            0.08 / self.width, 0, "\n".join(lines), fontsize=SMALL, color=GREY, va="bottom",
            linespacing=1.3,
        )  # fmt: skip
        self._texts.append((text, 0.06))
        return self._inches(text)[1] + 0.12 if caption else 0.0

    def _write_above(self, title: str, legend: Mapping[str, Any]) -> float:
        """Title and legend; inches of both."""
        words = "\n".join(self._wrap(title, TITLE + 1))
        text = self.figure.text(
            0.08 / self.width, 0, words, fontsize=TITLE, weight="bold", va="top"
        )
        self._texts.append((text, -0.08))
        used = self._inches(text)[1] + 0.14
        self._legend, self._legend_y = None, used
        for columns in range(len(legend), 0, -1):
            self._legend = self.figure.legend(
                list(legend.values()), list(legend), ncols=columns, loc="upper left",
                borderaxespad=0.08, handlelength=2.2, columnspacing=1.6,
            )  # fmt: skip
            wide, high = self._inches(self._legend)
            if wide <= self.width - 0.1 or columns == 1:
                return used + high
            self._legend.remove()
        return used

    def _wrap(self, line: str, points: float) -> list[str]:
        """Lines that fit into the figure's width."""
        text = self.figure.text(0, 0, line, fontsize=points)
        share = (self.width - 0.2) / max(self._inches(text)[0], 0.1)
        text.remove()
        width = math.floor(0.97 * share * len(line)) if share < 1 else len(line) + 1
        return textwrap.wrap(line, max(10, width)) or [""]

    def _inches(self, artist: Any) -> tuple[float, float]:
        canvas: Any = self.figure.canvas
        area = artist.get_window_extent(canvas.get_renderer())
        return area.width / self.figure.dpi, area.height / self.figure.dpi
