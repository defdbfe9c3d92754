"""Numbers of a job, computed from its rows' own timestamps. Pure: no Ray, no clock, no engine.

Input everywhere: a frame with one row for each answered or failed row and the columns of
`ROW_COLUMNS`; failed rows hold NaN there. Names follow vLLM's and AIPerf's benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pandas as pd

from labkit.metrics.job_use import EngineUse
from labkit.metrics.row_times import ROW_COLUMNS, rows_in_flight, tail_start, timeline, tokens_until

#: The finish reason of a row that was cut at `max_tokens`, or where the context ended.
CUT = "length"
#: A card tells of its last second or so: of a shorter engine span than this that says little.
CARD_TELLS_S = 10.0


@dataclass(frozen=True)
class Metrics:
    """What a job did. Times in seconds, rates per second.

    wall_s = startup_s + engine_span_s + shutdown_s. The engine span runs from the first row
    scheduled to the last token; the tail is its last part, in which fewer than half of the peak
    rows are in flight; the steady rate is the one before the tail.
    Token counts and their rates are NaN where a server did not tell them of every row; so are
    prefix_hit_rate (a share of the input tokens), preemptions and card_busy (the share of the
    engine span in which the busiest card ran kernels, those of other programs included) where an
    engine does not, card_busy of spans under CARD_TELLS_S, too. cut: rows that are known to
    have been cut at `max_tokens`, failed ones (half of a JSON object) among them.
    """

    rows: int
    failed: int
    cut: int
    input_tokens: float
    output_tokens: float
    wall_s: float
    startup_s: float
    engine_span_s: float
    tail_s: float
    shutdown_s: float
    rows_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    steady_output_tokens_per_s: float
    latency_p50_s: float
    latency_p95_s: float
    ttft_p50_s: float
    tpot_p50_s: float
    peak_rows_in_flight: int
    mean_rows_in_flight: float
    prefix_hit_rate: float = math.nan
    preemptions: float = math.nan
    waiting_p50_s: float = math.nan
    prefill_p50_s: float = math.nan
    decode_p50_s: float = math.nan
    card_busy: float = math.nan

    def table(self) -> pd.DataFrame:
        """One row a metric: `value` as text with its unit, and what it means. A card has one where
        there is a card that tells."""
        rows = [
            (label, _show(getattr(self, name), unit), text)
            for name, label, unit, text in _ROWS
            if not (name == "card_busy" and math.isnan(self.card_busy))
        ]
        return pd.DataFrame(rows, columns=["metric", "value", "meaning"]).set_index("metric")

    def remark(self) -> str:
        """What a reader must know of the answers, in a sentence; '' for nothing."""
        if not self.cut:
            return ""
        return (
            f"{self.cut:,} of {self.rows + self.failed:,} answers were cut at max_tokens: raise it "
            "where the whole answer matters."
        )

    def as_dict(self) -> dict[str, float]:
        """All numbers by their field name."""
        return asdict(self)


_ROWS = (
    ("rows", "rows answered", "", ""),
    ("failed", "rows failed", "", "kept apart, each with its reason"),
    ("cut", "rows cut", "", "their answer ended at max_tokens, not by itself"),
    ("input_tokens", "input tokens", "", ""),
    ("output_tokens", "output tokens", "", ""),
    ("wall_s", "wall time", "s", "all of it, from the call to the result"),
    ("startup_s", "startup", "s", "until the first row is scheduled on the engine"),
    ("engine_span_s", "engine span", "s", "first row scheduled to last token"),
    ("tail_s", "tail", "s", "end of the span, under half of the peak rows in flight"),
    ("shutdown_s", "shutdown", "s", "last token to the result"),
    ("rows_per_s", "rows/s", "", "over the engine span"),
    ("output_tokens_per_s", "output tokens/s", "", "over the engine span"),
    ("total_tokens_per_s", "total tokens/s", "", "input and output, over the engine span"),
    ("steady_output_tokens_per_s", "steady output tokens/s", "", "before the tail"),
    ("latency_p50_s", "row latency p50", "s", "queued to last token, half of the rows"),
    ("latency_p95_s", "row latency p95", "s", "19 of 20 rows are faster"),
    ("waiting_p50_s", "waiting p50", "s", "queued to scheduled: at the engine's door"),
    ("prefill_p50_s", "prefill p50", "s", "scheduled to first token: the prompt is read"),
    ("decode_p50_s", "decode p50", "s", "first to last token: the answer is written"),
    ("ttft_p50_s", "TTFT p50", "s", "queued to first token: waiting and prefill"),
    ("tpot_p50_s", "TPOT p50", "s", "time for each output token after the first"),
    ("peak_rows_in_flight", "peak rows in flight", "", "at the engine at once"),
    ("mean_rows_in_flight", "mean rows in flight", "", "over the engine span"),
    (
        "prefix_hit_rate",
        "prefix cache hits",
        "%",
        "of the input tokens: read before",
    ),
    ("preemptions", "preemptions", "", "rows put back for lack of KV cache, and begun anew"),
    ("card_busy", "card at work", "%", "of the engine span: it ran kernels, by NVIDIA's own count"),
)


def _show(value: float, unit: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "–"
    if unit == "%":
        return f"{value:.0%}"
    digits = 0 if isinstance(value, int) or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def compute(
    rows: pd.DataFrame,
    started: float,
    finished: float,
    clocks: int = 1,
    use: EngineUse | None = None,
) -> Metrics:
    """All metrics of one job.

    rows: columns of ROW_COLUMNS, one row each; failed rows have NaN in `last_token_ts`. With a
    column `finish_reason`, rows that were cut are counted; with `num_cached_tokens`, the hits of
    the prefix cache.
    started, finished: Unix seconds of the call and of its result.
    clocks: on how many hosts its engines ran, at most (see `timeline`). use: see EngineUse.
    Raises ValueError when a column is missing or the job ended before it began.
    """
    if lacking := [name for name in ROW_COLUMNS if name not in rows.columns]:
        raise ValueError(f"rows lack the columns {lacking}")
    if finished < started:
        raise ValueError(f"finished ({finished}) is before started ({started})")
    times = timeline(rows, started, clocks)
    failed, wall = len(rows) - len(times), finished - started
    inputs, outputs = map(_total, (times["num_input_tokens"], times["num_generated_tokens"]))
    if times.empty:
        return nothing_answered(failed, wall)
    begin, end = float(times["scheduled_s"].min()), float(times["last_token_s"].max())
    flight = rows_in_flight(times)
    tail_at = tail_start(flight, begin, end)
    before_tail = float(tokens_until(times, [tail_at])[0])
    latency = times["last_token_s"] - times["queued_s"]
    in_span = times["last_token_s"] - times["queued_s"].clip(lower=begin)
    after_first = (times["num_generated_tokens"] - 1).where(times["num_generated_tokens"] > 1)
    tpot = (times["last_token_s"] - times["first_token_s"]) / after_first
    return over_span(
        rows=len(times),
        inputs=inputs,
        outputs=outputs,
        begin=begin,
        tail_at=tail_at,
        end=end,
        wall=wall,
        before_tail=before_tail,
        in_span=float(in_span.sum()),
        failed=failed,
        cut=int((times["finish_reason"] == CUT).sum()) if "finish_reason" in times else 0,
        latency_p50_s=float(latency.quantile(0.5)),
        latency_p95_s=float(latency.quantile(0.95)),
        ttft_p50_s=float((times["first_token_s"] - times["queued_s"]).quantile(0.5)),
        tpot_p50_s=float(tpot.quantile(0.5)),
        peak_rows_in_flight=int(flight["rows"].max()),
        prefix_hit_rate=_hit_rate(times, inputs),
        use=use or EngineUse(),
        waiting_p50_s=float((times["scheduled_s"] - times["queued_s"]).quantile(0.5)),
        prefill_p50_s=float((times["first_token_s"] - times["scheduled_s"]).quantile(0.5)),
        decode_p50_s=float((times["last_token_s"] - times["first_token_s"]).quantile(0.5)),
    )


def over_span(
    *,
    rows: int,
    inputs: float,
    outputs: float,
    begin: float,
    tail_at: float,
    end: float,
    wall: float,
    before_tail: float,
    in_span: float,
    use: EngineUse,
    **others: Any,
) -> Metrics:
    """The metrics that follow from counts and moments: spans, rates, the mean rows in flight.

    inputs, outputs: tokens. begin, tail_at, end: of the engine span and its tail, seconds since the
    call; wall: those until its result. before_tail: output tokens until `tail_at`. in_span: seconds
    that rows were in flight in the span, all of them together. use: what the engines told beside
    the rows. others: as Metrics has them.
    """
    span, steady = max(end - begin, 1e-9), tail_at - begin
    return Metrics(
        rows=rows,
        input_tokens=inputs,
        output_tokens=outputs,
        wall_s=wall,
        startup_s=begin,
        engine_span_s=span,
        tail_s=end - tail_at,
        shutdown_s=wall - end,
        rows_per_s=rows / span,
        output_tokens_per_s=outputs / span,
        total_tokens_per_s=(inputs + outputs) / span,
        steady_output_tokens_per_s=before_tail / steady if steady > 0 else outputs / span,
        mean_rows_in_flight=in_span / span,
        preemptions=use.preemptions,
        card_busy=_at_work(use.card_s, span),
        **others,
    )


def _at_work(card_s: float, span: float) -> float:
    """The share of the engine span in which the card was at work; a look may end after it."""
    known = span >= CARD_TELLS_S and not math.isnan(card_s)
    return min(card_s / span, 1.0) if known else math.nan


def _hit_rate(times: pd.DataFrame, inputs: float) -> float:
    if "num_cached_tokens" not in times or not inputs:
        return math.nan
    return _total(times["num_cached_tokens"].astype(float)) / inputs


def _total(counts: pd.Series) -> float:
    """All of them; NaN where one is not known."""
    total = counts.sum(skipna=False)
    return math.nan if math.isnan(total) else int(total)


def without_unreadable(found: Metrics, answered: int, failed: int) -> Metrics:
    """The numbers of a job some of whose answers can't be read: they took the engine's time and its
    tokens, but are no answers, in the count and in rows/s."""
    rate = answered / found.engine_span_s if found.engine_span_s else found.rows_per_s
    return replace(found, rows=answered, failed=failed, rows_per_s=rate)


def nothing_answered(failed: int, wall: float) -> Metrics:
    """The metrics of a job without an answered row."""
    counts = {"rows": 0, "failed": failed, "cut": 0, "input_tokens": 0, "output_tokens": 0}
    times = {"wall_s": wall, "startup_s": wall, "engine_span_s": 0.0, "peak_rows_in_flight": 0}
    rest = {"tail_s": 0.0, "shutdown_s": 0.0, "mean_rows_in_flight": 0.0}
    unknown = {one.name: math.nan for one in fields(Metrics)}
    return Metrics(**(unknown | counts | times | rest))  # type: ignore[arg-type]


def compare(metrics: Sequence[Metrics], names: Sequence[str]) -> pd.DataFrame:
    """Jobs side by side: a row a job; `speed-up` is output tokens/s over that of the first."""
    frame = pd.DataFrame(
        {
            "rows": [m.rows for m in metrics],
            "peak rows in flight": [m.peak_rows_in_flight for m in metrics],
            "mean rows in flight": [m.mean_rows_in_flight for m in metrics],
            "startup (s)": [m.startup_s for m in metrics],
            "engine span (s)": [m.engine_span_s for m in metrics],
            "output tokens/s": [m.output_tokens_per_s for m in metrics],
            "row latency p95 (s)": [m.latency_p95_s for m in metrics],
        },
        index=pd.Index(names, name="job"),
    )
    frame["speed-up"] = frame["output tokens/s"] / frame["output tokens/s"].iloc[0]
    return frame
