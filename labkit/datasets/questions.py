"""Common questions and creative prompts, and whether an answer is right."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from labkit.datasets.csv_table import check_n, read_table
from labkit.errors import lab_errors
from labkit.paths import DATASETS

NUMBER = re.compile(r"(?<![\w./])-?\d+(?:\.\d+)?(?![\w/]|\.\d)")


@lab_errors("The questions could not be loaded")
def load_faq(n: int | None = None) -> pd.DataFrame:
    """Return the first `n` questions (all: 1,200): id, question, topic, expected.

    `expected` holds the accepted answers split by "|", or "". Raises DatasetError.
    """
    path = DATASETS / "faq.csv"
    table = read_table(path, ["question", "topic", "expected"], text_column="question")
    return table.head(check_n(n, len(table), path))


@lab_errors("The prompts could not be loaded")
def load_prompts(n: int | None = None) -> pd.DataFrame:
    """Return the first `n` creative prompts (all: 320), each with its own sampling.

    Columns: id, kind, prompt, max_tokens (int, tokens), temperature and top_p (float).
    Raises DatasetError.
    """
    path = DATASETS / "prompts.csv"
    numbers = {"max_tokens": int, "temperature": float, "top_p": float}
    table = read_table(path, ["kind", "prompt"], text_column="prompt", numbers=numbers)
    return table.head(check_n(n, len(table), path))


def handbook(facts: int = 40) -> str:
    """A text of `facts` lines for the beginning of a prompt: questions with their known answers.

    Made of the questions of `load_faq` that have an answer; the same text each time.
    """
    known = load_faq()
    known = known[known["expected"] != ""].head(facts)
    lines = [
        f"- {question} {expected.split('|')[0]}"
        for question, expected in zip(known["question"], known["expected"], strict=True)
    ]
    return "\n".join(["Facts that you may use:", *lines])


def _plain(text: str) -> str:
    """Fold case, accents and number styles: "H₂O" is "h2o", "1,000" is "1000"."""
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", "", text)
    text = unicodedata.normalize("NFKD", text).casefold().translate({0x2212: "-", 0x2019: "'"})
    text = "".join(char for char in text if not unicodedata.combining(char))
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", " ".join(text.split()))


def is_correct(answer: str, expected: str) -> bool | None:
    """Return whether `answer` holds one of the `expected` answers (split by "|") as whole words.

    A number counts by its value ("4.0" is "4", "14" is not). Case and accents don't matter.
    Returns None if `expected` is "". It looks for words, not meaning: "not Paris" holds "Paris".
    """
    if not expected:
        return None
    text = _plain(answer)
    found = {float(number) for number in NUMBER.findall(text)}
    for option in map(_plain, expected.split("|")):
        if NUMBER.fullmatch(option):
            if float(option) in found:
                return True
        elif re.search(rf"(?<!\w)(?<!\w-){re.escape(option)}(?!-?\w)", text):
            return True
    return False
