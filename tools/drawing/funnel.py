"""From the rows of a job to those that are decoded: the funnel."""

from __future__ import annotations

from tools.drawing.canvas import CENTRED, MARGIN, ON_LIGHT, RIGHT, WIDTH, Picture

BATCH_SIZE, BATCHES, MAX_NUM_SEQS = 16, 8, 64
LIMIT = BATCH_SIZE * BATCHES
WAITING = LIMIT - MAX_NUM_SEQS

TITLE = "Which rows are decoded?"
ALT = (
    "A funnel: of all rows of the job batch_size × max_concurrent_batches are let in, here "
    f"{BATCH_SIZE} × {BATCHES} = {LIMIT} rows in flight; max_num_seqs lets {MAX_NUM_SEQS} of them "
    f"through, the rows decoding, and the other {WAITING} wait at the engine’s door. labkit lets "
    "in twice max_num_seqs, so that no place stays empty."
)
MIDDLE = WIDTH / 2
PITCH = 21
#: Half the width of the funnel above, between and below its gates.
WIDE, MID, NARROW = (RIGHT - MARGIN) / 2, 258, 190


def rows(picture: Picture, top: float, across: int, down: int, look: str) -> None:
    """A block of rows, centred; each a small square."""
    left = MIDDLE - (across * PITCH - 6) / 2
    for row in range(down):
        for column in range(across):
            x = left + column * PITCH
            picture.rect(x, top + row * PITCH, PITCH - 6, PITCH - 6, look, 3)


def barrier(picture: Picture, y: float, start: float, end: float) -> None:
    """A gate: a line on each side of its text."""
    for side in (-1, 1):
        picture.line([(MIDDLE + side * start, y), (MIDDLE + side * end, y)], "barrier")


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 800)
    job, gate, flight, door, decoding, end = 84, 194, 274, 436, 502, 652
    inside = [
        *((MIDDLE - MID, flight), (MIDDLE + MID, flight), (MIDDLE + MID, door)),
        *((MIDDLE + NARROW, decoding), (MIDDLE + NARROW, end), (MIDDLE - NARROW, end)),
        *((MIDDLE - NARROW, decoding), (MIDDLE - MID, door)),
    ]
    picture.polygon(inside, "light")
    for side in (-1, 1):
        picture.line(
            [
                (MIDDLE + side * WIDE, job),
                (MIDDLE + side * WIDE, gate),
                (MIDDLE + side * MID, flight),
            ]
        )
    picture.text(MIDDLE, job + 18, "**rows of the job**", **CENTRED)
    rows(picture, job + 42, 31, 3, "plain")
    picture.text(MIDDLE, gate + 20, "`batch_size` × `max_concurrent_batches`", **CENTRED)
    picture.text(MIDDLE, gate + 53, f"limit: {BATCH_SIZE} × {BATCHES} = {LIMIT}", **CENTRED)

    barrier(picture, gate + 53, 132, 190)

    picture.text(MIDDLE, flight + 26, f"**{LIMIT} rows in flight**", **ON_LIGHT)
    picture.text(MIDDLE, flight + 60, f"{WAITING} wait at the engine’s door", **ON_LIGHT)
    rows(picture, flight + 82, 16, WAITING // 16, "plain")
    picture.text(MIDDLE, (door + decoding) / 2 + 8, f"`max_num_seqs`: {MAX_NUM_SEQS}", **ON_LIGHT)
    barrier(picture, (door + decoding) / 2 + 8, 138, 196)
    picture.text(MIDDLE, decoding + 26, f"**{MAX_NUM_SEQS} rows decoding**", **ON_LIGHT)
    rows(picture, decoding + 50, 16, MAX_NUM_SEQS // 16, "dark")

    picture.arrow([(MIDDLE, end + 6), (MIDDLE, end + 40)])
    picture.text(MIDDLE, end + 62, "answers", **CENTRED)
    picture.text(MIDDLE, end + 112, "Twice `max_num_seqs`: no place stays empty.", **CENTRED)
    return picture
