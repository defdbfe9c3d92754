"""results.job_estimate: from a few runs to an interval, and what of it is sure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.job_estimate import DRIFT, T90, Interval, Run, job_seconds, ratio, t90


def runs_of(once: float, each: float, noise: float, seed: int = 0, repeats: int = 3) -> list[Run]:
    """Runs of 100 and 400 rows, each with its own noise (a share of its time)."""
    random = np.random.default_rng(seed)
    return [
        Run(size, (once + each * size) * (1 + noise * random.standard_normal()))
        for size in (100, 400)
        for _ in range(repeats)
    ]


costs = st.floats(0.001, 10)


@given(costs, costs, st.integers(400, 10**7))
def test_runs_without_noise_tell_the_job_and_nothing_is_scaled_that_comes_once(
    once: float, each: float, rows: int
) -> None:
    found = job_seconds(rows, runs_of(once, each, 0), drift=0)
    assert found.value == pytest.approx(once + each * rows)
    assert found.width < 1e-6
    in_proportion = (once + 100 * each) * rows / 100
    assert found.value < in_proportion or rows == 100


@given(st.integers(0, 1000), st.floats(0.001, 0.05), st.floats(1.1, 4))
def test_more_noise_widens_the_interval(seed: int, noise: float, more: float) -> None:
    calm, loud = (
        job_seconds(10_000, runs_of(1, 0.1, n, seed), drift=0) for n in (noise, noise * more)
    )
    assert loud.high - loud.low > calm.high - calm.low


@given(st.integers(0, 1000), st.integers(400, 10**6), st.integers(1, 100))
def test_more_rows_take_longer_and_the_rate_settles(seed: int, rows: int, times: int) -> None:
    runs = runs_of(1, 0.1, 0.02, seed)
    one, many = job_seconds(rows, runs), job_seconds(rows * times, runs)
    assert many.value >= one.value and many.high >= one.high
    each = (many.value - one.value) / (rows * max(1, times - 1))
    assert times == 1 or each == pytest.approx(0.1, rel=0.2)


@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.integers(0, 10**6))
def test_an_interval_is_one_whatever_was_measured(walls: list[float], rows: int) -> None:
    runs = [Run(n, wall) for n, wall in zip((10, 10, 40, 40), walls, strict=True)]
    found = job_seconds(rows, runs)
    assert 0 <= found.low <= found.value <= found.high < math.inf
    if rows >= 40:  # whatever the short ones took
        assert found.value >= sum(walls[2:]) / 2


def test_no_rows_take_no_time() -> None:
    assert job_seconds(0, runs_of(1, 1, 0.1)) == Interval(0, 0, 0)
    assert Interval(0, 0, 0).width == 0 and Interval(0, 0, 1).width == math.inf


def test_a_job_as_small_as_its_runs_is_their_mean() -> None:
    found = job_seconds(20, [Run(20, 2.0), Run(20, 3.0), Run(20, 4.0)], drift=0)
    assert found.value == 3.0
    half = T90[2] * math.sqrt(1 / 3 + 1)  # of the mean of three, and of one more
    assert (found.low, found.high) == (0, pytest.approx(3 + half))


@pytest.mark.parametrize("sizes", [[], [10], [10, 20], [10, 10, 20], [1, 1, 2, 2, 3, 3], [0, 0]])
def test_too_few_runs_are_refused(sizes: list[int]) -> None:
    with pytest.raises(LabError, match="two runs of each size"):
        job_seconds(100, [Run(size, 1.0) for size in sizes])


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Rows of very different cost, in runs and in the job; without drift, so that the share is
    the interval's own."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        cost = random.exponential(0.02, 20_000)
        runs, at = [], 0
        for size in (100, 400, 400, 100, 100, 400):
            speed = 1 + 0.02 * random.standard_normal()
            runs.append(Run(size, (0.5 + cost[at : at + size].sum()) * speed))
            at += size
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
