"""labkit.tasks: messages, sampling parameters, and how an answer is read."""

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
    INSTRUCTION,
    LABELS,
    Task,
    ask,
    creative,
    faq,
    sentiment,
    user_text,
)


def test_faq_asks_the_question_as_the_users_turn() -> None:
    task = faq()
    assert task.messages({"question": " Why? ", "id": 3}) == [{"role": "user", "content": " Why? "}]
    assert task.name == "faq"
    assert task.sampling_for({}) == {"max_tokens": 48, "temperature": 0.0}
    assert task.parse(" Because.\n", {}) == "Because."


def test_faq_takes_another_column_and_length() -> None:
    task = faq("text", max_tokens=7, temperature=0.5)
    assert task.messages({"text": "Hm?", "question": "no"})[0]["content"] == "Hm?"
    assert task.sampling_for({}) == {"max_tokens": 7, "temperature": 0.5}


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


def test_a_sampling_column_that_is_not_there_is_an_error_of_the_row() -> None:
    with pytest.raises(KeyError, match="'s'"):
        Task("t", ask("q"), sampling_columns={"seed": "s"}).sampling_for({"q": "?"})


def test_creative_takes_length_and_chance_from_the_row() -> None:
    row = {"prompt": "A haiku", "max_tokens": 40, "temperature": 0.9, "top_p": 0.95, "id": 7}
    task = creative()
    assert task.messages(row) == [{"role": "user", "content": "A haiku"}]
    assert task.sampling_for(row) == {"max_tokens": 40, "temperature": 0.9, "top_p": 0.95}
    assert creative(seed_column="id").sampling_for(row)["seed"] == 7
    assert creative("text").messages({"text": "A poem"})[0]["content"] == "A poem"


def test_every_prompt_of_the_lesson_can_be_asked() -> None:
    from labkit.datasets import load_prompts

    prompts = load_prompts().to_dict("records")
    keys = {tuple(creative().sampling_for(row)) for row in prompts}
    assert keys == {("max_tokens", "temperature", "top_p")}
    assert all(creative().messages(row)[0]["content"] for row in prompts)


def test_sentiment_leaves_no_word_but_the_labels() -> None:
    task = sentiment()
    (turn,) = task.messages({"text": "So happy!"})
    assert turn["role"] == "user"
    assert turn["content"] == f"{INSTRUCTION}\n\nPost: So happy!"
    assert all(label in INSTRUCTION for label in LABELS)
    sampling = task.sampling_for({})
    assert sampling["structured_outputs"] == {"choice": ["positive", "negative", "neutral"]}
    assert sampling["temperature"] == 0.0
    assert [task.parse(f" {label}\n", {}) for label in LABELS] == list(LABELS)


def test_sentiment_with_examples_shows_them_as_turns() -> None:
    task = sentiment("post", examples=[("Great", "positive"), ("Meh", "neutral")])
    messages = task.messages({"post": "Bad"})
    assert [message["role"] for message in messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert messages[0]["content"] == INSTRUCTION
    assert [message["content"] for message in messages[1:]] == [
        "Post: Great",
        "positive",
        "Post: Meh",
        "neutral",
        "Post: Bad",
    ]
    assert len(task.messages({"post": "Bad"})) == 6  # asking twice adds nothing
    assert task.name != sentiment().name


@pytest.mark.parametrize("task", [creative(), sentiment(), sentiment(examples=[("a", "b")])])
def test_every_task_refuses_a_row_without_text(task: Task) -> None:
    with pytest.raises(ValueError, match="is missing"):
        task.messages({"id": 1})


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
