"""Numbers of a job, computed from its rows' own timestamps. Pure: no Ray, no clock, no engine.

Input everywhere: a frame with one row for each answered or failed row and the columns of
`ROW_COLUMNS`; failed rows hold NaN there. Names follow vLLM's and AIPerf's benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
import pandas as pd

#: What the engine reports for each row. `arrival_time` is wall clock (Unix seconds); the `_ts`
#: columns are the engine host's monotonic clock (vLLM `RequestStateStats`).
ROW_COLUMNS = (
    "arrival_time",
    "queued_ts",
    "scheduled_ts",
    "first_token_ts",
    "last_token_ts",
    "num_input_tokens",
    "num_generated_tokens",
    "batch_uuid",
)
#: The finish reason of a row that was cut at `max_tokens`, or where the context ended.
CUT = "length"
#: Where engines may run on several hosts: clocks further apart than this (seconds) are two.
OTHER_HOST_S = 1.0


@dataclass(frozen=True)
class Metrics:
    """What a job did. Times in seconds, rates per second.

    wall_s = startup_s + engine_span_s + shutdown_s. The engine span runs from the first row
    scheduled to the last token; the tail is its last part, in which fewer than half of the peak
    rows are in flight; the steady rate is the one before the tail.
    Token counts and their rates are NaN where a server did not tell them of every row; so are
    prefix_hit_rate (a share of the input tokens) and preemptions where an engine does not. cut:
    rows that are known to have been cut at `max_tokens`, failed ones (half of a JSON object) among
    them.
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

    def table(self) -> pd.DataFrame:
        """One row a metric: `value` as text with its unit, and what it means."""
        rows = [
            (label, _show(getattr(self, name), unit), text) for name, label, unit, text in _ROWS
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
)


def _show(value: float, unit: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "–"
    if unit == "%":
        return f"{value:.0%}"
    digits = 0 if isinstance(value, int) or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


#: The kinds of process of a job, as readers meet them.
DRIVER = "this program"
TEXT = "the process of prompts and texts"
FRONT_END = "the engine's front end"
CORE = "the engine's own process"


@dataclass
class EngineUse:
    """What a job's processes tell beside its rows; it is filled in when the job ends.

    preemptions: of all its engines; NaN where they do not tell. cpu_s: seconds of CPU time by kind
    of process; of several of one kind, those of the busiest. replayed: on what a job that is played
    back was recorded, '' for a real one; clock: when that began and ended (Unix seconds).
    answers_only: what is wanted of a recording are answers: they may be of several jobs.
    """

    preemptions: float = math.nan
    cpu_s: dict[str, float] = field(default_factory=dict)
    replayed: str = ""
    clock: tuple[float, float] | None = None
    answers_only: bool = False


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
    span = max(end - begin, 1e-9)
    flight = rows_in_flight(times)
    tail_at = tail_start(flight, begin, end)
    before_tail = float(tokens_until(times, [tail_at])[0])
    latency = times["last_token_s"] - times["queued_s"]
    in_span = times["last_token_s"] - times["queued_s"].clip(lower=begin)
    after_first = (times["num_generated_tokens"] - 1).where(times["num_generated_tokens"] > 1)
    tpot = (times["last_token_s"] - times["first_token_s"]) / after_first
    steady = tail_at - begin
    return Metrics(
        rows=len(times),
        failed=failed,
        cut=int((times["finish_reason"] == CUT).sum()) if "finish_reason" in times else 0,
        input_tokens=inputs,
        output_tokens=outputs,
        wall_s=wall,
        startup_s=begin,
        engine_span_s=span,
        tail_s=end - tail_at,
        shutdown_s=wall - end,
        rows_per_s=len(times) / span,
        output_tokens_per_s=outputs / span,
        total_tokens_per_s=(inputs + outputs) / span,
        steady_output_tokens_per_s=before_tail / steady if steady > 0 else outputs / span,
        latency_p50_s=float(latency.quantile(0.5)),
        latency_p95_s=float(latency.quantile(0.95)),
        ttft_p50_s=float((times["first_token_s"] - times["queued_s"]).quantile(0.5)),
        tpot_p50_s=float(tpot.quantile(0.5)),
        peak_rows_in_flight=int(flight["rows"].max()),
        mean_rows_in_flight=float(in_span.sum() / span),
        prefix_hit_rate=_hit_rate(times, inputs),
        preemptions=(use or EngineUse()).preemptions,
        waiting_p50_s=float((times["scheduled_s"] - times["queued_s"]).quantile(0.5)),
        prefill_p50_s=float((times["first_token_s"] - times["scheduled_s"]).quantile(0.5)),
        decode_p50_s=float((times["last_token_s"] - times["first_token_s"]).quantile(0.5)),
    )


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


def timeline(rows: pd.DataFrame, started: float = 0.0, clocks: int = 1) -> pd.DataFrame:
    """The answered rows with their times in seconds since `started`, in the order of scheduling.

    Adds queued_s, scheduled_s, first_token_s, last_token_s. Wall clock minus monotonic clock turns
    the one into the other. A row arrives before it is queued, by the rest of the step that the
    engine is at, so the largest difference of all rows is the best; it is one for a host.

    clocks: on how many hosts the engines ran, at most. With one, all rows have one clock, however
    long they waited. With more, each batch ran on one host, and the batches are told apart at the
    `clocks - 1` widest gaps between their differences, where these are wider than OTHER_HOST_S.
    """
    good = rows[rows["last_token_ts"].notna()].copy()
    for name in ROW_COLUMNS[:-1]:
        good[name] = good[name].astype(float)
    batch_offset = (good["arrival_time"] - good["queued_ts"]).groupby(good["batch_uuid"]).max()
    offsets = good["batch_uuid"].map(_by_host(batch_offset, clocks))
    for name in ("queued", "scheduled", "first_token", "last_token"):
        good[f"{name}_s"] = good[f"{name}_ts"] + offsets.astype(float) - started
    return good.sort_values("scheduled_s", kind="stable")


def _by_host(batch_offset: pd.Series, clocks: int) -> pd.Series:
    ordered = batch_offset.sort_values()
    gaps = ordered.diff()
    widest = gaps.nlargest(clocks - 1).index
    host = (gaps.index.isin(widest) & (gaps > OTHER_HOST_S)).cumsum()
    return ordered.groupby(host).transform("max")


def rows_in_flight(times: pd.DataFrame) -> pd.DataFrame:
    """Rows at the engine over time: columns `t_s` and `rows`, a step at each change.

    times: a frame of `timeline`. A row is in flight from queued to last token.
    """
    change = pd.concat(
        [pd.Series(1, index=times["queued_s"]), pd.Series(-1, index=times["last_token_s"])]
    )
    steps = change.groupby(level=0).sum().sort_index().cumsum()
    return pd.DataFrame({"t_s": steps.index.to_numpy(float), "rows": steps.to_numpy(int)})


def tail_start(flight: pd.DataFrame, begin: float, end: float) -> float:
    """When the tail begins: after this, rows in flight stay below half of their peak."""
    busy = flight[flight["rows"] >= flight["rows"].max() / 2]
    after = flight["t_s"][flight["t_s"] > busy["t_s"].max()]
    return float(np.clip(after.min() if len(after) else end, begin, end))


def tokens_until(times: pd.DataFrame, t_s: Sequence[float] | np.ndarray) -> np.ndarray:
    """Output tokens produced until each moment of `t_s` (seconds); an array of the same length.

    Each row's tokens are spread evenly between its first and its last token: the engine reports
    those two moments only. An endpoint reports no first token: evenly from when the row was sent.
    """
    at = np.asarray(t_s, dtype=float)[:, None]
    known = times["first_token_s"].notna().to_numpy()
    first = times["first_token_s"].fillna(times["scheduled_s"]).to_numpy()
    last = times["last_token_s"].to_numpy()
    tokens = times["num_generated_tokens"].to_numpy(float)
    share = np.clip((at - first) / np.maximum(last - first, 1e-9), 0, 1)
    started = at >= first
    done = started * np.minimum(tokens, known + share * np.maximum(tokens - known, 0))
    return done.sum(axis=1)


def over_time(times: pd.DataFrame, parts: int = 60) -> pd.DataFrame:
    """How a job went: its engine span in equal stretches, a row each. `t_s`: the end of it, in
    seconds since the call; `rows`: answered until then; `rows_per_s` and `output_tokens_per_s`: of
    the rows that ended in it (NaN where a server counts no tokens).

    times: a frame of `timeline`; no rows, no stretches.
    """
    names = ["t_s", "rows", "rows_per_s", "output_tokens_per_s"]
    if times.empty:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in names})
    begin, end = float(times["scheduled_s"].min()), float(times["last_token_s"].max())
    edges = np.linspace(begin, max(end, begin + 1e-6), parts + 1)
    ends = times["last_token_s"].clip(lower=edges[0], upper=edges[-1])
    rows = np.histogram(ends, edges)[0]
    tokens = np.histogram(ends, edges, weights=times["num_generated_tokens"].to_numpy(float))[0]
    width = edges[1] - edges[0]
    columns = (edges[1:], rows.cumsum(), rows / width, tokens / width)
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


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


