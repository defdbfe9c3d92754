"""The exercises' checks: open, right, not yet."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import labkit
from labkit import exercises
from labkit.exercises import OPEN, RIGHT, WRONG

JOB = SimpleNamespace(
    metrics=SimpleNamespace(output_tokens_per_s=100.0, startup_s=30.0, rows_per_s=10.0),
    answers=pd.DataFrame({"label": ["a", "b", "b", "a"], "says": ["a", "b", "a", "a"]}),
)


@pytest.mark.parametrize(
    ("answer", "state"),
    [(None, OPEN), (100.0, RIGHT), (101, RIGHT), (90.0, WRONG), ("100", WRONG), (True, WRONG)],
)
def test_throughput(answer: object, state: str) -> None:
    assert exercises.throughput(JOB, answer).state == state


@pytest.mark.parametrize("kind", [int, float, np.int64, np.float32, np.float64, Fraction])
def test_a_right_number_of_any_type_is_right(kind: Any) -> None:
    """Such as a pandas sum gives."""
    assert exercises.rows_to_resume(kind(35)).state == RIGHT
    assert exercises.rows_to_resume(pd.Series([kind(30), kind(5)]).sum()).state == RIGHT
    assert exercises.rows_to_resume(np.bool_(True)).state == WRONG


def test_each_number_has_its_right_answer() -> None:
    assert exercises.rows_until_worth_it(JOB, 2700.0).state == RIGHT
    assert exercises.accuracy(JOB, 0.75).state == RIGHT
    assert exercises.cost_of_a_million(JOB, 3.6, 100.0).state == RIGHT
    assert exercises.rows_to_resume(35).state == RIGHT
    assert exercises.rows_to_resume(30).state == WRONG


def test_a_choice() -> None:
    assert exercises.what_comes_first(None).state == OPEN
    assert exercises.what_comes_first("instructions").state == RIGHT
    assert exercises.what_comes_first("time").state == WRONG
    assert "one of" in exercises.what_comes_first("banana").text


def test_a_hint_is_shown_and_escaped() -> None:
    verdict = exercises.Verdict(WRONG, "a < b")
    assert repr(verdict) == "✘ not yet: a < b"
    assert "a &lt; b" in verdict._repr_html_()


def test_rows_in_flight_wants_a_spec() -> None:
    assert exercises.rows_in_flight(None).state == OPEN
    assert exercises.rows_in_flight(32).state == WRONG


@pytest.mark.parametrize(
    ("points", "state"), [((1, 32), WRONG), ((2, 16), RIGHT), ((4, 8), WRONG), ((2, 8), WRONG)]
)
def test_rows_in_flight_in_the_smallest_batches(
    smollm2: Any, points: tuple[int, int], state: str
) -> None:
    spec = labkit.configure(smollm2, batch_size=points[0], max_concurrent_batches=points[1])
    assert exercises.rows_in_flight(spec, wanted=32, largest_batch=2).state == state
