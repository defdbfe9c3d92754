"""When each row was where: its times on one clock, and what is counted over time and by batch.

`times` is everywhere a frame of `timeline`: the answered rows, in seconds since the call.
"""

from __future__ import annotations

from collections.abc import Sequence

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


#: Where engines may run on several hosts: clocks further apart than this (seconds) are two.
OTHER_HOST_S = 1.0
#: What a row does, from one of its times to another.
PHASES = {
    "decoding": ("first_token_s", "last_token_s"),
    "in prefill": ("scheduled_s", "first_token_s"),
    "waiting at the engine's door": ("queued_s", "scheduled_s"),
}


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
    steps = _changes(times["queued_s"], times["last_token_s"]).sort_index().cumsum()
    return pd.DataFrame({"t_s": steps.index.to_numpy(float), "rows": steps.to_numpy(int)})


def _changes(begin: pd.Series, end: pd.Series) -> pd.Series:
    """By how many there are more or less at each moment that one begins or ends."""
    return pd.concat([pd.Series(1, index=begin), pd.Series(-1, index=end)]).groupby(level=0).sum()


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


def middle_row(rows: pd.DataFrame) -> pd.Series:
    """(waiting, prefill, decode) in seconds of a row in the middle of a frame of `Job.timeline`;
    prefill is NaN, and in decode, where no first token is known."""
    latency = rows["last_token_s"] - rows["queued_s"]
    few = max(1, round(len(rows) / 5))
    middle = rows.loc[(latency - latency.median()).abs().nsmallest(few).index]
    first = middle["first_token_s"]
    known = first.notna().all()
    begun = first if known else middle["scheduled_s"]
    return pd.Series(
        {
            "waiting": (middle["scheduled_s"] - middle["queued_s"]).mean(),
            "prefill": (first - middle["scheduled_s"]).mean() if known else np.nan,
            "decode": (middle["last_token_s"] - begun).mean(),
        }
    )


def in_phases(rows: pd.DataFrame) -> pd.DataFrame:
    """How many rows of a `Job.timeline` are in each of PHASES: a row at each change, by seconds.
    Where the first token is not known, a row counts as decoding from when it was scheduled."""
    first = rows["first_token_s"].fillna(rows["scheduled_s"])
    rows = rows.assign(first_token_s=first)
    changes = {part: _changes(rows[begin], rows[end]) for part, (begin, end) in PHASES.items()}
    return pd.DataFrame(changes).fillna(0).sort_index().cumsum()


def takes_a_place(rows: pd.DataFrame) -> pd.Series:
    """True for the rows of a `Job.timeline` that take a place which another row has left while rows
    that worked beside that one go on: continuous batching. Where all rows of a batch end before the
    next batch begins, there are none."""
    starts, ends = np.sort(rows["scheduled_s"]), np.sort(rows["last_token_s"])
    begun = rows["scheduled_s"].to_numpy()
    ended = np.searchsorted(ends, begun, "right")
    last_end = ends[np.maximum(ended, 1) - 1]
    beside = np.searchsorted(starts, last_end, "left") - ended
    return pd.Series((ended > 0) & (beside > 0), index=rows.index)
