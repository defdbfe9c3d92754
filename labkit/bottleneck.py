"""What bounded a job, by its rows' own times; and what to try. Pure: no Ray, no engine."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from labkit.metrics import Metrics

#: The part of a job that one cause must take to be named as what bounds it.
STARTUP, TAIL, PROMPTS = 0.5, 0.3, 0.5
#: An engine whose rows in flight are on average under this part of their limit waits for rows.
FED = 0.7


@dataclass(frozen=True)
class Bottleneck:
    """name: 'startup', 'too few rows', 'the tail', 'what feeds the engine', 'reading the prompts'
    or 'the engine'. share: of the wall time (startup), of the engine span (the tail), of the limit
    (rows in flight), or of the rows' time at the engine (prompts). sentence: all of it in words."""

    name: str
    share: float
    sentence: str


def bottleneck(job: Metrics, times: pd.DataFrame, limit: int) -> Bottleneck | None:
    """What bounded a job; None where no row was answered.

    times: of `metrics.timeline`. limit: the most rows decoded at once (rows in flight allowed, or
    `max_num_seqs` of all engines where that is less).
    """
    if times.empty or job.wall_s <= 0:
        return None
    if (share := job.startup_s / job.wall_s) >= STARTUP:
        return Bottleneck(
            "startup",
            share,
            f"Startup was {share:.0%} of this job: give it more rows, or keep the engine for the "
            "next job with warm=True.",
        )
    if job.rows + job.failed < 2 * limit:
        share = min(1.0, job.mean_rows_in_flight / limit)
        return Bottleneck(
            "too few rows",
            share,
            f"Too few rows: {job.rows + job.failed:,}, where {limit:,} may be in flight at once. "
            "More rows take hardly longer.",
        )
    if (share := job.tail_s / job.engine_span_s) >= TAIL:
        return Bottleneck(
            "the tail",
            share,
            f"The tail took {share:.0%} of the engine span: a few long rows run almost alone at "
            "the end. Send long rows first, or give max_tokens a limit.",
        )
    if (share := job.mean_rows_in_flight / limit) < FED:
        return Bottleneck(
            "what feeds the engine",
            share,
            f"The engine waited for rows: {job.mean_rows_in_flight:,.0f} of {limit:,} were in "
            "flight on average. Try more engines a card (engines_per_gpu), larger batches, or more "
            "cores.",
        )
    first = times["first_token_s"]
    reading = (first - times["scheduled_s"]).sum()
    share = float(reading / (times["last_token_s"] - times["scheduled_s"]).sum())
    if share >= PROMPTS:
        return Bottleneck(
            "reading the prompts",
            share,
            f"Rows spent {share:.0%} of their time at the engine before their first token: prompts "
            "are long, or the answers short. Shorten the prompts, or begin them all alike (prefix "
            "caching).",
        )
    return Bottleneck(
        "the engine",
        job.mean_rows_in_flight / limit,
        f"The engine was full: {job.mean_rows_in_flight:,.0f} of {limit:,} rows in flight on "
        "average. A faster device, more replicas or shorter answers would help.",
    )
