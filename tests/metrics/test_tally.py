"""labkit.metrics.tally: what is added up by parts says what `metrics.compute` says of all rows."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labkit.metrics import EngineUse, Metrics, compute, histogram, in_time, timeline, tokens_until
from labkit.metrics.tally import Tally
from tests.metrics.test_job_metrics import EXAMPLE, TICK, frame, jobs, row

PERCENTILES = {"latency_p50_s", "latency_p95_s", "ttft_p50_s", "tpot_p50_s"}
PERCENTILES |= {"waiting_p50_s", "prefill_p50_s", "decode_p50_s"}
#: What is read off the bins of time.
IN_TIME = {"tail_s", "steady_output_tokens_per_s", "peak_rows_in_flight", "mean_rows_in_flight"}


def summed(rows: pd.DataFrame, order: list[int], clocks: int = 1) -> Tally:
    """The rows of each batch, and those that failed, in a tally of their own; then merged."""
    parts = [part for _, part in rows.groupby("batch_uuid", dropna=False)]
    tallies = []
    for part in parts:
        tallies.append(Tally(clocks))
        tallies[-1].add(part)
    whole = Tally(clocks)
    for place in sorted(range(len(tallies)), key=lambda n: order[n % len(order)]):
        whole.merge(as_ray_brings_it(tallies[place]))
    return whole


def as_ray_brings_it(one: Tally) -> Tally:
    """From another process, with arrays that can't be written to."""
    copy: Tally = pickle.loads(pickle.dumps(one))
    arrays = [histogram.counts for histogram in copy.spans.values()]
    arrays += [copy.tokens, copy.unknown, *(host.in_time.sums for host in copy.hosts)]
    for array in arrays:
        array.setflags(write=False)
    return copy


