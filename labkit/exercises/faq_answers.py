"""Exercises of lesson 1."""

from __future__ import annotations

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
from labkit.settings.processor_spec import ProcessorSpec

#: Where a pipeline is changed so that it answers in French.
in_french = question(
    "in_french",
    "b",
    ("the dataset", "the rows are the questions: they stay as they are"),
    ("preprocess", "it makes the messages, and a message can say: answer in French"),
    ("the config", "it says which engine runs, with what; not what it is asked"),
    ("postprocess", "it sees the answer when it is written: too late, unless it translates"),
)

#: Which job gains most from decoding many rows together.
who_gains_most = question(
    "who_gains_most",
    "b",
    ("long prompts, answers of one word", "no: nearly all of it is prefill, which shares little"),
    (
        "short prompts, long answers",
        "yes: nearly all of it is decode, and each step reads the weights once for all rows",
    ),
    ("long prompts, long answers", "it gains in decode, but long prompts must be read, row by row"),
    ("all the same", "no: decode gains much, prefill little; how much of each has a job?"),
)

#: Why many rows in flight have not as many times the throughput.
why_not_perfect = question(
    "why_not_perfect",
    "c",
    ("each row needs the weights read for itself", "no: one reading serves all rows of a step"),
    ("Ray hands over one row at a time", "no: whole batches, as many at once as you allow"),
    (
        "prompts must be read, and each step multiplies for every row",
        "yes: reading the weights is shared; the arithmetic of each prompt and each row is not",
    ),
    ("the model gets worse with many rows", "no: every row gets the answer of its own prompt"),
)


@noted
def rows_in_flight(
    answer: ProcessorSpec | None, wanted: int = 32, largest_batch: int = 8
) -> Verdict:
    """A spec whose limit is exactly `wanted` rows in flight, in batches of at most
    `largest_batch`."""
    if open_yet := untouched(answer):
        return open_yet
    if not isinstance(answer, ProcessorSpec):
        return Verdict(WRONG, f"a spec is wanted (spec.with_(…)), not {type(answer).__name__}")
    if answer["batch_size"] > largest_batch:
        return Verdict(WRONG, f"batch_size is {answer['batch_size']}, above {largest_batch}")
    if answer.rows_in_flight != wanted:
        found = answer.rows_in_flight
        return Verdict(WRONG, f"{found} rows in flight: batch_size × max_concurrent_batches")
    return Verdict(RIGHT, "small batches, and as many rows in flight as you wanted")


@noted
def before_the_first_token(job: Job, answer: float | None) -> Verdict:
    """Seconds from the first row scheduled to the first token of any row (within 2%)."""
    times = job.timeline()
    return close_to(
        answer,
        float(times["first_token_s"].min() - times["scheduled_s"].min()),
        "the earliest first_token_s − the earliest scheduled_s",
        "for that long nothing could be decoded: a first prompt had to be read",
    )


@noted
def rows_until_worth_it(cold: Job, job: Job, answer: float | None) -> Verdict:
    """The rows at which the engine works for 90% of startup + engine span (within 2%).

    cold: the job whose startup counts. job: the one whose rows/s count.
    """
    return close_to(
        answer,
        9 * cold.metrics.startup_s * job.metrics.rows_per_s,
        "span = rows ÷ rows_per_s; ask for span = 0.9 × (startup + span), so span = 9 × startup",
        "below that many rows, you mostly pay for the start",
    )


@noted
def mean_rows_in_flight(answer: Job | None, low: float = 20, high: float = 30) -> Verdict:
    """A job, run by the learner, whose mean rows in flight lie between `low` and `high`."""
    if wrong := job_wanted(answer):
        return wrong
    found = answer.metrics.mean_rows_in_flight  # type: ignore[union-attr]
    if low <= found <= high:
        return Verdict(RIGHT, f"{found:.0f} on average: the limit is a little above it")
    side = "too few: raise the limit" if found < low else "too many: lower the limit"
    return Verdict(WRONG, f"{found:.0f} on average, {side}, or look at the rows of the job")
