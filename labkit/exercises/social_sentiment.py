"""Exercises of lesson 3."""

from __future__ import annotations

from labkit.exercises.verdicts import (
    RIGHT,
    WRONG,
    Verdict,
    close_to,
    job_wanted,
    noted,
    question,
)
from labkit.results.job import Job
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep
from labkit.tasks import LABELS

#: What structured output promises.
valid_is_not_right = question(
    "valid_is_not_right",
    "a",
    (
        "that every answer is one of the three labels",
        "yes, and nothing more: the label may be wrong, and a post may have talked the model into "
        "it",
    ),
    ("that every label is right", "no: it narrows what can be written, not what is true"),
    ("that posts can give no orders", "no: an order can still move the choice among the three"),
    ("that the model has read the post", "no: it would pick a label for an empty one, too"),
)

#: What would make few-shot prompts as slow as they are long.
few_shot_order = question(
    "few_shot_order",
    "c",
    ("longer names for the labels", "a little: an answer of more tokens takes more steps"),
    ("more posts", "no: the more posts begin alike, the more often the same blocks serve"),
    (
        "the post before the examples",
        "yes: prompts would differ from there on, and every example be read for every post",
    ),
    ("a higher temperature", "no: it changes which token is taken, not what must be read"),
)

#: What each node of a cluster needs.
on_every_node = question(
    "on_every_node",
    "b",
    ("this notebook", "no: it stays where it is, and sends the work"),
    (
        "the model, and the rows that it reads",
        "yes: an engine loads its weights where it runs, and the rows are read there",
    ),
    ("a copy of all answers", "no: they travel back, or each node writes its part"),
    ("nothing, Ray sends all of it", "no: Ray moves rows and functions, not weights on a disk"),
)

#: Why several engines on one card help with one-word answers.
why_more_engines = question(
    "why_more_engines",
    "d",
    ("each engine reads a part of the weights", "no: each has a copy of its own, and reads it all"),
    ("the card computes faster with more programs", "no: it is the same card"),
    ("each engine has more memory", "no: they share the card's memory, each has less"),
    (
        "the card waits for the process that feeds one engine",
        "yes: chat template, tokens and texts are a Python process's work; more engines, more of "
        "them",
    ),
)


@noted
def f1_of(job: Job, label: str, answer: float | None) -> Verdict:
    """F1 of one label, from the columns `label` (people) and `says` (model) of `job.answers`
    (within 2%)."""
    true, said = job.answers["label"] == label, job.answers["says"] == label
    hits, both = int((true & said).sum()), int(true.sum() + said.sum())
    return close_to(
        answer,
        2 * hits / max(1, both),
        "2 × hits ÷ (how often people say it + how often the model says it)",
        "macro-F1 is the mean of three such numbers: one class that is never hit costs a third",
    )


@noted
def says_it(answer: Job | None, label: str = "neutral", rows: int = 60, often: int = 3) -> Verdict:
    """A job over at least `rows` posts, run with the learner's own prompt or examples, in which the
    model says `label` at least `often` times and is right about it more often than by chance."""
    if wrong := job_wanted(answer):
        return wrong
    answers = answer.answers  # type: ignore[union-attr]
    if not {"label", "says"} <= set(answers) or len(answers) < rows:
        return Verdict(WRONG, f"run it on {rows} posts or more, with into='says'")
    if strange := set(answers["says"]) - set(LABELS):
        return Verdict(WRONG, f"{sorted(map(str, strange))[0]!r} is none of the labels")
    said = answers["says"] == label
    if said.sum() < often:
        return Verdict(WRONG, f"{label} {said.sum()} times: does the prompt say when to choose it?")
    right, share = (answers["label"][said] == label).mean(), (answers["label"] == label).mean()
    if right <= share:
        return Verdict(
            WRONG, f"{label} {said.sum()} times, right {right:.0%}: no better than chance"
        )
    return Verdict(RIGHT, f"{label} {said.sum()} times, right {right:.0%}, by chance {share:.0%}")


@noted
def rows_for(job: Job, price_per_hour: float, answer: float | None, money: float = 10) -> Verdict:
    """How many rows `money` buys at the job's rows/s over its engine span (within 2%)."""
    return close_to(
        answer,
        money / price_per_hour * 3600 * job.metrics.rows_per_s,
        "money ÷ price of an hour = hours; × 3,600 = seconds; × rows/s",
        "faster rows are cheaper rows: throughput is money",
    )


@noted
def seconds_for(sweep: Sweep, point: Point, answer: float | None, rows: int = 4200) -> Verdict:
    """The engine span of `rows` rows at the median rows/s of a point of a sweep (within 2%)."""
    table = sweep.summary()
    at = (table["batch_size"] == point.batch_size) & (
        table["max_concurrent_batches"] == point.max_concurrent_batches
    )
    return close_to(
        answer,
        rows / float(table.loc[at, "rows/s"].iloc[0]),
        "rows ÷ the median rows/s of the chosen point (tried.summary() has it)",
        "the start of an engine comes on top, once",
    )


@noted
def requests_per_s(answer: float | None, in_flight: int = 16, latency_s: float = 2) -> Verdict:
    """How many rows a second a server answers that takes `latency_s` for each of `in_flight`."""
    return close_to(
        answer,
        in_flight / latency_s,
        "in the time of one request, how many are answered?",
        "one after another it would be one in that time: rows in flight are throughput here, too",
    )


@noted
def rows_to_resume(answer: float | None) -> Verdict:
    """70 of 100 rows on disk, 5 of them failed, `retry_failed=True`: how many are computed?"""
    return close_to(
        answer,
        35,
        "the rows that are missing, and those that failed",
        "the 65 good ones are never computed again",
    )
