"""tasks.task: messages, sampling parameters, and how an answer is read."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.tasks import (
    Task,
    ask,
    faq,
    user_text,
)


def test_ask_puts_the_system_before_and_the_template_around() -> None:
    messages = ask("post", system="Be brief.", template="Post: {text}\nLabel:")
    assert messages({"post": "Nice"}) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Post: Nice\nLabel:"},
    ]


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_goes_through_unchanged(text: str) -> None:
    """Braces and markup in a text are no template."""
    assert user_text({"t": text}, "t") == text
    assert ask("t", template="Q: {text}")({"t": text})[0]["content"] == f"Q: {text}"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "column 'q' is missing"),
        ({"q": None}, "column 'q' is missing"),
        ({"q": math.nan}, "column 'q' is missing"),
        ({"q": 7}, "int"),
        ({"q": b"bytes"}, "bytes"),
        ({"q": ["a"]}, "list"),
        ({"q": ""}, "column 'q' is empty"),
        ({"q": " \n\t\u00a0"}, "column 'q' is empty"),
    ],
)
def test_what_is_no_text_is_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        user_text(row, "q")
    with pytest.raises(ValueError, match=words):
        ask("q")(row)


def test_a_sampling_column_that_is_not_there_is_an_error_of_the_row() -> None:
    with pytest.raises(KeyError, match="'s'"):
        Task("t", ask("q"), sampling_columns={"seed": "s"}).sampling_for({"q": "?"})


def test_a_task_can_not_be_changed_but_copied() -> None:
    task = faq()
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "other"  # type: ignore[misc]
    assert dataclasses.replace(task, name="other").name == "other"


def test_a_task_travels_to_the_workers() -> None:
    from ray import cloudpickle

    task = pickle.loads(cloudpickle.dumps(ask("q", system="s")))
    assert task({"q": "?"}) == ask("q", system="s")({"q": "?"})
    again = pickle.loads(cloudpickle.dumps(faq()))
    assert again.parse(" x ", {}) == "x"


@pytest.mark.parametrize(
    "template",
    ['{"label": …} {text}', "{}", "{0} {text}", "{text", "{text.x}", "{text[0][1]}", "{text:q}"],
)
def test_a_template_that_can_not_be_filled_in_is_refused_at_once(template: str) -> None:
    """Not by each of its rows, after the engine's start."""
    with pytest.raises(LabError, match="can't be filled in"):
        ask("q", template=template)


def test_a_template_without_the_text_is_refused() -> None:
    with pytest.raises(LabError, match="has no {text}"):
        ask("q", template="Say hello.")


def test_a_brace_may_be_doubled() -> None:
    (turn,) = ask("q", template='As {{"label": …}}: {text}')({"q": "a {b}"})
    assert turn["content"] == 'As {"label": …}: a {b}'


def test_the_rows_own_sampling_wins() -> None:
    task = Task(
        name="t",
        messages=ask("q"),
        sampling={"max_tokens": 8, "temperature": 0.0},
        sampling_columns={"max_tokens": "length", "seed": "seed"},
    )
    row = {"length": 3, "seed": 1, "temperature": 9, "max_tokens": 99}
    assert task.sampling_for(row) == {
        "max_tokens": 3,
        "temperature": 0.0,
        "seed": 1,
    }
    assert task.sampling == {"max_tokens": 8, "temperature": 0.0}
