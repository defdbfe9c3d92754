"""Sentences that a measurement bears out: each is computed from it, on any machine.

A lesson says here what its own numbers show, however fast or noisy the machine is. Each function
takes jobs or sweeps and gives a `Sentence`; where two numbers are closer than noise, it says that
they can't be told apart. Nothing is measured here. Used in all three lessons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import pandas as pd

from labkit import metrics
from labkit.hardware.recorded_machine import replaying
from labkit.quality import Quality
from labkit.results.guess import off_by, off_by_words
from labkit.results.job import Job
from labkit.results.sweep_result import NOISE, RATE, Sweep

#: A curve keeps to perfect scaling as long as its points reach this share of it.
STRAIGHT = 0.8


class Sentence(str):
    """Words computed from a measurement: a notebook shows them as text, without quotes; with
    REPLAY before them while jobs are played back."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"REPLAY: {self!s}" if replaying() else str(self)

    def _repr_html_(self) -> str:
        return f'<p style="max-width: 50em; font-weight: 600">{escape(repr(self))}</p>'


def speed_up(jobs: Mapping[str, Job], rate: str = "output_tokens_per_s") -> Sentence:
    """How many times the throughput of the first job the others have.

    rate: a rate of `Metrics`. One run each: within NOISE of each other they can't be told apart.
    """
    unit = {"output_tokens_per_s": "output tokens/s", "rows_per_s": "rows/s"}.get(rate, rate)
    (first, one), *others = ((name, getattr(job.metrics, rate)) for name, job in jobs.items())
    said = [f"{first}: {_number(one)} {unit}"]
    for name, other in others:
        near = f"; one run each can't tell them apart from {first}" if _close(one, other) else ""
        said.append(f"{name}: {_number(other)}, {_times(other / one)} that{near}")
    return Sentence("; ".join(said) + ".")


def startup(jobs: Mapping[str, Job]) -> Sentence:
    """The share of each job's wall time that was startup."""
    parts = [
        f"{job.metrics.startup_s / job.metrics.wall_s:.0%} of “{name}” "
        f"({_number(job.metrics.startup_s)} of {_number(job.metrics.wall_s)} s)"
        for name, job in jobs.items()
    ]
    return Sentence(f"Startup was {_and(parts)}.")


def prefill_and_decode(job: Job) -> Sentence:
    """What the tokens of a job were, and where the mean row's time went."""
    m = job.metrics
    total = m.input_tokens + m.output_tokens
    wait, read, write = _parts(job)
    return Sentence(
        f"Of {total:,} tokens {m.input_tokens / total:.0%} were input, read in prefill, and "
        f"{m.output_tokens / total:.0%} output, written in decode. A row waited "
        f"{_number(wait)} s on average, was read in {_number(read)} s and written in "
        f"{_number(write)} s."
    )


def latency(alone: Job, many: Job) -> Sentence:
    """What many rows in flight cost a single row, and what the time was spent on (means)."""
    before, (wait, read, write) = sum(_parts(alone)), _parts(many)
    after = wait + read + write
    ratio = after / before
    said = f"{_times(ratio)} as long" if not _close(before, after) else "about as long"
    return Sentence(
        f"On average a row took {_number(before)} s alone and {_number(after)} s among many, "
        f"{said}. Of these {_number(after)} s it waited {_number(wait)} s for a place, "
        f"{_number(read)} s went into prefill and {_number(write)} s into decode."
    )


