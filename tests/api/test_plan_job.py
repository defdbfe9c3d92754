"""labkit.plan: which runs are made, what is counted, and one plan on the real engine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.api import measure_job, plan_job
from labkit.api.measure_job import Measurement
from labkit.errors import LabError
from labkit.tasks import Task, faq

TASK = faq(max_tokens=4)


def questions(number: int) -> list[dict[str, Any]]:
    return [{"id": n, "question": f"What is {n}?"} for n in range(number)]


@pytest.fixture
def spec(tiny: Any) -> Any:
    return labkit.configure(tiny, warm=True)


class Clock:
    """Stands for `labkit.measure`: a run takes 1 s once, half of it its tail, and 0.01 s a row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.runs: list[tuple[int, int]] = []  # (rows, skip)
        self.slower = 1.0  # every second run
        monkeypatch.setattr(plan_job, "measure", self.measure)

    def measure(
        self,
        task: Task,
        data: list[Any],
        spec: Any,
        *,
        seconds: float = 0.0,
        rows: int = 0,
        skip: int = 0,
        **_: Any,
    ) -> Measurement:
        number = min(len(data), rows or round(100 * seconds))
        self.runs.append((number, skip))
        wall = (1 + 0.01 * number) * (self.slower if len(self.runs) % 2 else 1)
        span, tokens = wall - 0.5, 3 * number
        parts = {"startup_s": 0.3, "engine_span_s": span, "tail_s": 0.5 if span > 1 else span}
        steady = tokens / (span - 0.5) if span > 1 else 0.0
        metrics: Any = SimpleNamespace(
            **{"wall_s": wall, "shutdown_s": 0.2, "steady_output_tokens_per_s": steady},
            **{"output_tokens": tokens, "cut": number // 2, **parts},
        )
        return Measurement((number / wall,), number, 7.0, metrics, spec)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.slow
def test_runs_with_rows_of_their_own_tell_the_job(clock: Clock, spec: Any) -> None:
    plan = labkit.plan(TASK, questions(5000), spec, seconds=30, progress=False)
    (first, *sizes) = [rows for rows, _ in clock.runs]
    assert first == spec.rows_in_flight and {2 * first} == set(sizes)
    assert len(sizes) == len(plan.runs) >= plan_job.FEWEST
    ends = 0
    for rows, skip in clock.runs:  # no row is in two runs
        assert skip == ends
        ends += rows
    assert plan.seconds.value == pytest.approx(1 + 0.01 * 5000)
    assert (plan.rows, plan.start_s, plan.sample) == (5000, 7.0, plan_job.SAMPLE)
    assert plan.output_tokens.value == 3 and 5 < plan.input_tokens.value < 60
    assert [words for words in plan.warnings if "cut at max_tokens" in words]
    assert plan.elsewhere == () and plan.price() is None


def test_a_job_may_have_more_rows_than_are_given(clock: Clock, spec: Any) -> None:
    data = pd.DataFrame(questions(1000))
    plan = labkit.plan(TASK, data, spec, total=10**6, seconds=30, progress=False)
    assert plan.rows == 10**6 and plan.seconds.value == pytest.approx(1 + 10**4)
    assert max(rows for rows, _ in clock.runs) <= 1000


@given(st.floats(0.1, 1e6), st.integers(1, 4096), st.integers(1, 10**6))
def test_runs_are_enough_and_as_many_as_there_is_time_for(
    affordable: float, rows_in_flight: int, most: int
) -> None:
    number, repeats = plan_job._size(affordable, rows_in_flight, most)
    assert plan_job.FEWEST <= repeats <= plan_job.MOST
    assert number == most or most > number >= 2 * rows_in_flight
    least = plan_job.FEWEST * 2 * rows_in_flight
    assert number * repeats <= max(1.5 * affordable + plan_job.MOST, least)


@pytest.mark.parametrize(("slower", "fewest"), [(1.0, True), (1.05, True), (1.8, False)])
def test_runs_that_differ_much_are_followed_by_more(
    clock: Clock, spec: Any, slower: float, fewest: bool
) -> None:
    """Three runs of two loads of the engine each: few, as on a large card."""
    clock.slower = slower
    plan = labkit.plan(TASK, questions(5000), spec, seconds=1, progress=False)
    assert len(plan.runs) == (plan_job.FEWEST if fewest else plan_job.MOST)
    assert (plan.seconds.width <= 0.25) == fewest


def test_runs_that_differ_end_with_the_time(
    clock: Clock, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.slower = 1.8
    now = iter(range(0, 10_000, 5))
    monkeypatch.setattr(plan_job, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    plan = labkit.plan(TASK, questions(5000), spec, seconds=4, progress=False)
    assert len(plan.runs) == plan_job.FEWEST + 1, "5 s are over, and one takes 2: 7 of 8"


@pytest.mark.parametrize("number", [1, 50, 120])
def test_a_small_job_is_measured_as_a_whole(clock: Clock, spec: Any, number: int) -> None:
    plan = labkit.plan(TASK, questions(number), spec, seconds=30, progress=False)
    assert {run.rows for run in plan.runs} == {number} and 3 <= len(plan.runs) <= 8
    assert plan.seconds.value == pytest.approx(1 + 0.01 * number)


def test_prices_are_the_reader_s_own(clock: Clock, spec: Any) -> None:
    about: dict[str, Any] = {"seconds": 30, "progress": False, "currency": "CHF"}
    plan = labkit.plan(TASK, questions(3000), spec, price_per_hour=3.6, **about)
    price = plan.price()
    assert price is not None and price.value == pytest.approx((31 + 7) * 0.001)
    assert "CHF" in plan.sentence()
    priced = {"here": 3.6, "H100": 2}
    assert labkit.plan(TASK, questions(3000), spec, price_per_hour=priced, **about).prices == priced


def test_rows_that_will_not_fit_or_may_be_cut_are_told_before(clock: Clock, spec: Any) -> None:
    rows = questions(96)
    rows[3]["question"] = "word " * 9000
    rows[5]["question"] = None
    longest = spec["max_model_len"]
    task = replace(TASK, sampling={"max_tokens": longest - 5})
    told = " ".join(labkit.plan(task, rows, spec, seconds=30, progress=False).warnings)
    assert "1 of 96 (1.0%) rows of the sample can't be asked" in told
    assert "1 of 96 (1.0%) rows of the sample do not fit the context" in told
    assert "94 of 96 (97.9%) rows of the sample leave less" in told


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seconds": 0}, "above 0"),
        ({"seconds": float("nan")}, "above 0"),
        ({"total": 9}, "at least the 10"),
        ({"total": True}, "total must be a whole number"),
        ({"total": 11.5}, "total must be a whole number"),
        ({"price_per_hour": -1}, "from 0"),
        ({"price_per_hour": float("nan")}, "from 0"),
        ({"price_per_hour": True}, "price_per_hour must be a number, or a dict"),
        ({"price_per_hour": {"H100": "2"}}, "from 0"),
        ({"price_per_hour": {7: 2.0}}, "from 0"),
        ({"spec": labkit.endpoint("http://127.0.0.1:9/v1", "m")}, "engine of the lab's own"),
        ({"task": "faq"}, "labkit.Task"),
        ({"data": []}, "no rows"),
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_can_not_be_planned_is_said_before_anything_starts(
    clock: Clock, spec: Any, wrong: dict[str, Any], words: str
) -> None:
    about = {"task": TASK, "data": questions(10), "spec": spec, **wrong}
    with pytest.raises(LabError, match=words):
        labkit.plan(**about, progress=False)
    assert not clock.runs


def test_measurements_that_pass_rows_over_have_others(
    spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[int]] = []

    def run(task: Task, rows: list[Any], spec: Any, options: Any) -> Any:
        runs.append([row["id"] for row in rows])
        return SimpleNamespace(metrics=SimpleNamespace(rows=len(rows), wall_s=1.0), spec=spec)

    monkeypatch.setattr(measure_job, "_run", run)
    monkeypatch.setattr(measure_job.warm_engine, "current", lambda: spec)
    monkeypatch.setattr(measure_job.warm_engine, "why_reload", lambda *_: "")
    for skip in (0, 40, 80, 120):
        labkit.measure(TASK, questions(100), spec, rows=40, runs=1, skip=skip)
    first, second, third, fourth = runs
    assert not set(first) & set(second) and len(set(first + second + third)) == 100
    assert third[20:] == first[:20]  # after the last row the first ones come again
    assert fourth == first[20:] + second[:20]


@pytest.mark.engine
def test_on_the_warm_engine(warm_spec: Any) -> None:
    plan = labkit.plan(TASK, questions(2000), warm_spec, seconds=3, progress=False)
    assert len(plan.runs) >= 3 and all(run.wall_s > 0 for run in plan.runs)
    assert 0 <= plan.seconds.low < plan.seconds.value < plan.seconds.high
    assert 1 <= plan.output_tokens.value <= 4
    assert plan.model == "tiny" and plan.machine in plan.sentence()
    assert len(plan.table) == 1
