"""Static against continuous batching, with Ray's batches: the schedules are computed."""

from __future__ import annotations

from collections.abc import Sequence

from tools.drawing.canvas import INSIDE, LINE, MARGIN, RIGHT, Picture
from tools.drawing.schedule import Run, continuous, handed_on, static, steps

LENGTHS = (3, 8, 2, 5, 6, 2, 4, 3)
PLACES = BATCH = 4
STATIC, CONTINUOUS = static(LENGTHS, PLACES), continuous(LENGTHS, PLACES)
LONGEST = steps(STATIC)
DONE = handed_on(CONTINUOUS, BATCH)
SHORT = min(range(BATCH), key=lambda row: LENGTHS[row])

TITLE = "Static and continuous batching"
ALT = (
    f"{len(LENGTHS)} rows of different lengths on {PLACES} places: in static batching a batch "
    f"runs until its longest row ends, places stay empty, and all takes {steps(STATIC)} steps; in "
    "continuous batching a row that ends makes room for the next at once, and all takes "
    f"{steps(CONTINUOUS)} steps. Either way Ray hands a batch on when its last row is done: row "
    f"{SHORT + 1} ends after {CONTINUOUS[SHORT].end} steps, its batch after {DONE[0]}."
)
#: How the rows of each batch look.
LOOKS = ("light", "dark")
CELL, HIGH, GAP = INSIDE / LONGEST, 34, 6


def grid(picture: Picture, top: float, runs: Sequence[Run]) -> None:
    """Places from top to bottom, steps from left to right."""
    for place in range(PLACES):
        y = top + place * (HIGH + GAP)
        taken = sorted((run for run in runs if run.place == place), key=lambda run: run.start)
        free = 0
        for run in taken:
            if run.start > free:
                empty(picture, y, free, run.start)
            wide = (run.end - run.start) * CELL - 4
            x = MARGIN + run.start * CELL + 2
            picture.box(x, y, wide, HIGH, [f"{run.row + 1}"], LOOKS[run.row // BATCH], r=6)
            free = run.end
        if free < steps(runs):
            empty(picture, y, free, steps(runs))


def empty(picture: Picture, y: float, start: int, end: int) -> None:
    picture.rect(MARGIN + start * CELL + 2, y, (end - start) * CELL - 4, HIGH, "hatch", 6)


def batch(picture: Picture, y: float, at: int, start: int, end: int) -> None:
    """A batch of Ray at the engine: from the step it may begin until it is handed on."""
    name, look = f"batch {at + 1}", LOOKS[at]
    left = MARGIN + start * CELL + (14 if start else 2)
    picture.rect(left, y - 11, 22, 22, look, 5)
    x = left + 32 + picture.text(left + 32, y, name) + 12
    stop = MARGIN + end * CELL - 4
    picture.line([(x, y), (stop, y)], "guide")
    picture.line([(stop, y - 15), (stop, y + 15)], "barrier")


TOPS = (132, 410)


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 798)
    high = PLACES * (HIGH + GAP)
    words = f"{len(LENGTHS)} rows, {PLACES} places (`max_num_seqs={PLACES}`)"
    picture.text(MARGIN, 92, words)
    for top, name, runs in (
        (TOPS[0], "**Static**, one batch after the other", STATIC),
        (TOPS[1], "**Continuous**, two batches at once", CONTINUOUS),
    ):
        picture.text(MARGIN, top + 8, name, size=26)
        picture.text(RIGHT, top + 8, f"**{steps(runs)} steps**", anchor="end", size=26)
        grid(picture, top + 34, runs)
    below = TOPS[0] + 34 + high + 20
    first, second = handed_on(STATIC, BATCH)
    batch(picture, below, 0, 0, first)
    batch(picture, below, 1, first, second)
    below = TOPS[1] + 34 + high + 20
    for at, end in enumerate(DONE):
        batch(picture, below + at * (LINE + 5), at, 0, end)

    key = below + 2 * (LINE + 5) + 22
    picture.line([(MARGIN + 17, key - 15), (MARGIN + 17, key + 15)], "barrier")
    picture.text(MARGIN + 44, key, "Ray hands a batch on: its last row is done")
    picture.key(MARGIN, key + 40, ("hatch", "an empty place"))
    return picture
