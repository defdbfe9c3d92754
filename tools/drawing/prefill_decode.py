"""The life of one row in the engine: waiting, prefill, decode; TTFT and TPOT."""

from __future__ import annotations

from tools.drawing.canvas import CENTRED, MARGIN, Picture

TITLE = "One row: prefill, then decode"
ALT = (
    "A time line of one row: it waits, prefill reads all tokens of its prompt at once and gives "
    "the first output token (the time until then is TTFT), then decode adds one token a step up to "
    "the last (the time of a step is TPOT). Prefill takes much arithmetic, decode much reading of "
    "memory."
)
WAIT, PREFILL, STEP, STEPS = 124, 212, 55, 6
TOKEN, GAP = 30, 8
ACROSS, DOWN = 4, 3


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 626)
    start = MARGIN
    read = start + WAIT
    first = read + PREFILL
    last = first + STEPS * STEP
    top, high = 176, 136
    middle = top + high / 2

    for x, words, note in (
        (start + WAIT / 2, "waiting", ""),
        (read + PREFILL / 2, "prefill", "all tokens at once"),
        ((first + last) / 2, "decode", "one token a step"),
    ):
        picture.text(x, 112, words, bold=True, size=28, **CENTRED)
        if note:
            picture.text(x, 147, note, **CENTRED)

    picture.rect(start, top, WAIT, high, "hatch", 0)
    picture.rect(read, top, PREFILL, high, "light", 0)
    left = read + (PREFILL - ACROSS * TOKEN - (ACROSS - 1) * GAP) / 2
    above = middle - (DOWN * TOKEN + (DOWN - 1) * GAP) / 2
    for at in range(ACROSS * DOWN):
        x = left + at % ACROSS * (TOKEN + GAP)
        picture.rect(x, above + at // ACROSS * (TOKEN + GAP), TOKEN, TOKEN, "plain", 5)
    out = top + high + 66
    for step in range(STEPS):
        x = first + step * STEP
        picture.rect(x, top, STEP, high, "light", 0)
        picture.rect(x + (STEP - TOKEN) / 2, middle - TOKEN / 2, TOKEN, TOKEN, "plain", 5)
    for step in range(STEPS + 1):
        x = first + step * STEP
        picture.arrow([(x, top + high + 6), (x, out - TOKEN / 2 - 4)], head=10)
        picture.rect(x - TOKEN / 2, out - TOKEN / 2, TOKEN, TOKEN, "dark", 5)
    picture.text(first - 28, out, "output tokens", anchor="end")

    picture.text(first, out + 42, "first", **CENTRED)
    picture.text(last, out + 42, "last", **CENTRED)
    measure = out + 86
    picture.span(start, first, measure)
    picture.text((start + first) / 2, measure + 30, "TTFT", bold=True, **CENTRED)
    picture.span(first + 2 * STEP, first + 3 * STEP, measure)
    picture.text(first + 2.5 * STEP, measure + 30, "TPOT", bold=True, **CENTRED)
    picture.text(start, measure + 84, "Prefill takes much arithmetic,")
    picture.text(start, measure + 115, "decode much reading of memory.")
    return picture
