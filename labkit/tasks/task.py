"""A task: what to ask for each row, with which sampling parameters, and how to read the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import LabError

Row = dict[str, Any]
Message = dict[str, str]


@dataclass(frozen=True)
class Task:
    """A question put to every row.

    messages: from a row to chat messages (`[{"role": "user", "content": …}]`).
    sampling: vLLM sampling parameters for every row.
    sampling_columns: from a sampling parameter to the column of the row that holds its value.
    parse: from the generated text and the row to the answer; an exception makes an error row.
    allow_empty: whether no text is an answer; else it makes an error row.
    any_text: whether any text is an answer, as it is of a server: none, or one that was cut before
    it had the form that was asked for. Else such a text makes an error row.
    columns: those that `messages` and `sampling_columns` need, where they are known: data without
    one of them is refused before an engine starts.
    answer_schema: the JSON schema of the answers, where they have one: it gives the types of files.
    """

    name: str
    messages: Callable[[Row], list[Message]]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    sampling_columns: Mapping[str, str] = field(default_factory=dict)
    parse: Callable[[str, Row], Any] = lambda text, row: text.strip()
    allow_empty: bool = False
    any_text: bool = False
    columns: Sequence[str] = ()
    answer_schema: Mapping[str, Any] | None = None

    @property
    def same_sampling(self) -> bool:
        """Whether all rows have the same sampling parameters: they are looked at once."""
        return not self.sampling_columns and type(self).sampling_for is Task.sampling_for

    def sampling_for(self, row: Row) -> dict[str, Any]:
        """The sampling parameters of one row: `sampling`, then the row's own columns."""
        own = {name: row[column] for name, column in self.sampling_columns.items()}
        return {**self.sampling, **own}


def user_text(row: Row, column: str) -> str:
    """The text of a column. Raises ValueError when it is missing, not text, or blank."""
    text = row.get(column)
    if text is None or (isinstance(text, float) and math.isnan(text)):
        raise ValueError(f"column {column!r} is missing")
    if not isinstance(text, str):
        raise ValueError(f"column {column!r} holds {type(text).__name__}, not text")
    if not text.strip():
        raise ValueError(f"column {column!r} is empty")
    return text


def ask(
    column: str, *, system: str | None = None, template: str = "{text}"
) -> Callable[[Row], list[Message]]:
    """A `messages` function: one column's text as the user's turn, `system` before it.

    template: the turn, with `{text}` for the column's text; a brace that is none is doubled, `{{`.
    Raises LabError for a template that says anything else.
    """
    try:
        filled = template.format(text="the text of a row")
    except (KeyError, IndexError, ValueError, AttributeError) as problem:
        raise LabError(
            f"The template {template!r} can't be filled in: {type(problem).__name__} {problem}. "
            "It may hold {text}; any other brace must be doubled, as {{ and }}."
        ) from None
    if "the text of a row" not in filled:
        raise LabError(f"The template {template!r} has no {{text}}: every row would be the same.")

    def messages(row: Row) -> list[Message]:
        turn = {"role": "user", "content": template.format(text=user_text(row, column))}
        return [{"role": "system", "content": system}, turn] if system else [turn]

    return messages