def rate_in_parts(times: pd.DataFrame, parts: int = 3) -> np.ndarray:
    """Output tokens/s in each of `parts` equal stretches of the engine span (its spread)."""
    edges = np.linspace(times["scheduled_s"].min(), times["last_token_s"].max(), parts + 1)
    return np.diff(tokens_until(times, edges)) / np.diff(edges)


def batches(times: pd.DataFrame) -> pd.DataFrame:
    """A row a batch, in the order of their first row: rows, seconds, and what was lost waiting.

    `span_s`: first row queued to last token. `last_row_s`: how long the batch waited for its last
    row after half of its rows were done. `waiting`: mean share of the batch's span that a row
    spends done but undelivered, because a batch is handed on when its last row ends.
    """
    groups = times.groupby("batch_uuid", sort=False)
    start, end = groups["queued_s"].min(), groups["last_token_s"].max()
    half = groups["last_token_s"].median()
    mean_end = groups["last_token_s"].mean()
    frame = pd.DataFrame(
        {
            "rows": groups.size(),
            "start_s": start,
            "span_s": end - start,
            "last_row_s": end - half,
            "waiting": (end - mean_end) / (end - start),
        }
    )
    return frame.sort_values("start_s").reset_index(drop=True)


def stragglers(times: pd.DataFrame) -> pd.Series:
    """True for the rows that hold their batch back.

    A row whose last token comes in the last quarter of its batch's time, in a batch of which half
    the rows were done within the first half.
    """
    groups = times.groupby("batch_uuid", sort=False)
    start = groups["queued_s"].transform("min")
    span = (groups["last_token_s"].transform("max") - start).clip(lower=1e-9)
    done = (times["last_token_s"] - start) / span
    half_early = done.groupby(times["batch_uuid"]).transform("median") <= 0.5
    return (done > 0.75) & half_early
