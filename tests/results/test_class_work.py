"""What was done in the lessons, as this program keeps it."""

from __future__ import annotations

import pytest

from labkit import exercises
from labkit.exercises import verdicts
from labkit.results import class_work
from labkit.results.class_work import MOST_CURVES, Tried, Work
from labkit.results.sweep_result import ROWS, Sweep
from tests.results.test_sweep_result import CURVE, measured


def test_the_states_are_those_of_the_exercises() -> None:
    assert class_work.STATES == (exercises.OPEN, exercises.WRONG, exercises.RIGHT)


def test_what_is_right_stays_right_and_answers_are_counted() -> None:
    work = Work()
    for state in ("open", "open", "not yet", "right", "not yet", "open"):
        work.note_exercise("a", state)
    work.note_exercise("b", "open")
    assert work.all_exercises() == {"a": Tried("right", 3), "b": Tried("open", 0)}


def test_every_exercise_notes_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "work", mine := Work())
    exercises.in_french("a"), exercises.in_french("b")
    exercises.rows_to_resume(35.0), exercises.shared_tokens(None), exercises.toy_lengths([1])
    assert mine.all_exercises() == {
        "in_french": Tried("right", 2),
        "rows_to_resume": Tried("right", 1),
        "shared_tokens": Tried("open", 0),
        "toy_lengths": Tried("not yet", 1),
    }
    for name, one in vars(exercises).items():
        if isinstance(one, exercises.Question):
            assert one.name == name


def test_the_last_curve_of_each_kind_is_kept_with_its_guess() -> None:
    work, news = Work(), []
    work.watchers.append(lambda: news.append(1))
    work.note_sweep(measured(CURVE))
    work.note_sweep(measured({(1, 1): [5], (1, 4): [9]}), {1: 1, 4: 2})
    work.note_sweep(measured({(1, 1): [6], (1, 4): [9]}))
    work.note_sweep(measured(CURVE), rate=ROWS)
    first, second = work.all_curves()
    assert first.points[0] == (1, 6, 6, 6) and first.guess == {1: 1, 4: 2}
    assert second.rate == ROWS and len(news) == 4
    for number in range(20):
        one = measured(CURVE)
        work.note_sweep(Sweep(one.table, {**one.provenance, "task": f"t{number}"}))
    assert [one.task for one in work.all_curves()] == [f"t{n}" for n in range(20)][-MOST_CURVES:]


def test_a_sweep_that_can_not_be_noted_is_no_error() -> None:
    work, one = Work(), measured(CURVE)
    for table, about in ((one.table[["rows"]], {}), (one.table, None)):
        work.note_sweep(Sweep(table, about))  # type: ignore[arg-type]
    assert not work.all_curves()
