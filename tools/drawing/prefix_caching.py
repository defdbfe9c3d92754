"""Prefix caching by blocks of the KV cache: which blocks two prompts share is computed."""

from __future__ import annotations

from collections.abc import Sequence

from tools.drawing.canvas import CENTRED, MARGIN, Picture

BLOCK = 4
SAME = tuple(f"same {at}" for at in range(10))
FIRST = (*SAME, *(f"first {at}" for at in range(5)))
ALIKE = (*SAME, *(f"second {at}" for at in range(4)))
LATER = (*(f"third {at}" for at in range(3)), *SAME)


def shared(prompt: Sequence[str], cached: Sequence[str]) -> int:
    """How many blocks of `prompt` can be taken from those of `cached`: whole ones that have, from
    the first token on, the same tokens."""
    blocks = 0
    while (end := (blocks + 1) * BLOCK) <= min(len(prompt), len(cached)):
        if tuple(prompt[:end]) != tuple(cached[:end]):
            break
        blocks += 1
    return blocks


TITLE = "Prefix caching, block by block"
ALT = (
    f"Three prompts, cut into blocks of the KV cache with {BLOCK} tokens each: the second begins "
    f"like the first and shares {shared(ALIKE, FIRST)} whole blocks with it, but not the block in "
    "which they part nor the last, incomplete one. The third has the same text after something "
    "else and shares none."
)
CELL, GAP, PAD = 40, 14, 5
WIDE = BLOCK * CELL + GAP


def strip(picture: Picture, y: float, prompt: Sequence[str], common: int) -> None:
    """A prompt, a square for each token, with a frame for each block."""
    for block in range(-(-len(prompt) // BLOCK)):
        tokens = prompt[block * BLOCK : (block + 1) * BLOCK]
        x = MARGIN + block * WIDE
        whole = "frame" if len(tokens) == BLOCK else "open"
        look = "barrier" if block < common else whole
        picture.rect(x, y, BLOCK * CELL, CELL + 2 * PAD, look, 6)
        for at, token in enumerate(tokens):
            look = "dark" if token in SAME else "plain"
            picture.rect(x + at * CELL + PAD, y + PAD + 2, CELL - 2 * PAD, CELL - 4, look, 4)


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 616)
    high = CELL + 2 * PAD
    common = shared(ALIKE, FIRST)
    one, two, three = 126, 250, 400
    picture.text(MARGIN, one - 24, "**prompt 1**")
    strip(picture, one, FIRST, common)
    between = (one + high + two) / 2
    for block in range(common):
        x = MARGIN + block * WIDE + 28
        picture.arrow([(x, one + high + 6), (x, two - 6)])
        picture.text(x + 18, between, "shared")
    for block, words in ((common, "not alike"), (common + 1, "incomplete")):
        centre = MARGIN + block * WIDE + BLOCK * CELL / 2
        picture.text(centre, between, words, ink="soft", **CENTRED)
    strip(picture, two, ALIKE, common)
    picture.text(MARGIN, two + high + 28, f"**prompt 2** begins alike: {common} blocks shared")

    none = shared(LATER, FIRST)
    assert none == 0
    strip(picture, three, LATER, none)
    picture.text(MARGIN, three + high + 28, "**prompt 3** has the same text later: none shared")

    key = three + high + 84
    picture.key(MARGIN, key, ("dark", "the same text"), ("plain", "other text"))
    picture.key(MARGIN, key + 40, ("frame", f"a block of the KV cache, here {BLOCK} tokens"))
    return picture