def sharing(sweep: Sweep, rate: str = RATE) -> Sentence:
    """How near a curve comes to perfect scaling, and where it falls behind.

    rate: a column of `Sweep.summary`. Perfect: n rows decoding have n times the throughput of one;
    above the engine's `max_num_seqs` no more are decoded.
    """
    curve = scaling(sweep, rate)
    if len(curve) < 2:
        return Sentence("One point is no curve: measure at least two.")
    rows = [int(n) for n in curve.index]
    straight = first = rows[0]
    later = curve.iloc[1:]
    beyond = rows[-1] > sweep.limit
    among = f" (at most {sweep.limit:.0f} rows are decoded)" if beyond else ""
    said = (
        f"Perfect scaling{among} would give {_and([_times(p) for p in later['perfect']])} the "
        f"throughput of {_in_flight(first)} with {_and([f'{n:,}' for n in later.index])}; measured "
        f"were {_and([_times(m) for m in later['measured']])}, "
        f"{_and([f'{s:.0%}' for s in later['share']])} of it. "
    )
    for n in rows[1:]:
        if curve["share"][n] < STRAIGHT:
            break
        straight = n
    if straight == rows[-1]:
        said += f"The curve keeps to perfect scaling ({STRAIGHT:.0%} or more) to the last point."
    elif straight == first:
        said += f"The curve falls behind perfect scaling before {rows[1]:,}."
    else:
        said += (
            f"The curve keeps to perfect scaling ({STRAIGHT:.0%} or more) up to {straight:,}, and "
            "falls behind it beyond."
        )
    best = rows[int(curve["measured"].to_numpy().argmax())]
    if best != rows[-1] and not _close(curve["measured"].max(), curve["measured"].iloc[-1]):
        said += f" Beyond {best:,} it falls again."
    return Sentence(said)


def scaling(sweep: Sweep, rate: str = RATE) -> pd.DataFrame:
    """A curve beside perfect scaling: by rows in flight, `measured` and `perfect` as multiples of
    the first point, and `share`, the one over the other (perfect stops at `max_num_seqs`)."""
    best = sweep.fastest(rate).set_index("rows_in_flight")[rate]
    decoding = pd.Series(best.index, index=best.index, dtype=float).clip(upper=sweep.limit)
    measured, perfect = best / best.iloc[0], decoding / decoding.iloc[0]
    return pd.DataFrame({"measured": measured, "perfect": perfect, "share": measured / perfect})


def guess(sweep: Sweep, guesses: Mapping[int, float]) -> Sentence:
    """How far a guess (rows in flight → speed-up over its first point) was from what was
    measured."""
    known = {rows: ratio for rows, ratio in guesses.items() if ratio}
    if len(known) < 2:
        return Sentence(
            "No guess was written down. It takes ten seconds, and makes the next chart worth more."
        )
    return Sentence(off_by_words(off_by(sweep.summary(), known)))


def best_points(sweeps: Mapping[str, Sweep], rate: str = RATE) -> Sentence:
    """The best point of each curve, as a multiple of its own first point."""
    said = []
    for name, sweep in sweeps.items():
        curve = scaling(sweep, rate)
        at = int(curve["measured"].to_numpy().argmax())
        said.append(
            f"{name}: {_times(curve['measured'].max())} at {curve.index[at]:,} rows in flight, "
            f"against {_in_flight(curve.index[0])}"
        )
    return Sentence("; ".join(said) + ".")


def rows_in_flight(jobs: Mapping[str, Job]) -> Sentence:
    """How full the engine was with each way to cut the same limit into batches."""
    limit = next(iter(jobs.values())).spec.rows_in_flight
    means = [job.metrics.mean_rows_in_flight for job in jobs.values()]
    rates = [job.metrics.output_tokens_per_s for job in jobs.values()]
    names = list(jobs)
    said = (
        f"Up to {limit:,} rows may be in flight. On average there were "
        f"{_and([f'{m:.0f} ({n})' for m, n in zip(means, names, strict=True)])}. "
    )
    low, top = min(rates), max(rates)
    slow, fast = names[rates.index(low)], names[rates.index(top)]
    if _close(low, top):
        return Sentence(
            said + f"In output tokens/s they can't be told apart by one run each "
            f"({_number(low)} to {_number(top)})."
        )
    return Sentence(
        said + f"The fastest, {fast}, has {_times(top / low)} the output tokens/s of the slowest, "
        f"{slow}."
    )


