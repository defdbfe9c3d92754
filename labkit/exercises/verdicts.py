"""What an exercise says of an answer, and the checks that many exercises share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from numbers import Real
from typing import Any, ParamSpec

from labkit.results.class_work import work
from labkit.results.job import Job

OPEN, RIGHT, WRONG = "open", "right", "not yet"
P = ParamSpec("P")


@dataclass(frozen=True)
class Verdict:
    """What an exercise says of an answer: `state` is 'open', 'right' or 'not yet'. options: of a
    question that is still open, by letter."""

    state: str
    text: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        mark = {OPEN: "○", RIGHT: "✔", WRONG: "✘"}[self.state]
        lines = [f"{mark} {self.state}: {self.text}"]
        return "\n".join([*lines, *(f"  {key}) {words}" for key, words in self.options.items())])

    def _repr_html_(self) -> str:
        color = {OPEN: "#555555", RIGHT: "#1a7f37", WRONG: "#b3261e"}[self.state]
        first, *options = repr(self).splitlines()
        rows = "".join(f"<li style='list-style: none'>{escape(line)}</li>" for line in options)
        listed = f"<ul>{rows}</ul>" if rows else ""
        return f'<p style="color:{color};font-weight:600">{escape(first)}</p>{listed}'


def noted(check: Callable[P, Verdict]) -> Callable[P, Verdict]:
    """A check whose verdicts are noted, for `labkit.hand_in`."""

    @functools.wraps(check)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        verdict = check(*args, **kwargs)
        work.note_exercise(check.__name__, verdict.state)
        return verdict

    return wrapped


def untouched(answer: Any) -> Verdict | None:
    """The verdict 'open' on `None`, what an exercise begins with; None for any other answer."""
    if answer is not None:
        return None
    return Verdict(OPEN, "replace None with your answer and run the cell")


def close_to(answer: Any, expected: float, hint: str, done: str, within: float = 0.02) -> Verdict:
    """The verdict on a number that must be within a share of `expected`: `done` for a right one,
    `hint` for a wrong one."""
    if open_yet := untouched(answer):
        return open_yet
    if isinstance(answer, bool) or not isinstance(answer, Real):  # NumPy's numbers are Real, too
        return Verdict(WRONG, f"a number is wanted, not {type(answer).__name__}")
    if abs(float(answer) - expected) <= within * abs(expected):
        return Verdict(RIGHT, done)
    return Verdict(WRONG, hint)


@dataclass(frozen=True)
class Question:
    """Options by letter, each with what to say to whoever chooses it; one of them is right."""

    name: str
    options: Mapping[str, str]
    replies: Mapping[str, str]
    right: str

    def __call__(self, answer: str | None = None) -> Verdict:
        """The verdict on a letter; untouched, the options."""
        verdict = self._verdict(answer)
        work.note_exercise(self.name, verdict.state)
        return verdict

    def _verdict(self, answer: str | None) -> Verdict:
        if answer is None:
            return Verdict(OPEN, "replace None with a letter, such as 'a'", self.options)
        letter = str(answer).strip().strip(")").lower()
        if letter not in self.options:
            return Verdict(WRONG, f"choose one of {', '.join(self.options)}", self.options)
        return Verdict(RIGHT if letter == self.right else WRONG, self.replies[letter])


def question(name: str, right: str, *options: tuple[str, str]) -> Question:
    """A question of these options, each with the reply to who chooses it; `right` is a letter."""
    letters = "abcdefgh"[: len(options)]
    words = {letter: option for letter, (option, _) in zip(letters, options, strict=True)}
    replies = {letter: reply for letter, (_, reply) in zip(letters, options, strict=True)}
    return Question(name, words, replies, right)


def job_wanted(answer: Any) -> Verdict | None:
    """The verdict on what is no job; None for a job."""
    if open_yet := untouched(answer):
        return open_yet
    if not isinstance(answer, Job):
        said = f"a job is wanted (labkit.run(…)), not {type(answer).__name__}"
        return Verdict(WRONG, said)
    return None
