"""The tasks of the lessons: answer a question, write freely, label a post."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.tasks.task import Message, Row, Task, ask, user_text


def faq(column: str = "question", *, max_tokens: int = 48, temperature: float = 0.0) -> Task:
    """Answer a question briefly. Temperature 0: the likeliest token each time."""
    return Task(
        name="faq",
        messages=ask(column),
        sampling={"max_tokens": max_tokens, "temperature": temperature},
    )


def creative(
    column: str = "prompt",
    *,
    seed_column: str | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Task:
    """Write freely: `max_tokens`, `temperature` and `top_p` come from the row's own columns.

    seed_column: a column with a whole number, the seed of the row's own random draws (vLLM
    `SamplingParams.seed`); None leaves the draws to chance. sampling: what all rows share beside
    these, such as {"ignore_eos": True} for answers of exactly `max_tokens` tokens.
    """
    columns = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p"}
    if seed_column:
        columns["seed"] = seed_column
    return Task("creative", ask(column), dict(sampling or {}), columns)


#: The three labels of the social-media posts.
LABELS = ("positive", "negative", "neutral")


INSTRUCTION = (
    "Classify the sentiment of the social media post as positive, negative or neutral. "
    "Answer with one word."
)


def sentiment(column: str = "text", *, examples: Sequence[tuple[str, str]] = ()) -> Task:
    """Label a post as one of LABELS; structured output leaves the model no other word.

    examples: (post, label) pairs shown first (few-shot); none is zero-shot. The wordings are
    those that did best on a sample of the posts among the ones tried.
    """

    def messages(row: Row) -> list[Message]:
        post = f"Post: {user_text(row, column)}"
        if not examples:
            return [{"role": "user", "content": f"{INSTRUCTION}\n\n{post}"}]
        shown = [{"role": "system", "content": INSTRUCTION}]
        for text, label in examples:
            shown.append({"role": "user", "content": f"Post: {text}"})
            shown.append({"role": "assistant", "content": label})
        return [*shown, {"role": "user", "content": post}]

    return Task(
        name=f"sentiment, {len(examples)} examples" if examples else "sentiment, zero-shot",
        messages=messages,
        sampling={
            "max_tokens": 8,
            "temperature": 0.0,
            "structured_outputs": {"choice": list(LABELS)},
        },
    )
