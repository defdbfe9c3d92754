"""What bounded a job, by its rows' own times, its processes' CPU time and its card's time; and what
to try. Pure: no Ray, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from labkit.metrics.job_metrics import Metrics
from labkit.metrics.job_use import CORE, DRIVER
from labkit.metrics.row_times import batches

#: The part of a job that one cause must take to be named as what bounds it. (Half of it
#: will do for a tail that alone makes few rows be in flight on average.)
STARTUP, TAIL, PROMPTS = 0.5, 0.3, 0.5
#: An engine whose rows in flight are on average under this part of their limit waits for rows.
FED = 0.7
#: Where more than this part of the rows begins in the tail, it is no tail: the engine waits.
LATE = 0.1
#: Where rows lie finished for this part of their batch's time, the batches hold places empty.
HELD = 0.3
#: A process that feeds the engine and computes for this part of the engine span is its limit: its
#: work is Python's, which takes one core at most.
BUSY = 0.85
#: A card that runs kernels for this part of the engine span has no time left; one that does so for
#: less than the second part waits for its engine. Between jobs that are surely one or the other:
#: 0.96 to 1 and 0.07 to 0.18 (docs/gpu.md).
CARD_FULL, CARD_WAITS = 0.9, 0.7


@dataclass(frozen=True)
class Bottleneck:
    """name: 'startup', 'too few rows', 'the tail', 'the batches', 'what feeds the engine', 'reading
    the prompts', 'rows in flight', 'the card' or 'the engine' (full, and no card tells that it was
    at work all the time). share: of the wall time (startup), of the engine span (the tail, a
    process that feeds the engine, the card at work), of the batches' time that a finished row
    waits, of the limit (rows in flight), or of the rows' time at the engine (prompts). sentence:
    all of it in words."""

    name: str
    share: float
    sentence: str


def bottleneck(
    job: Metrics,
    times: pd.DataFrame,
    limit: int,
    cpu_s: Mapping[str, float] | None = None,
    places: int | None = None,
) -> Bottleneck | None:
    """What bounded a job; None where no row was answered.

    times: of `metrics.timeline`. limit: the most rows decoded at once (rows in flight allowed, or
    `places` where that is less). cpu_s: seconds of CPU time by kind of process (`Job.cpu_s`).
    places: rows that the engines decode at once (`max_num_seqs` of all); None where not known.
    """
    if times.empty or job.wall_s <= 0:
        return None
    rows, fed = job.rows + job.failed, min(1.0, job.mean_rows_in_flight / limit)
    startup, tail = job.startup_s / job.wall_s, job.tail_s / job.engine_span_s
    at_engine = times["last_token_s"] - times["scheduled_s"]
    reading = float((times["first_token_s"] - times["scheduled_s"]).sum() / at_engine.sum())
    in_flight = f"{min(limit, job.mean_rows_in_flight):,.0f} of {limit:,}"
    feeders = {kind: seconds for kind, seconds in (cpu_s or {}).items() if kind != CORE}
    busiest, spent = max(feeders.items(), key=lambda one: one[1], default=("", 0.0))
    busy = spent / job.engine_span_s
    who = f" Of the processes that feed it, {busiest} was the busiest: {busy:.0%} of a core."
    begun = times["scheduled_s"] > times["last_token_s"].max() - job.tail_s
    late = float(begun.mean())
    held = float(batches(times)["waiting"].mean())
    before = min(1.0, _in_flight_before(times, job.tail_s) / limit)
    try_busy = (
        "Hand it larger batches (batch_size)."
        if busiest == DRIVER
        else "Try more engines a card (engines_per_gpu), or replicas."
    )
    few = places is not None and limit < places
    every = {CORE: 0.0, **(cpu_s or {})}
    slowest = max(every, key=every.__getitem__)
    try_engines = "Try more engines a card (engines_per_gpu), larger batches, or more cores."
    causes = [
        (
            startup >= STARTUP,
            Bottleneck(
                "startup",
                startup,
                f"Startup was {startup:.0%} of this job: give it more rows, or keep the engine for "
                "the next job with warm=True.",
            ),
        ),
        (
            rows < 2 * limit,
            Bottleneck(
                "too few rows",
                fed,
                f"Too few rows: {rows:,}, where {limit:,} may be in flight at once. Give it more.",
            ),
        ),
        (
            busy >= BUSY and not (fed >= FED and job.card_busy >= CARD_FULL),
            Bottleneck(
                "what feeds the engine",
                min(1.0, busy),
                f"What feeds the engine is at its limit: {busiest} took {busy:.0%} of a core. "
                f"{try_busy}",
            ),
        ),
        (
            late < LATE and (tail >= TAIL or (tail >= TAIL / 2 and fed < FED <= before)),
            Bottleneck(
                "the tail",
                tail,
                f"The tail took {tail:.0%} of the engine span: a few long rows run almost alone at "
                "the end. Send long rows first, or give max_tokens a limit.",
            ),
        ),
        (
            fed < FED and held >= HELD,
            Bottleneck(
                "the batches",
                held,
                f"{in_flight} rows were in flight on average: a row lay finished for {held:.0%} of "
                "its batch's time, and a batch keeps its place until its last row is done. Try "
                "smaller batches, more of them at once.",
            ),
        ),
        (
            fed < FED,
            Bottleneck(
                "what feeds the engine",
                fed,
                f"The engine waited for rows: {in_flight} were in flight on average."
                f"{who if busiest else ''} {try_engines}",
            ),
        ),
        (
            job.card_busy < CARD_WAITS and not few,
            Bottleneck(
                "what feeds the engine",
                job.card_busy,
                f"The engine had enough rows ({in_flight} in flight on average), and its card was "
                f"at work for {job.card_busy:.0%} of the engine span only: it waits for work. Of "
                f"what hands it work {slowest} was the busiest, with "
                f"{every[slowest] / job.engine_span_s:.0%} of a core. Try more engines a card "
                "(engines_per_gpu), or replicas.",
            ),
        ),
        (
            reading >= PROMPTS and not (few and job.card_busy < CARD_WAITS),
            Bottleneck(
                "reading the prompts",
                reading,
                f"Rows spent {reading:.0%} of their time at the engine before their first token: "
                "prompts are long, or the answers short. Shorten the prompts, or begin them all "
                "alike (prefix caching).",
            ),
        ),
        (
            few,
            Bottleneck(
                "rows in flight",
                fed,
                f"{limit:,} {'rows were' if limit > 1 else 'row was'} in flight at most, and the "
                f"engine decodes up to {places or 0:,} at once: allow more (batch_size × "
                "max_concurrent_batches), unless a sweep shows that this is enough.",
            ),
        ),
        (
            job.card_busy >= CARD_FULL,
            Bottleneck(
                "the card",
                job.card_busy,
                f"The card was at work for {job.card_busy:.0%} of the engine span, with "
                f"{in_flight} rows in flight on average: a faster card, more cards (replicas) or "
                "shorter answers would help.",
            ),
        ),
        (
            True,
            Bottleneck(
                "the engine",
                fed,
                f"The engine was full: {job.mean_rows_in_flight:,.0f} rows in flight on average, "
                f"where {limit:,} can be worked on at once. A faster device, more replicas or "
                "shorter answers would help.",
            ),
        ),
    ]
    return next(cause for bounds, cause in causes if bounds)


def _in_flight_before(times: pd.DataFrame, tail_s: float) -> float:
    """Mean rows in flight over the engine span without its tail: what a tail makes of the mean of
    all says nothing of how the engine was fed."""
    begin, end = times["scheduled_s"].min(), times["last_token_s"].max() - tail_s
    came = times["queued_s"].clip(lower=begin)
    there = (times["last_token_s"].clip(upper=end) - came).clip(lower=0).sum()
    return float(there / (end - begin)) if end > begin else 0.0