def stragglers(job: Job) -> Sentence:
    """How many batches a row held back, and how long finished rows lay undelivered."""
    times = job.timeline()
    late = metrics.stragglers(times)
    table = metrics.batches(times)
    held = times.loc[late, "batch_uuid"].nunique()
    return Sentence(
        f"Stragglers ({int(late.sum())} of {len(times)} rows) held back {held} of {len(table)} "
        f"batches. On average a row lay finished for {table['waiting'].mean():.0%} of "
        "its batch's time."
    )


def prefix_cache(jobs: Mapping[str, Job]) -> Sentence:
    """Two jobs of the same tokens in another order: engine time, and what the cache saved."""
    slow, fast = sorted(jobs, key=lambda name: jobs[name].metrics.engine_span_s, reverse=True)
    a, b = (jobs[name].metrics.engine_span_s for name in (slow, fast))
    if _close(a, b):
        said = f"“{slow}” took {_number(a)} s, “{fast}” {_number(b)} s: "
        said += "one run each can't tell them apart"
    else:
        said = f"“{slow}” took {_number(a)} s, {_times(a / b)} as long as “{fast}” ({_number(b)} s)"
    return Sentence(f"{said}. {_hits(jobs)}".strip())


def few_shot(zero: Job, few: Job) -> Sentence:
    """Whether prompts that are longer by examples cost the engine more time."""
    tokens = _per_row(few) / _per_row(zero)
    a, b = zero.metrics.engine_span_s, few.metrics.engine_span_s
    time = f"{_times(b / a)} the time"
    if _close(a, b):
        time = "a time that one run each can't tell from it"
    return Sentence(
        f"Few-shot prompts are {_times(tokens)} as long ({_per_row(few):.0f} against "
        f"{_per_row(zero):.0f} input tokens a row); the engine took {time} ({_number(b)} against "
        f"{_number(a)} s). {_hits({'zero-shot': zero, 'few-shot': few})} {_left(zero, few)}".strip()
    )


def _left(zero: Job, few: Job) -> str:
    """Input tokens a row that the prefix cache left to read; '' where it is not told."""
    left = [_per_row(job) * (1 - job.metrics.prefix_hit_rate) for job in (few, zero)]
    if any(map(math.isnan, left)):
        return ""
    return f"So {left[0]:.0f} tokens a row were left to read, against {left[1]:.0f}."


def compared(scores: Mapping[str, Quality], one: str, other: str) -> Sentence:
    """Whether one set of labels is better than another by macro-F1: only where the 95% intervals
    of the two do not overlap."""
    a, b = scores[one], scores[other]
    say = (
        f"{_first_up(one)}: macro-F1 {a.macro_f1:.2f} "
        f"({a.macro_f1_low:.2f}–{a.macro_f1_high:.2f}), {other}: {b.macro_f1:.2f} "
        f"({b.macro_f1_low:.2f}–{b.macro_f1_high:.2f})"
    )
    if a.macro_f1_low > b.macro_f1_high:
        return Sentence(f"{say}. {_first_up(one)} is better.")
    if b.macro_f1_low > a.macro_f1_high:
        return Sentence(f"{say}. {_first_up(other)} is better.")
    return Sentence(f"{say}. The intervals overlap: {a.rows:,} rows can't tell which is better.")


def best_labels(scores: Mapping[str, Quality], models: Sequence[str], baseline: str) -> Sentence:
    """Whether one of the language models is better than a baseline that needs none."""
    base = scores[baseline]
    better = [name for name in models if scores[name].macro_f1_low > base.macro_f1_high]
    worse = [name for name in models if scores[name].macro_f1_high < base.macro_f1_low]
    open_ = [name for name in models if name not in better and name not in worse]
    parts = []
    if better:
        parts.append(f"{_and(better)} {_is(better)} better than {baseline}")
    if open_:
        parts.append(f"{_and(open_)} can't be told from {baseline} on {base.rows:,} rows")
    if worse:
        parts.append(f"{_and(worse)} {_is(worse)} worse than {baseline}")
    said = "" if better else f" On these rows no model of this table is shown to beat {baseline}."
    return Sentence(f"By macro-F1: {'; '.join(parts)}.{said}")


