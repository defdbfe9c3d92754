"""One step of decode with one row, and with eight."""

from __future__ import annotations

from tools.drawing.canvas import INSIDE, MARGIN, RIGHT, Picture

TITLE = "One step of decode"
ALT = (
    "One step of decode with 1 row beside one with 8 rows: both read all weights from memory once, "
    "which gives 1 token on the left and 8 tokens on the right. Reading takes the same, the "
    "arithmetic eight times as much, and still less than the reading."
)
WIDE = 328
LAYERS = 5
MANY = 8


def panel(picture: Picture, x: float, rows: int) -> None:
    words = "1 row" if rows == 1 else f"{rows} rows"
    picture.text(x + WIDE / 2, 104, words, bold=True, anchor="middle", size=28)
    for layer in range(LAYERS):
        picture.rect(x, 134 + 28 * layer, WIDE, 22, "dark", 5)
    picture.text(x + WIDE / 2, 296, "all weights, in memory", anchor="middle")
    arrow = x + WIDE / 2 - 78
    picture.polygon(
        [
            *((arrow - 22, 322), (arrow + 22, 322), (arrow + 22, 368)),
            *((arrow + 40, 368), (arrow, 402), (arrow - 40, 368), (arrow - 22, 368)),
        ],
        "light",
    )
    picture.text(x + WIDE / 2 - 20, 356, "read **once**")
    size, gap = 34, 8
    left = x + (WIDE - rows * size - (rows - 1) * gap) / 2
    for row in range(rows):
        picture.rect(left + row * (size + gap), 420, size, size, "light", 6)
    words = "1 token" if rows == 1 else f"{rows} tokens"
    picture.text(x + WIDE / 2, 484, words, bold=True, anchor="middle")


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 710)
    right = RIGHT - WIDE
    panel(picture, MARGIN, 1)
    panel(picture, right, MANY)
    picture.line([(MARGIN + INSIDE / 2, 92), (MARGIN + INSIDE / 2, 616)], "guide")
    unit = WIDE / MANY / 2
    for x, rows in ((MARGIN, 1), (right, MANY)):
        picture.text(x, 532, "reading")
        picture.rect(x, 550, WIDE, 16, "dark", 4)
        picture.text(x, 588, "arithmetic")
        picture.rect(x, 606, unit * rows, 16, "hatch", 4)
    picture.text(MARGIN, 668, "The same reading gives 8 tokens instead of 1.")
    return picture
