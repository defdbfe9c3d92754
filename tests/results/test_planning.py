"""results.planning: from a few runs to an interval, and what of it is sure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.planning import (
    DRIFT,
    HERE,
    T90,
    Elsewhere,
    Interval,
    Plan,
    Run,
    job_seconds,
    ratio,
    t90,
    told_warnings,
)


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


PLAN = Plan(
    rows=4200,
    machine="2 CPU cores",
    model="small",
    seconds=Interval(1800, 1500, 2200),
    start_s=20.0,
    input_tokens=Interval(50, 49, 51),
    output_tokens=Interval(2, 2, 2),
    sample=1000,
    runs=tuple(runs_of(1, 0.1, 0)),
    warnings=("3 of 1,000 (0.3%) rows of the sample can't be asked.",),
    prices={HERE: 0.5, "H100": 3.0},
    currency="EUR",
    elsewhere=(
        Elsewhere("1 × NVIDIA H100 80GB HBM3", "recorded on 2026-11-23", Interval(6, 5, 8)),
        Elsewhere("1 × NVIDIA L4", "recorded on 2026-11-23", Interval(60, 50, 80)),
    ),
    measured_s=61.0,
)


def test_a_plan_in_a_table_and_a_sentence() -> None:
    table = PLAN.table
    assert table["machine"].tolist() == [
        "2 CPU cores",
        "1 × NVIDIA H100 80GB HBM3",
        "1 × NVIDIA L4",
    ]
    assert table["minutes"].tolist() == [30, 0.1, 1]
    assert table["machine-hours"].tolist()[0] == pytest.approx(1820 / 3600)
    here, there, unknown = table["price (EUR)"]
    assert (here, there) == pytest.approx((0.5 * 1820 / 3600, 3.0 * 6 / 3600))
    assert math.isnan(unknown)
    assert table["measured"].tolist()[1] == "recorded on 2026-11-23"
    said = PLAN.sentence()
    for words in ("4,200 rows", "30.0 min (25.0 to 36.7", "20 s for the engine's start", "EUR"):
        assert words in said
    assert "nine of ten" in said and said.endswith("can't be asked.")
    assert said in repr(PLAN) and said in PLAN._repr_html_()


def test_without_prices_there_are_none() -> None:
    plan = replace(PLAN, prices={}, currency="")
    assert plan.price() is None and not [c for c in plan.table if "price" in c]
    assert "EUR" not in plan.sentence()
    assert replace(PLAN, prices={"H100": 3.0}).price() is None


@given(st.floats(0, 100))
def test_the_price_follows_the_hours(each: float) -> None:
    price = replace(PLAN, prices={HERE: each}).price()
    assert price is not None
    assert price.value == pytest.approx(each * PLAN.hours.value)
    assert price.low <= price.value <= price.high


def test_warnings_count_their_rows() -> None:
    told = told_warnings(
        sample=1000, refused=5, too_long=10, may_not_end=20, answered=500, cut=250, limit=2048
    )
    counts = ["5 of 1,000 (0.5%)", "10 of 1,000 (1.0%)", "20 of 1,000 (2.0%)", "250 of 500 (50.0%)"]
    assert [words.startswith(count) for words, count in zip(told, counts, strict=True)] == [
        True
    ] * 4
    assert told_warnings(10, 0, 0, 0, 10, 0, 2048) == ()


def test_drift_is_a_floor_under_the_interval() -> None:
    assert job_seconds(10_000, runs_of(1, 0.1, 0)).width == pytest.approx(DRIFT)
