"""Exercises that check themselves: invariants of a job or a spec, never the model's words.

Left untouched (`answer = None`) an exercise says so and passes over; a wrong answer gets a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from numbers import Real
from typing import Any

from labkit import metrics
from labkit.results.job import Job
from labkit.settings.processor_spec import ProcessorSpec

OPEN, RIGHT, WRONG = "open", "right", "not yet"


@dataclass(frozen=True)
class Verdict:
    """What an exercise says of an answer: `state` is 'open', 'right' or 'not yet'."""

    state: str
    text: str

    def __repr__(self) -> str:
        mark = {OPEN: "○", RIGHT: "✔", WRONG: "✘"}[self.state]
        return f"{mark} {self.state}: {self.text}"

    def _repr_html_(self) -> str:
        color = {OPEN: "#555555", RIGHT: "#1a7f37", WRONG: "#b3261e"}[self.state]
        return f'<p style="color:{color};font-weight:600">{escape(repr(self))}</p>'


def _open(answer: Any) -> Verdict | None:
    return (
        Verdict(OPEN, "replace None with your answer and run the cell") if answer is None else None
    )


def _close(answer: Any, expected: float, hint: str, done: str, within: float = 0.02) -> Verdict:
    if untouched := _open(answer):
        return untouched
    if isinstance(answer, bool) or not isinstance(answer, Real):  # NumPy's numbers are Real, too
        return Verdict(WRONG, f"a number is wanted, not {type(answer).__name__}")
    if abs(float(answer) - expected) <= within * abs(expected):
        return Verdict(RIGHT, done)
    return Verdict(WRONG, hint)


def throughput(job: Job, answer: float | None) -> Verdict:
    """Output tokens/s over the engine span, from the rows of `job.timeline()` (within 2%)."""
    return _close(
        answer,
        job.metrics.output_tokens_per_s,
        "all output tokens ÷ (latest last_token_s − earliest scheduled_s)",
        "that is the number every table of this lab shows",
    )


def rows_until_worth_it(job: Job, answer: float | None) -> Verdict:
    """The rows at which the engine works for 90% of startup + engine span (within 2%)."""
    return _close(
        answer,
        9 * job.metrics.startup_s * job.metrics.rows_per_s,
        "span = rows ÷ rows_per_s; ask for span = 0.9 × (startup + span), so span = 9 × startup",
        "below that many rows, you mostly pay for the start",
    )


def rows_in_flight(
    answer: ProcessorSpec | None, wanted: int = 32, largest_batch: int = 8
) -> Verdict:
    """A spec with exactly `wanted` rows in flight, in batches of 2 to `largest_batch` rows."""
    if untouched := _open(answer):
        return untouched
    if not isinstance(answer, ProcessorSpec):
        return Verdict(WRONG, f"a spec is wanted (spec.with_(…)), not {type(answer).__name__}")
    if not 1 < answer["batch_size"] <= largest_batch:
        return Verdict(WRONG, f"batch_size is {answer['batch_size']}, not 2 to {largest_batch}")
    if answer.rows_in_flight != wanted:
        found = answer.rows_in_flight
        return Verdict(WRONG, f"{found} rows in flight: batch_size × max_concurrent_batches")
    return Verdict(RIGHT, "small batches, and as many rows in flight as you wanted")


def choice(answer: str | None, right: str, why: str, hint: str, options: Sequence[str]) -> Verdict:
    """A question with one right option."""
    if untouched := _open(answer):
        return untouched
    if answer not in options:
        return Verdict(WRONG, f"choose one of {', '.join(options)}")
    if answer != right:
        return Verdict(WRONG, hint)
    return Verdict(RIGHT, why)


def longest_batch(job: Job, answer: float | None) -> Verdict:
    """The longest span of a batch in seconds, first row queued to last token (within 2%)."""
    return _close(
        answer,
        float(metrics.batches(job.timeline())["span_s"].max()),
        "group by batch_uuid; the latest last_token_s − the earliest queued_s of each group",
        "one long row is enough to make a batch the longest",
    )


def what_comes_first(answer: str | None) -> Verdict:
    """Which part of a prompt belongs first, for prefix caching."""
    return choice(
        answer,
        "instructions",
        "it is the same in every prompt; the time and the question are not",
        "which part is the same in every prompt?",
        ("time", "instructions", "question"),
    )


def accuracy(job: Job, answer: float | None) -> Verdict:
    """The share of rows whose column `says` equals their column `label` (within 2%)."""
    right = job.answers["label"] == job.answers["says"]
    return _close(
        answer,
        float(right.mean()),
        "compare the two columns; the mean of True and False is a share",
        "now you know how quality.evaluate begins",
    )


def cost_of_a_million(job: Job, price_per_hour: float, answer: float | None) -> Verdict:
    """The price of a million rows at the job's rows/s over its engine span (within 2%)."""
    return _close(
        answer,
        1e6 / job.metrics.rows_per_s / 3600 * price_per_hour,
        "rows ÷ rows/s = seconds; ÷ 3,600 = hours; × the price of an hour",
        "faster rows are cheaper rows: throughput is money",
    )


def rows_to_resume(answer: float | None) -> Verdict:
    """70 of 100 rows on disk, 5 of them failed, `retry_failed=True`: how many are computed?"""
    return _close(
        answer,
        35,
        "the rows that are missing, and those that failed",
        "the 65 good ones are never computed again",
    )