def close(found: Metrics, exact: Metrics, but: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    for name, value in exact.as_dict().items():
        if name not in but:
            near = {"rel": 0.0101, "abs": histogram.LEAST} if name in PERCENTILES else {"rel": 1e-6}
            wanted = pytest.approx(value, nan_ok=True, **{"abs": 1e-6, **near})
            assert getattr(found, name) == wanted, name


order = st.permutations(range(5))


@given(jobs(longest=3000), order)
def test_a_short_job_has_the_same_numbers(job: Any, order: list[int]) -> None:
    """Its bins are as fine as the moments of its rows: but for percentiles all is exact, and the
    tail up to a bin."""
    rows, started, finished = job
    found = summed(rows, order).metrics(started, finished, EngineUse(3))
    exact = compute(rows, started, finished, use=EngineUse(3))
    close(found, exact, IN_TIME - {"peak_rows_in_flight"})
    assert found.mean_rows_in_flight == pytest.approx(exact.mean_rows_in_flight)
    assert found.tail_s == pytest.approx(exact.tail_s, abs=1.001 * in_time.FINEST)
    times = timeline(rows, started)
    begin, tail_at = exact.startup_s, exact.startup_s + exact.engine_span_s - exact.tail_s
    made = found.steady_output_tokens_per_s * (found.engine_span_s - found.tail_s)
    least, most = tokens_until(times, [tail_at - 1e-6, tail_at + 1.001 * in_time.FINEST])
    assert least - 0.01 <= made <= most + 0.01 or tail_at - begin < in_time.FINEST


@given(jobs(), order, st.integers(1, 1000))
def test_a_long_job_has_the_same_sums_and_percentiles(
    job: Any, order: list[int], slower: int
) -> None:
    """Its bins become wider, whatever comes first."""
    rows, started, finished = job
    names = ["queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"]
    waits = rows["queued_ts"] + 1.7e9 - rows["arrival_time"]
    rows[names] = (rows[names].astype(float) - 5000) * slower + 5000
    rows["arrival_time"] = rows["queued_ts"] + 1.7e9 - waits
    finished = 1.7e9 + rows["last_token_ts"].max() + 1
    found = summed(rows, order).metrics(started, finished)
    exact = compute(rows, started, finished)
    close(found, exact, IN_TIME)
    assert 0 <= found.peak_rows_in_flight <= exact.peak_rows_in_flight
    whole = rows["last_token_ts"].max() - rows["queued_ts"].min()
    bins = exact.rows * whole / exact.engine_span_s * 2 / in_time.BINS
    assert found.mean_rows_in_flight == pytest.approx(exact.mean_rows_in_flight, abs=2 * bins)
    assert 0 <= found.tail_s <= found.engine_span_s + 1e-9
    for host in summed(rows, order).hosts:
        assert host.in_time.sums.shape[1] <= in_time.BINS
        assert host.in_time.width <= max(in_time.FINEST, 2.01 * whole / in_time.BINS * 2)


@given(jobs(min_rows=2, longest=3000), order, st.integers(2_000_000, 1_000_000_000))
def test_a_second_host_changes_nothing_but_its_own_clock(
    job: Any, order: list[int], engine: int
) -> None:
    rows, started, finished = job
    good = rows["last_token_ts"].notna()
    there = good & rows["batch_uuid"].isin(["a", "b"])
    assume(there.any() and (good & ~there).any())
    rows.loc[good, "arrival_time"] = rows.loc[good, "queued_ts"].astype(float) + 1.7e9
    moved = rows.copy()
    for name in ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"):
        moved.loc[there, name] = moved.loc[there, name].astype(float) + engine / TICK
    found = summed(moved, order, clocks=2)
    assert len(found.hosts) == 2
    here = summed(rows, order, clocks=2).metrics(started, finished)
    but = {"tail_s", "steady_output_tokens_per_s"}
    close(found.metrics(started, finished), here, but)
    assert found.metrics(started, finished).tail_s == pytest.approx(here.tail_s, abs=0.01)


def test_by_hand() -> None:
    found = summed(EXAMPLE, [0]).metrics(1000, 1025)
    close(found, compute(EXAMPLE, 1000, 1025), {"tail_s", "steady_output_tokens_per_s"})
    assert found.tail_s == pytest.approx(compute(EXAMPLE, 1000, 1025).tail_s, abs=0.001)
    assert found.steady_output_tokens_per_s == pytest.approx(
        compute(EXAMPLE, 1000, 1025).steady_output_tokens_per_s, rel=0.001
    )


def test_tokens_that_are_not_known_of_every_row_are_not_counted() -> None:
    rows = frame(row(110, 110, 111, 114, 4), row(110, 110, 111, 112, 4))
    rows["num_generated_tokens"] = [4, None]
    rows = rows.assign(num_cached_tokens=[5, 5], finish_reason=None)
    found = summed(rows, [0]).metrics(1000, 1025)
    assert np.isnan(found.output_tokens) and np.isnan(found.steady_output_tokens_per_s)
    assert (found.input_tokens, found.prefix_hit_rate, found.cut) == (20, 0.5, 0)


@pytest.mark.parametrize("failed", [0, 3])
def test_nothing_answered(failed: int) -> None:
    rows = frame(*[dict.fromkeys(EXAMPLE)] * failed)
    close(summed(rows, [0]).metrics(10, 12), compute(rows, 10, 12))


def test_times_that_are_all_one_moment() -> None:
    """As a stand-in engine has them."""
    found = summed(frame(*[row(110, 110, 110, 110, 2)] * 9), [0]).metrics(1000, 1025)
    assert (found.rows, found.output_tokens, found.latency_p50_s) == (9, 18, 0)


def test_a_tally_of_a_million_rows_is_as_large_as_one_of_a_few() -> None:
    rows, sizes = frame(*[row(110, 110, 111, 114, 4)] * 10_000), []
    counted = Tally()
    for at in range(100):
        later = rows.copy()
        names = ["arrival_time", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"]
        later[names] += 100.0 * at
        counted.add(later)
        sizes.append(len(pickle.dumps(counted)))
    assert counted.rows == 1_000_000 and max(sizes) < 2**20
