"""results.job_estimate: from a few runs to an interval, and what of it is sure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.job_estimate import DRIFT, T90, Interval, Run, job_seconds, ratio, t90


def runs_of(once: float, each: float, noise: float, seed: int = 0, repeats: int = 6) -> list[Run]:
    """Runs of 100 rows, 10 of them in the tail, each with its own noise (a share of its time)."""
    random = np.random.default_rng(seed)
    speeds = 1 + noise * random.standard_normal(repeats)
    return [Run(100, (once + each * 90) * speed, once * speed, 90.0) for speed in speeds]


costs = st.floats(0.001, 10)


@given(costs, costs, st.integers(100, 10**7))
def test_runs_without_noise_tell_the_job_and_nothing_is_scaled_that_comes_once(
    once: float, each: float, rows: int
) -> None:
    found = job_seconds(rows, runs_of(once, each, 0), drift=0)
    assert found.value == pytest.approx(once + each * (rows - 10))
    assert found.width < 1e-6


@given(st.integers(0, 1000), st.floats(0.001, 0.05), st.floats(1.1, 4))
def test_more_noise_widens_the_interval(seed: int, noise: float, more: float) -> None:
    calm, loud = (
        job_seconds(10_000, runs_of(1, 0.1, n, seed), drift=0) for n in (noise, noise * more)
    )
    assert loud.high - loud.low > calm.high - calm.low


@given(st.integers(0, 1000), st.integers(100, 10**6), st.integers(1, 100))
def test_more_rows_take_longer_and_the_rate_settles(seed: int, rows: int, times: int) -> None:
    runs = runs_of(1, 0.1, 0.02, seed)
    one, many = job_seconds(rows, runs), job_seconds(rows * times, runs)
    assert many.value >= one.value and many.high >= one.high
    each = (many.value - one.value) / (rows * max(1, times - 1))
    assert times == 1 or each == pytest.approx(0.1, rel=0.1)


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 0.99)), min_size=2, max_size=8),
    st.integers(0, 10**6),
)
def test_an_interval_is_one_whatever_was_measured(
    measured: list[tuple[float, float]], rows: int
) -> None:
    runs = [Run(40, wall, wall * share, 40 - 30 * share) for wall, share in measured]
    found = job_seconds(rows, runs)
    assert 0 <= found.low <= found.value <= found.high < math.inf


def test_no_rows_take_no_time() -> None:
    assert job_seconds(0, runs_of(1, 1, 0.1)) == Interval(0, 0, 0)
    assert Interval(0, 0, 0).width == 0 and Interval(0, 0, 1).width == math.inf


def test_a_job_as_small_as_its_runs_is_their_mean() -> None:
    runs = [Run(20, wall, 0.5, 20.0) for wall in (2.0, 3.0, 4.0)]
    found = job_seconds(20, runs, drift=0)
    half = T90[2] * math.sqrt(1 / 3 + 1)  # of the mean of three, and of one more
    assert (found.value, found.low, found.high) == (3.0, 0, pytest.approx(3 + half))


@pytest.mark.parametrize(
    "runs", [[], [Run(9, 1, 0, 9)], [Run(9, 1, 0, 9), Run(9, 1, 1, 9)], [Run(9, 1, 0, 0)] * 2]
)
def test_too_few_runs_and_those_without_a_steady_part_are_refused(runs: list[Run]) -> None:
    with pytest.raises(LabError, match="at least two runs, each with a steady part"):
        job_seconds(100, runs)


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Rows of very different cost, in runs and in the job; without drift, so that the share is
    the interval's own."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        cost = random.exponential(0.02, 20_000)
        runs = []
        for at in range(0, 1200, 200):
            speed = 1 + 0.02 * random.standard_normal()
            wall = (0.5 + cost[at : at + 200].sum()) * speed
            runs.append(Run(200, wall, 0.5 * speed, 200.0))
        found = job_seconds(20_000, runs, drift=0)
        hits += found.low <= 0.5 + cost.sum() <= found.high
    assert 0.85 * 400 <= hits <= 0.97 * 400


@given(st.floats(1, 1000))
def test_t_falls_from_one_degree_of_freedom_to_the_normal(freedom: float) -> None:
    assert t90(freedom + 1) <= t90(freedom) <= T90[1]
    assert t90(1) == T90[1] and t90(math.inf) == T90[math.inf] and t90(0.1) == T90[1]


def test_tokens_of_a_row_come_from_runs_of_any_size() -> None:
    assert ratio([100, 400], [10, 40]) == Interval(10, 10, 10)
    spread = ratio([50, 500, 60], [10, 40, 10])
    assert spread.low < spread.value == 610 / 60 < spread.high
    assert ratio([30], [10]) == Interval(3, 0, math.inf)
    assert math.isnan(ratio([], []).value)


def test_drift_is_a_floor_under_the_interval() -> None:
    assert job_seconds(10_000, runs_of(1, 0.1, 0)).width == pytest.approx(DRIFT)
