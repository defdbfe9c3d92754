"""Ray Data LLM's pipeline, as ray 2.60 builds it (`ray/llm/_internal/batch`)."""

from __future__ import annotations

from tools.drawing.canvas import INSIDE, LINE, MARGIN, ON_DARK, RIGHT, Picture

TITLE = "A Ray Data LLM pipeline"
ALT = (
    "Rows go down through preprocess (your function: messages and sampling_params), chat template "
    "and tokenize into the vLLM engine, with a front end in an actor of Ray and an engine core, a "
    "process of its own with scheduler, weights and KV cache; batches of rows go up through "
    "detokenize and postprocess (your function) to the answers. tokenize_stage=False and "
    "detokenize_stage=False switch the two dashed stages off: the front end does their work."
)
WIDE = 334
LEFT_X, RIGHT_X = MARGIN, RIGHT - WIDE
LEFT, RIGHT_MIDDLE = LEFT_X + WIDE / 2, RIGHT_X + WIDE / 2


def draw() -> Picture:
    picture = Picture(TITLE, ALT, 854)
    rows, functions, template, tokens, engine = 84, 166, 304, 412, 522
    for x, words in ((LEFT_X, "rows"), (RIGHT_X, "answers")):
        picture.box(x, rows, WIDE, 48, [words], "frame", r=24)
    picture.box(
        *(LEFT_X, functions, WIDE, 104),
        ["**preprocess**", "`messages` and", "`sampling_params`"],
        "plain",
    )
    picture.box(
        *(RIGHT_X, functions, WIDE, 104),
        ["**postprocess**", "`generated_text`", "to your columns"],
        "plain",
    )
    picture.box(LEFT_X, template, WIDE, 76, ["**chat template**", "messages to text"])
    picture.box(LEFT_X, tokens, WIDE, 76, ["**tokenize**", "text to tokens"], "dashed")
    picture.box(RIGHT_X, tokens, WIDE, 76, ["**detokenize**", "tokens to text"], "dashed")

    down = [(rows + 48, functions), (functions + 104, template), (template + 76, tokens)]
    for start, end in [*down, (tokens + 76, engine)]:
        picture.arrow([(LEFT, start + 2), (LEFT, end - 3)])
    for start, end in ((engine, tokens + 76), (tokens, functions + 104), (functions, rows + 48)):
        picture.arrow([(RIGHT_MIDDLE, start - 2), (RIGHT_MIDDLE, end + 3)])
    middle = template + 38
    picture.rect(RIGHT_MIDDLE - 26, middle - 22, 52, 44, "plain", 6)
    for row in range(4):
        y = middle - 13.5 + 9 * row
        picture.line([(RIGHT_MIDDLE - 17, y), (RIGHT_MIDDLE + 17, y)])
    picture.text(RIGHT_MIDDLE - 42, middle, "batches", anchor="end")
    picture.text(RIGHT_MIDDLE + 42, middle, "of rows")

    picture.rect(MARGIN, engine, INSIDE, 176, "light", 14)
    picture.text(MARGIN + 24, engine + 32, "**vLLM engine**", on="light")
    picture.text(RIGHT - 24, engine + 32, "one for each replica", anchor="end", on="light")
    inside = engine + 60
    picture.box(MARGIN + 20, inside, 168, 98, ["front end,", "in the actor"])
    core = MARGIN + 20 + 168 + 48
    picture.arrow([(core - 46, inside + 49), (core - 2, inside + 49)], both=True)
    wide = RIGHT - 20 - core
    picture.rect(core, inside, wide, 98, "dark")
    picture.text(core + wide / 2, inside + 24, "engine core, own process", bold=True, **ON_DARK)
    parts = [("scheduler", 142), ("weights", 118), ("KV cache", 128)]
    gap = (wide - sum(w for _, w in parts)) / 4
    left = core + gap
    for words, w in parts:
        picture.box(left, inside + 46, w, 40, [words], "light", r=6)
        left += w + gap

    key = engine + 176 + 40
    looks = (("plain", "your function"), ("light", "actor: a process"), ("dashed", "can be off"))
    picture.key(MARGIN, key, *looks)
    picture.text(MARGIN, key + 44, "off with `tokenize_stage=False` and")
    picture.text(MARGIN, key + 44 + LINE, "`detokenize_stage=False`: the front end does it")
    return picture
