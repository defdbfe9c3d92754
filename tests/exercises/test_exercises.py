"""The exercises' checks: open, right, not yet; every right answer is right, none is a copy."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import labkit
from labkit import exercises
from labkit.exercises import OPEN, RIGHT, WRONG, Question
from labkit.results.job import Job
from labkit.results.sweep_point import Point
from labkit.tasks import LABELS
from tests.test_claims import a_job, a_sweep

COLD = a_job(startup=30.0)
QUESTIONS = {name: q for name, q in vars(exercises).items() if isinstance(q, Question)}


def job_of(answers: dict[str, list], mean: float = 10.0, **knobs: int) -> Job:
    """A job of these answers, for exercises that want one."""
    numbers: Any = replace(COLD.metrics, mean_rows_in_flight=mean)
    spec: Any = {"batch_size": 64, "max_concurrent_batches": 1} | knobs
    frame = pd.DataFrame(answers)
    return Job(frame, frame.head(0), frame.head(0), numbers, spec, 0.0)


ROWS = {"prompt": ["a", "b", "c"], "max_tokens": [1, 2, 3]}
TURNED = {"prompt": ["c", "b", "a"], "max_tokens": [3, 2, 1]}
POSTS = {"label": ["neutral"] * 20 + ["positive"] * 40}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_answers_each_option(name: str) -> None:
    """One is right; each wrong one is told why."""
    question = QUESTIONS[name]
    assert question().state == OPEN and question().options == question.options
    assert (
        len(question.options) == 4 == len(set(question.replies.values()))
        or name == "what_comes_first"
    )
    states = {letter: question(letter).state for letter in question.options}
    assert [letter for letter, state in states.items() if state == RIGHT] == [question.right]
    for odd in ("e", "banana", "", 1, ["a"]):
        assert question(odd).state == WRONG and "one of a, b, c, d" in question(odd).text
    assert question(f" {question.right.upper()}) ").state == RIGHT
    shown = question()._repr_html_()
    assert all(words.split("'")[0] in shown for words in question.options.values())


NUMBERS = {
    "before_the_first_token": (lambda a: exercises.before_the_first_token(COLD, a), 0.1),
    "rows_until_worth_it": (
        lambda a: exercises.rows_until_worth_it(COLD, a_job(startup=1), a),
        9 * COLD.metrics.startup_s * a_job(startup=1).metrics.rows_per_s,
    ),
    "shared_tokens": (exercises.shared_tokens, 64),
    "rows_for": (lambda a: exercises.rows_for(COLD, 2.0, a), 18_000 * COLD.metrics.rows_per_s),
    "rows_to_resume": (exercises.rows_to_resume, 35),
    "requests_per_s": (exercises.requests_per_s, 8),
    "seconds_for": (
        lambda a: exercises.seconds_for(a_sweep({4: 40, 16: [85, 90, 99]}), Point(16, 1), a),
        4200 / 9,
    ),
    "f1_of": (
        lambda a: exercises.f1_of(job_of(POSTS | {"says": ["neutral"] * 30 + ["positive"] * 30}),
                                  "neutral", a),
        0.8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, Fraction])
def test_a_right_number_of_any_type_is_right(name: str, kind: Any) -> None:
    """Such as a pandas sum gives."""
    check, right = NUMBERS[name]
    assert check(None).state == OPEN
    assert check(kind(right)).state == RIGHT
    assert check(kind(right * 1.5)).state == WRONG
    for odd in (True, np.bool_(True), str(right), [right]):
        assert check(odd).state == WRONG and "a number is wanted" in check(odd).text


def test_a_hint_is_shown_and_escaped() -> None:
    verdict = exercises.Verdict(WRONG, "a < b")
    assert repr(verdict) == "✘ not yet: a < b"
    assert "a &lt; b" in verdict._repr_html_()


@pytest.mark.parametrize(
    ("points", "state"),
    [((1, 32), RIGHT), ((2, 16), RIGHT), ((8, 4), RIGHT), ((16, 2), WRONG), ((2, 8), WRONG)],
)
def test_any_spec_with_that_limit_is_right(
    smollm2: Any, points: tuple[int, int], state: str
) -> None:
    spec = labkit.configure(smollm2, batch_size=points[0], max_concurrent_batches=points[1])
    assert exercises.rows_in_flight(spec, wanted=32, largest_batch=8).state == state
    assert exercises.rows_in_flight(None).state == OPEN
    assert exercises.rows_in_flight(32).state == WRONG


@pytest.mark.parametrize(
    "check",
    [
        exercises.mean_rows_in_flight,
        lambda a: exercises.order_the_rows(job_of(ROWS), a),
        exercises.says_it,
    ],
)
def test_where_a_job_is_wanted_nothing_else_will_do(check: Any) -> None:
    assert check(None).state == OPEN
    for odd in (25, "job", SimpleNamespace(metrics=COLD.metrics)):
        assert check(odd).state == WRONG and "a job is wanted" in check(odd).text


@pytest.mark.parametrize(
    ("mean", "state", "words"),
    [(19.0, WRONG, "raise"), (20.0, RIGHT, ""), (30.0, RIGHT, ""), (31.0, WRONG, "lower")],
)
def test_a_job_with_so_many_rows_in_flight(mean: float, state: str, words: str) -> None:
    verdict = exercises.mean_rows_in_flight(job_of(ROWS, mean))
    assert verdict.state == state and words in verdict.text


def test_rows_in_another_order() -> None:
    before = job_of(ROWS, 10)
    assert exercises.order_the_rows(before, job_of(TURNED, 12.5)).state == RIGHT
    assert "share a batch" in exercises.order_the_rows(before, job_of(TURNED, 11)).text
    assert (
        "same ones"
        in exercises.order_the_rows(before, job_of({**ROWS, "max_tokens": [1] * 3}, 20)).text
    )
    small = exercises.order_the_rows(before, job_of(TURNED, 20, batch_size=1))
    assert small.state == WRONG and "batch_size must stay 64" in small.text


@pytest.mark.parametrize(
    ("lengths", "state"),
    [
        (([200] + [10] * 15) * 16, RIGHT),
        (np.array(([200] + [10] * 15) * 16), RIGHT),
        ([10] * 128, WRONG),
        ([100, *[1] * 15], WRONG),
        ([1.5] * 64, WRONG),
        ("abc", WRONG),
        (7, WRONG),
        ([0] * 64, WRONG),
    ],
)
def test_lengths_for_the_toy(lengths: Any, state: str) -> None:
    assert exercises.toy_lengths(None).state == OPEN
    assert exercises.toy_lengths(lengths).state == state


@pytest.mark.parametrize("answer", [16, np.int64(16), Point(4, 4), Point(1, 16)])
def test_the_fewest_rows_that_do(answer: Any) -> None:
    sweep = a_sweep({4: 50, 16: 85, 64: 100, 128: 99})
    assert exercises.fewest_rows(sweep, None).state == OPEN
    assert exercises.fewest_rows(sweep, answer).state == RIGHT
    assert exercises.fewest_rows(sweep, 64).state == WRONG
    assert (
        exercises.fewest_rows(sweep, "16").state
        == exercises.fewest_rows(sweep, True).state
        == WRONG
    )


@pytest.mark.parametrize(
    ("says", "state"),
    [
        (["neutral"] * 5 + ["positive"] * 55, RIGHT),
        (["positive"] * 60, WRONG),
        (["neutral"] * 60, WRONG),
        (["positive"] * 50 + ["neutral"] * 10, WRONG),
        (["neutral"] * 59 + ["banana"], WRONG),
    ],
)
def test_a_prompt_that_finds_a_label(says: list[str], state: str) -> None:
    assert exercises.says_it(job_of(POSTS | {"says": says})).state == state
    assert set(says) <= {*LABELS, "banana"}
    assert exercises.says_it(job_of({"label": ["neutral"], "says": ["neutral"]})).state == WRONG
