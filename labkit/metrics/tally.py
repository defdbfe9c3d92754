"""Numbers of a job of any number of rows, from sums, histograms and counts in time that add up.

A `Tally` takes rows where they are, any number of them in some hundred kilobytes; those of several
workers are merged into one, in any order. It keeps no row: `metrics.compute` has all, and is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd

from labkit.metrics.histogram import Histogram
from labkit.metrics.in_time import ENDED, QUEUED, QUEUED_AT, SLOPE, SLOPE_AT, TOKENS, InTime
from labkit.metrics.job_metrics import CUT, Metrics, nothing_answered, over_span
from labkit.metrics.job_use import EngineUse
from labkit.metrics.row_times import OTHER_HOST_S, ROW_COLUMNS

#: The spans of a row of which a job's metrics have percentiles.
SPANS = ("latency", "ttft", "tpot", "waiting", "prefill", "decode")
#: A row whose tokens take less than this (seconds) has them at once: its slope would be too steep.
AT_ONCE = 1e-3


@dataclass
class Clock:
    """The rows of one host. offset: its wall clock minus its monotonic one, as `metrics.timeline`
    finds it; first, last: the first row scheduled and the last token, by the monotonic one."""

    offset: float
    first: float = math.inf
    last: float = -math.inf
    in_time: InTime = field(default_factory=InTime)

    def merge(self, other: Clock) -> None:
        """Take over what another has of the same host."""
        self.offset = max(self.offset, other.offset)
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.in_time.merge(other.in_time)


class Tally:
    """What is kept of a job's rows. clocks: on how many hosts its engines run, at most.

    Counts and sums are exact, and so are the first and the last moment. Percentiles are at most 1%
    away from those of `metrics.compute` (or LEAST seconds). Rows in flight are looked at where the
    bins of time begin, so that a shorter peak is missed; tail and steady rate are those of the
    bins. A bin is at most 1/8192 of the time from the first row queued to the last token.
    """

    def __init__(self, clocks: int = 1):
        self.clocks = clocks
        self.rows = self.answered = self.cut = 0
        #: Of input tokens, output tokens and tokens that the prefix cache had: their sum, and of
        #: how many rows they are not known.
        self.tokens, self.unknown = np.zeros(3), np.zeros(3, np.int64)
        self.spans = {name: Histogram() for name in SPANS}
        self.in_engine_s = 0.0
        self.hosts: list[Clock] = []

    def add(self, rows: pd.DataFrame) -> None:
        """Count rows, with the columns that `metrics.compute` takes. All rows of a batch must come
        together, if engines run on several hosts."""
        good = rows[rows["last_token_ts"].notna()]
        self.rows, self.answered = self.rows + len(rows), self.answered + len(good)
        if good.empty:
            return
        arrived, *times = (good[name].to_numpy(float) for name in ROW_COLUMNS[:5])
        queued, scheduled, first, last = times
        counts = [
            good[name].to_numpy(float) if name in good else np.full(len(good), math.nan)
            for name in (*ROW_COLUMNS[5:7], "num_cached_tokens")
        ]
        self.tokens += [np.nansum(some) for some in counts]
        self.unknown += [int(np.isnan(some).sum()) for some in counts]
        if "finish_reason" in good:
            self.cut += int((good["finish_reason"] == CUT).sum())
        outputs = np.nan_to_num(counts[1])
        self.in_engine_s += float((last - queued).sum())
        after_first = np.where(outputs > 1, outputs - 1, math.nan)
        spans = [last - queued, first - queued, (last - first) / after_first]
        spans += [scheduled - queued, first - scheduled, last - first]
        for histogram, values in zip(self.spans.values(), spans, strict=True):
            histogram.add(values)
        offsets = arrived - queued
        if self.clocks > 1:
            offsets = pd.Series(offsets).groupby(good["batch_uuid"].to_numpy()).transform("max")
            offsets = offsets.to_numpy()
        for host, mine in self._by_host(offsets):
            host.offset = max(host.offset, float(offsets[mine].max()))
            host.first = min(host.first, float(scheduled[mine].min()))
            host.last = max(host.last, float(last[mine].max()))
            own = [some[mine] for some in (queued, scheduled, first, last, outputs)]
            _add_in_time(host.in_time, *own)

    def merge(self, other: Tally) -> Self:
        """Add what another one counted."""
        self.rows, self.answered = self.rows + other.rows, self.answered + other.answered
        self.cut, self.in_engine_s = self.cut + other.cut, self.in_engine_s + other.in_engine_s
        self.tokens, self.unknown = self.tokens + other.tokens, self.unknown + other.unknown
        for name, histogram in self.spans.items():
            histogram.counts = histogram.counts + other.spans[name].counts
        for clock in other.hosts:
            self._host(clock.offset).merge(clock)
        return self

    def metrics(self, started: float, finished: float, use: EngineUse | None = None) -> Metrics:
        """The metrics of the job, as `metrics.compute` has them (see there), within the limits that
        the class names."""
        failed, wall = self.rows - self.answered, finished - started
        if not self.answered:
            return nothing_answered(failed, wall)
        clock = self._one_clock()
        began = clock.offset - started  # seconds of the job at which the clock was 0
        begin, end = clock.first, clock.last
        edges = clock.in_time.edges()
        flight = clock.in_time.until(QUEUED) - clock.in_time.until(ENDED)
        peak = float(flight.max())
        below = edges[min(int(np.flatnonzero(flight >= peak / 2)[-1]) + 1, len(edges) - 1)]
        tail_at = float(np.clip(below if peak else end, begin, end))
        at = int(np.searchsorted(edges, tail_at))
        done = clock.in_time.until(TOKENS) + edges * clock.in_time.until(SLOPE)
        before_tail = float((done - clock.in_time.until(SLOPE_AT))[at])
        inputs, outputs, cached = (
            math.nan if lacking else int(tokens)
            for tokens, lacking in zip(self.tokens, self.unknown, strict=True)
        )
        if math.isnan(outputs):
            before_tail = math.nan
        return over_span(
            rows=self.answered,
            inputs=inputs,
            outputs=outputs,
            begin=begin + began,
            tail_at=tail_at + began,
            end=end + began,
            wall=wall,
            before_tail=before_tail,
            in_span=self.in_engine_s - _before(clock.in_time, begin),
            failed=failed,
            cut=self.cut,
            latency_p50_s=self.spans["latency"].quantile(0.5),
            latency_p95_s=self.spans["latency"].quantile(0.95),
            ttft_p50_s=self.spans["ttft"].quantile(0.5),
            tpot_p50_s=self.spans["tpot"].quantile(0.5),
            peak_rows_in_flight=round(peak),
            prefix_hit_rate=cached / inputs if inputs else math.nan,
            use=use or EngineUse(),
            waiting_p50_s=self.spans["waiting"].quantile(0.5),
            prefill_p50_s=self.spans["prefill"].quantile(0.5),
            decode_p50_s=self.spans["decode"].quantile(0.5),
        )

    def _by_host(self, offsets: np.ndarray) -> list[tuple[Clock, np.ndarray]]:
        """(a host, the places of its rows) for each."""
        if self.clocks == 1:
            return [(self._host(float(offsets.max())), np.arange(len(offsets)))]
        order = np.argsort(offsets, kind="stable")
        gaps = np.flatnonzero(np.diff(offsets[order]) > OTHER_HOST_S) + 1
        return [(self._host(float(offsets[some].max())), some) for some in np.split(order, gaps)]

    def _host(self, offset: float) -> Clock:
        """The host that has this offset, about; with one clock, whatever it is."""
        near = min(self.hosts, key=lambda host: abs(host.offset - offset), default=None)
        if near is not None and (self.clocks == 1 or abs(near.offset - offset) <= OTHER_HOST_S):
            return near
        self.hosts.append(Clock(offset))
        return self.hosts[-1]

    def _one_clock(self) -> Clock:
        """All hosts by the clock of one. Offsets that are closest are one, until there are no more
        than `clocks`."""
        hosts = sorted(self.hosts, key=lambda host: host.offset)
        while len(hosts) > self.clocks:
            gaps = [high.offset - low.offset for low, high in zip(hosts, hosts[1:], strict=False)]
            at = int(np.argmin(gaps))
            joined = Clock(hosts[at].offset)
            for host in (hosts.pop(at), hosts.pop(at)):
                joined.merge(host)
            hosts.insert(at, joined)
        (first, *others) = hosts
        every = Clock(first.offset, first.first, first.last)
        every.in_time.merge(first.in_time)
        for host in others:
            shift = host.offset - first.offset
            every.first = min(every.first, host.first + shift)
            every.last = max(every.last, host.last + shift)
            every.in_time.merge(host.in_time, shift)
        return every


def _add_in_time(
    in_time: InTime,
    queued: np.ndarray,
    scheduled: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    tokens: np.ndarray,
) -> None:
    """Rows, and their tokens as `metrics.tokens_until` spreads them: evenly from the first to the
    last, or from when the row was scheduled where the first is not known."""
    in_time.add(QUEUED, queued, np.ones(len(queued)))
    in_time.add(QUEUED_AT, queued, queued)
    in_time.add(ENDED, last, np.ones(len(last)))
    known = ~np.isnan(first)
    begin = np.where(known, first, scheduled)
    lasting = last - begin > AT_ONCE
    at_begin = np.where(lasting, np.minimum(tokens, known), tokens)
    in_time.add(TOKENS, begin, at_begin)
    slope = (tokens - at_begin) / np.where(lasting, last - begin, 1.0)
    for moments, change in ((begin, slope), (last, -slope)):
        in_time.add(SLOPE, moments, change)
        in_time.add(SLOPE_AT, moments, change * moments)


def _before(in_time: InTime, begin: float) -> float:
    """Seconds that rows were queued before `begin`, all of them together."""
    edges = in_time.edges()
    rows, moments = (in_time.sums[kind][edges[:-1] < begin] for kind in (QUEUED, QUEUED_AT))
    return float(np.maximum(rows * begin - moments, 0.0).sum())
