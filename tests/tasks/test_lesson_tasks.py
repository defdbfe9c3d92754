"""tasks.lesson_tasks: what the lessons ask."""

from __future__ import annotations

import pytest

from labkit.tasks import INSTRUCTION, LABELS, Task, creative, faq, sentiment


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
