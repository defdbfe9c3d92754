"""One card with one engine, and with several."""

from __future__ import annotations

from tools.drawing.canvas import MARGIN, RIGHT, Picture

TITLE = "Short answers: engines on one card"
ALT = (
    "Above, one engine on a card: one process feeds it, and the card is idle most of the time. "
    "Below, four engines on the same card: four processes, each with its own copy of the weights "
    "and a part of the memory for its KV cache, keep the card busy all the time."
)
ENGINES = 4
#: Of so many moments the card needs one for what an engine's process takes all of them to feed.
FEED = 4
GAP = 6
MOMENTS = 20
CARD = 282
CARD_HIGH, HIGH = 184, 40
BAR, WEIGHTS = RIGHT - 20 - (CARD + 20), 42


def busy(engines: int) -> list[bool]:
    """Whether the card has something to do, moment by moment."""
    return [moment % FEED < engines for moment in range(MOMENTS)]


def card(picture: Picture, top: float, engines: int) -> None:
    """The card: its memory, and what it does over time."""
    picture.rect(CARD, top, RIGHT - CARD, CARD_HIGH, "frame", 14)
    x, y = CARD + 20, top + 24
    copies = "1 copy" if engines == 1 else f"{engines} copies"
    picture.text(x, y, f"memory: {copies} of the weights")
    part = (BAR - (engines - 1) * GAP) / engines
    for engine in range(engines):
        left = x + engine * (part + GAP)
        picture.rect(left, y + 20, part, 40, "light", 4)
        picture.rect(left, y + 20, WEIGHTS, 40, "dark", 4)
    words = "all the time" if all(busy(engines)) else "now and then"
    picture.text(x, y + 86, f"work: busy {words}")
    for moment, works in enumerate(busy(engines)):
        look = "work" if works else "hatch"
        picture.rect(x + moment * BAR / MOMENTS, y + 106, BAR / MOMENTS, 36, look, 0)


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 676)
    for top, engines, words in (
        (132, 1, "**One engine**: one process feeds the card"),
        (388, ENGINES, "**Four engines**: four processes feed it"),
    ):
        picture.text(MARGIN, top - 28, words)
        card(picture, top, engines)
        apart = (CARD_HIGH - HIGH) / (ENGINES - 1)
        for engine in range(engines):
            middle = top + CARD_HIGH / 2 + (engine - (engines - 1) / 2) * apart
            picture.box(MARGIN, middle - HIGH / 2, 184, HIGH, ["engine"], "plain")
            picture.arrow([(MARGIN + 190, middle), (CARD - 4, middle)])
    looks = (("dark", "weights"), ("light", "KV cache"), ("work", "busy"), ("hatch", "idle"))
    picture.key(MARGIN, 626, *looks)
    return picture
