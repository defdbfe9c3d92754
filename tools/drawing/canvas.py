"""A small canvas for diagrams in SVG: boxes, arrows and text that stays where it belongs.

Text that is wider than its room is an error here, not a surprise on a phone. Sizes are for a
picture 760 wide: SMALL is 12 px where it is shown 390 px wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from tools.drawing import palette
from tools.drawing.text_width import pieces, width, wrap

WIDTH = 760
MARGIN = 32
RIGHT = WIDTH - MARGIN
INSIDE = RIGHT - MARGIN
SMALL, TITLE = 24, 30
LINE = 31
Point = tuple[float, float]
#: How text is set around its point, and how on each look.
CENTRED: dict[str, Any] = {"anchor": "middle"}
ON_LIGHT: dict[str, Any] = {**CENTRED, "on": "light"}
ON_DARK: dict[str, Any] = {**CENTRED, "on": "dark", "ink": "on-dark"}


class TooWide(ValueError):
    """A text does not fit its place."""


class Picture:
    """One diagram; coordinates from the top left."""

    def __init__(self, title: str, alt: str, height: int):
        self.title, self.alt, self.height = title, alt, height
        self.parts: list[str] = []
        #: (colour of a text, look below it), for the test of contrasts.
        self.pairs: set[tuple[str, str]] = set()
        self.text(MARGIN, 50, title, size=TITLE, bold=True)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = SMALL,
        bold: bool = False,
        ink: str = "ink",
        anchor: str = "start",
        on: str = "paper",
        room: float | None = None,
    ) -> float:
        """One line with its middle at height `y`, with `code` and **bold** in it; its width."""
        wide = width(words, size, bold)
        if room is None:
            left, right = x - MARGIN, RIGHT - x
            room = {"start": right, "end": left, "middle": 2 * min(left, right)}[anchor]
        if wide > room + 0.5:
            raise TooWide(f"{words!r} is {wide:.0f} wide, its room is {room:.0f}")
        self.pairs.add((ink, on))
        inner = "".join(
            f'<tspan class="{kind}">{escape(piece)}</tspan>' if kind else escape(piece)
            for kind, piece in pieces(words)
        )
        names = f"{ink} bold" if bold else ink
        self.parts.append(
            f'<text class="{names}" x="{_n(x)}" y="{_n(y + 0.355 * size)}" font-size="{size}"'
            f' text-anchor="{anchor}">{inner}</text>'
        )
        return wide

    def lines(self, x: float, y: float, lines: Sequence[str], **how: Any) -> None:
        """Lines of text, the middle of the first at height `y`."""
        for at, words in enumerate(lines):
            self.text(x, y + at * LINE, words, **how)

    def rect(
        self, x: float, y: float, w: float, h: float, look: str = "light", r: float = 10
    ) -> None:
        self.parts.append(
            f'<rect class="{look}" x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}"'
            f' rx="{_n(r)}"/>'
        )

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        words: Sequence[str],
        look: str = "light",
        size: int = SMALL,
        r: float = 10,
    ) -> None:
        """A rectangle with text in its middle: each of `words` begins a line and is wrapped."""
        self.rect(x, y, w, h, look, r)
        lines = [line for part in words for line in wrap(part, size, w - 16)]
        if LINE * len(lines) > h:
            raise TooWide(f"{lines} is too high for {h:.0f}")
        first = y + h / 2 - LINE * (len(lines) - 1) / 2
        known = {"light": ON_LIGHT, "dashed": ON_LIGHT, "dark": ON_DARK}
        self.lines(x + w / 2, first, lines, **known.get(look, CENTRED), size=size, room=w - 12)

    def line(self, points: Sequence[Point], look: str = "line") -> None:
        path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self.parts.append(f'<path class="{look}" d="{path}"/>')

    def arrow(self, points: Sequence[Point], head: float = 14, both: bool = False) -> None:
        """A line with its head at the last point, or with one at each end."""
        points = list(points)
        ends = [(points[-2], points[-1])] + ([(points[1], points[0])] if both else [])
        shaft, heads = list(points), []
        for (x0, y0), (x1, y1) in ends:
            long = math.hypot(x1 - x0, y1 - y0)
            ux, uy = (x1 - x0) / long, (y1 - y0) / long
            bx, by = x1 - head * ux, y1 - head * uy
            side = 0.55 * head
            shaft[shaft.index((x1, y1))] = (bx + 2 * ux, by + 2 * uy)
            corners = ((x1, y1), (bx - side * uy, by + side * ux), (bx + side * uy, by - side * ux))
            heads.append("M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in corners) + "Z")
        self.line(shaft)
        self.parts += [f'<path class="head" d="{d}"/>' for d in heads]

    def polygon(self, points: Sequence[Point], look: str) -> None:
        path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points) + "Z"
        self.parts.append(f'<path class="{look}" d="{path}"/>')

    def span(self, x0: float, x1: float, y: float) -> None:
        """A measure: a line between two upright ends."""
        for x in (x0, x1):
            self.line([(x, y - 9), (x, y + 9)])
        self.line([(x0, y), (x1, y)])

    def key(self, x: float, y: float, *entries: tuple[str, str]) -> None:
        """What each look means: (look, words) side by side, in one line."""
        for look, words in entries:
            self.rect(x, y - 14, 34, 28, look, 5)
            x += 44 + self.text(x + 44, y, words) + 26

    def svg(self) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"'
            f' width="{WIDTH}" height="{self.height}" role="img" aria-labelledby="title desc">'
        )
        return "\n".join(
            [
                head,
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="desc">{escape(self.alt)}</desc>',
                f"<style>{palette.style()}</style>",
                '<defs><pattern id="hatch" width="9" height="9" patternUnits="userSpaceOnUse"'
                ' patternTransform="rotate(45)"><line class="stripe" x1="0" y1="0" x2="0" y2="9"/>'
                "</pattern></defs>",
                f'<rect class="paper" x="1" y="1" width="{WIDTH - 2}" height="{self.height - 2}"'
                ' rx="18"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )


def _n(value: float) -> str:
    return f"{round(value, 2):g}"
