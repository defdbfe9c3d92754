"""Minutes of the lessons here: as measured where all is as there, and in proportion elsewhere."""

from __future__ import annotations

import math

import pytest

from labkit.results import measured_times
from labkit.results.lesson_minutes import (
    RATE,
    REFERENCE,
    SHORT_RUN,
    START,
    STARTS,
    lesson_minutes,
)
from labkit.results.lesson_outline import lessons
from tests.api.test_checkup import CPU_ONLY, WITH_GPU
from tests.engine_starts import REASONS

RUN = measured_times.page()[SHORT_RUN]
THERE = (RUN[START][REFERENCE], RUN[RATE][REFERENCE])


def test_where_all_is_as_there_a_lesson_takes_what_was_measured() -> None:
    page = measured_times.page()
    for lesson, one in zip(lessons(), lesson_minutes(CPU_ONLY, *THERE), strict=True):
        assert 60 * one.minutes == pytest.approx(page[lesson.name]["all of it"][REFERENCE])
        assert one.title == lesson.title and REFERENCE in one.basis


def test_a_slower_engine_and_a_slower_start_take_longer_each_in_its_part() -> None:
    start, rate = THERE
    same, slow, late, seat = (
        [one.minutes for one in lesson_minutes(CPU_ONLY, *run)]
        for run in ((start, rate), (start, rate / 2), (2 * start, rate), (0.0, rate))
    )
    for a, b, c, d, starts in zip(same, slow, late, seat, STARTS.values(), strict=True):
        assert 60 * (b - a) == pytest.approx(60 * a - starts * start)
        assert 60 * (c - a) == pytest.approx(starts * start) == pytest.approx(60 * (a - d))


def test_the_engines_that_lessons_start_are_those_that_the_tests_count() -> None:
    assert sum(STARTS.values()) == REASONS["test_nbval.py::test_nbval"][0]
    assert list(STARTS) == [lesson.number for lesson in lessons()]


@pytest.mark.parametrize("run", [(math.nan, math.nan), (1.0, 0.0), (math.nan, 5.0)])
def test_without_a_run_nothing_is_known(run: tuple[float, float]) -> None:
    assert all(math.isnan(one.minutes) for one in lesson_minutes(CPU_ONLY, *run))


def test_on_a_card_lessons_take_what_they_took_on_an_h100() -> None:
    found = lesson_minutes(WITH_GPU, math.nan, math.nan)
    assert [round(60 * one.minutes) for one in found] == [337, 195, 393]
    assert {one.basis for one in found} == {"measured on an H100"}