def never_said(says: Iterable[str | None], labels: Sequence[str], who: str) -> Sentence:
    """Which labels were never chosen, or how often each was."""
    says = list(says)
    counts = {label: sum(one == label for one in says) for label in labels}
    lacking = [label for label, count in counts.items() if not count]
    if lacking:
        return Sentence(f"In {len(says):,} rows {who} never said {' or '.join(lacking)}.")
    parts = [f"{label} {_part(count, len(says))}" for label, count in counts.items()]
    return Sentence(f"Of {len(says):,} rows {who} called {_and(parts)}.")


def agreement(one: Job, other: Job, column: str = "says", key: str = "id") -> Sentence:
    """How many rows two jobs answered alike. key: a column that names a row in both."""
    both = one.answers[[key, column]].merge(other.answers[[key, column]], on=key)
    if both.empty:
        return Sentence("No row was answered by both.")
    same = int((both[f"{column}_x"] == both[f"{column}_y"]).sum())
    if same == len(both):
        return Sentence(f"All {same:,} answers are the same.")
    return Sentence(f"{same:,} of {len(both):,} answers are the same ({_part(same, len(both))}).")


def different_texts(answers: pd.DataFrame, by: str, column: str = "answer") -> Sentence:
    """How many different texts came out of the rows that have the same value of `by`."""
    texts = answers.groupby(by)[column].agg(["nunique", "size"])
    parts = [
        f"{different} of {rows} at {by} {value:g}"
        for value, different, rows in texts.itertuples(name=None)
    ]
    return Sentence(f"Different texts: {_and(parts)}.")


def replicas(one: Job, several: Job) -> Sentence:
    """What more engines brought in rows/s; one run each."""
    a, b = one.metrics.rows_per_s, several.metrics.rows_per_s
    said = "one run each can't tell them apart" if _close(a, b) else f"{_times(b / a)} as many"
    return Sentence(
        f"{_number(a)} rows/s with one engine, {_number(b)} with {several.spec.replicas}: {said}."
    )


def _parts(job: Job) -> tuple[float, float, float]:
    """Seconds that the mean row waited, was read (prefill) and was written (decode)."""
    times = job.timeline()
    at = [times[f"{name}_s"] for name in ("queued", "scheduled", "first_token", "last_token")]
    wait, read, write = (float((b - a).mean()) for a, b in zip(at, at[1:], strict=False))
    return wait, read, write


def _per_row(job: Job) -> float:
    return job.metrics.input_tokens / max(1, len(job.timeline()))


def _hits(jobs: Mapping[str, Job]) -> str:
    """What the prefix cache held; '' where an engine does not tell."""
    rates = {name: job.metrics.prefix_hit_rate for name, job in jobs.items()}
    if any(math.isnan(rate) for rate in rates.values()):
        return ""
    parts = [f"{rate:.0%} ({name})" for name, rate in rates.items()]
    return f"From the prefix cache came {_and(parts)} of the input tokens."


def _close(one: float, other: float) -> bool:
    return min(one, other) >= (1 - NOISE) * max(one, other)


def _number(value: float) -> str:
    if value < 0.001:
        return "0"  # of a row that waited for nothing
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _part(count: int, of: int) -> str:
    """A share that is 0% or 100% only where it is none or all."""
    share = count / of
    if 0 < share < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < share < 1 else f"{share:.0%}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 20 else f"{ratio:.1f}×" if ratio >= 1 else f"{ratio:.2g}×"


def _in_flight(rows: int) -> str:
    return f"{rows:,} in flight"


def _and(parts: Sequence[str]) -> str:
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]
