"""What to ask the model for each row: messages, sampling parameters, and how to read the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
Message = dict[str, str]


@dataclass(frozen=True)
class Task:
    """A question put to every row.

    messages: from a row to chat messages (`[{"role": "user", "content": …}]`).
    sampling: vLLM sampling parameters for every row.
    sampling_columns: sampling parameters taken from columns of the row (same keys in every row).
    parse: from the generated text and the row to the answer; an exception makes an error row.
    """

    name: str
    messages: Callable[[Row], list[Message]]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    sampling_columns: tuple[str, ...] = ()
    parse: Callable[[str, Row], Any] = lambda text, row: text.strip()

    def sampling_for(self, row: Row) -> dict[str, Any]:
        """The sampling parameters of one row: `sampling`, then the row's own columns."""
        own = {name: row[name] for name in self.sampling_columns}
        return {**self.sampling, **own}


def user_text(row: Row, column: str) -> str:
    """The text of a column. Raises ValueError when it is missing, not text, or blank."""
    text = row.get(column)
    if not isinstance(text, str):
        raise ValueError(f"column {column!r} holds {type(text).__name__}, not text")
    if not text.strip():
        raise ValueError(f"column {column!r} is empty")
    return text


def ask(
    column: str, *, system: str | None = None, template: str = "{text}"
) -> Callable[[Row], list[Message]]:
    """A `messages` function: one column's text as the user's turn, `system` before it."""

    def messages(row: Row) -> list[Message]:
        turn = {"role": "user", "content": template.format(text=user_text(row, column))}
        return [{"role": "system", "content": system}, turn] if system else [turn]

    return messages


def faq(column: str = "question", *, max_tokens: int = 48, temperature: float = 0.0) -> Task:
    """Answer a question briefly. Temperature 0: the likeliest token each time."""
    return Task(
        name="faq",
        messages=ask(column),
        sampling={"max_tokens": max_tokens, "temperature": temperature},
    )
