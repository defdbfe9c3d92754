"""Exercises of lesson 2."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from labkit import scheduling
from labkit.errors import LabError
from labkit.exercises.verdicts import (
    RIGHT,
    WRONG,
    Verdict,
    close_to,
    job_wanted,
    noted,
    question,
    untouched,
)
from labkit.results.job import Job
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import RATE, Sweep

#: What can change an answer at temperature 0.
at_temperature_zero = question(
    "at_temperature_zero",
    "b",
    ("another seed", "no: nothing is drawn, so no seed is used"),
    (
        "other rows in the same step",
        "yes: sums of floating-point numbers depend on their order, and the likeliest token may "
        "win by less than that",
    ),
    ("a smaller top_p", "no: the likeliest token is always among those that are kept"),
    ("nothing at all", "almost: the same step with other rows adds up in another order"),
)

#: Which card writes faster where one row is in flight and reading is the limit.
which_card = question(
    "which_card",
    "a",
    (
        "one that reads its memory twice as fast",
        "yes: each step reads every weight, and here nothing takes longer than that",
    ),
    ("one that multiplies twice as fast", "no: multiplying is not what the step waits for"),
    ("one with twice the memory", "no: as many bytes are read as before, no faster"),
    ("one with a second engine on it", "no: both would share the same reading of memory"),
)

#: What comes first in a prompt, for the prefix cache.
what_comes_first = question(
    "what_comes_first",
    "c",
    ("the time of the request", "it is another one in every prompt: nothing after it is shared"),
    ("the customer's question", "it is another one in every prompt: nothing after it is shared"),
    ("the instructions", "yes: the same in every prompt, so all begin alike"),
    ("the order makes no difference", "it does: only what prompts begin with is shared"),
)


@noted
def toy_lengths(answer: Sequence[int] | None, slower: float = 1.5) -> Verdict:
    """64 to 512 lengths for which the toy takes `slower` times as long in batches of 16 × 4 as in
    1 × 64."""
    if open_yet := untouched(answer):
        return open_yet
    try:
        lengths = list(answer)  # type: ignore[arg-type]
        small, large = (
            scheduling.schedule(lengths, batch_size=size, max_concurrent_batches=64 // size)
            for size in (1, 16)
        )
    except (LabError, TypeError, ValueError) as problem:
        return Verdict(WRONG, f"a list of whole numbers is wanted: {problem}")
    if not 64 <= len(lengths) <= 512:
        return Verdict(WRONG, f"give 64 to 512 lengths, not {len(lengths)}")
    ratio = large.time / small.time
    if ratio >= slower:
        return Verdict(RIGHT, f"{ratio:.2f} times as long: long rows hold short ones back")
    return Verdict(WRONG, f"{ratio:.2f} times as long: what must a batch hold to wait for long?")


@noted
def order_the_rows(before: Job, answer: Job | None, more: float = 1.2) -> Verdict:
    """A job with the rows and the limit of `before`, in another order, that has `more` times the
    mean rows in flight."""
    if wrong := job_wanted(answer):
        return wrong
    assert answer is not None
    for knob in ("batch_size", "max_concurrent_batches"):
        if answer.spec[knob] != before.spec[knob]:
            return Verdict(WRONG, f"{knob} must stay {before.spec[knob]}")
    columns = ["prompt", "max_tokens"]
    mine, theirs = (
        job.answers[columns].sort_values(columns).to_numpy().tolist() for job in (answer, before)
    )
    if mine != theirs:
        return Verdict(WRONG, "the rows must be the same ones, in another order")
    ratio = answer.metrics.mean_rows_in_flight / before.metrics.mean_rows_in_flight
    if ratio >= more:
        return Verdict(RIGHT, f"{ratio:.2f} times as many: rows of like length end together")
    return Verdict(WRONG, f"{ratio:.2f} times as many: which rows should share a batch?")


@noted
def fewest_rows(sweep: Sweep, answer: int | Point | None, share: float = 0.8) -> Verdict:
    """The fewest rows in flight among the points of a sweep that reach `share` of the best."""
    if open_yet := untouched(answer):
        return open_yet
    best = sweep.fastest().set_index("rows_in_flight")[RATE]
    wanted = int(best[best >= share * best.max()].index.min())
    rows: Any = answer.rows_in_flight if isinstance(answer, Point) else answer
    if isinstance(rows, bool) or not isinstance(rows, Integral):
        said = f"a number of rows in flight is wanted, not {type(answer).__name__}"
        return Verdict(WRONG, said)
    if int(rows) == wanted:
        return Verdict(RIGHT, f"{wanted} rows in flight: enough is not the most")
    return Verdict(WRONG, f"which points reach {share:.0%} of the fastest? take the first of them")


@noted
def shared_tokens(answer: float | None, alike: int = 90, block: int = 32) -> Verdict:
    """How many of `alike` tokens that two prompts begin with are reused: whole blocks only."""
    return close_to(
        answer,
        alike // block * block,
        f"the cache holds blocks of {block} tokens; a block that is not full is not shared",
        "whole blocks only: short beginnings save nothing",
        within=0.001,
    )
