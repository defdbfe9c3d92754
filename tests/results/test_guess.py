"""A guess beside what was measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.guess import off_by, off_by_words
from tests.results.test_sweep_result import CURVE, measured


def test_a_guess_is_held_against_the_curve() -> None:
    summary = measured({(1, 1): [10], (1, 4): [40], (4, 4): [100], (16, 1): [90]}).summary()
    table = off_by(summary, {1: 2, 4: 4, 16: 40, 99: 7})
    assert table.index.tolist() == [1, 4, 16]
    assert table["you said"].tolist() == [1, 2, 20]
    assert table["measured"].tolist() == [1, 4, 10]  # the faster of the two points with 16
    assert table["off by"].tolist() == [1, 2, 2]
    words = off_by_words(table)
    assert "a factor of 2.0 on average" in words
    assert "at 4 rows in flight, where you expected less (2.0×, measured 4.0×)" in words


@given(st.dictionaries(st.sampled_from([1, 4, 16]), st.floats(0.01, 1e4), min_size=2))
def test_off_by_is_a_factor_of_at_least_one(guess: dict[int, float]) -> None:
    table = off_by(measured(CURVE).summary(), guess)
    assert (table["off by"] >= 1).all() and table["off by"].iloc[0] == 1
    assert all(math.isfinite(value) for value in table["off by"])


def test_a_guess_at_no_measured_point_is_refused() -> None:
    with pytest.raises(LabError, match="no point that was measured"):
        off_by(measured(CURVE).summary(), {2: 3, 1: 0})
    assert "at least two" in off_by_words(off_by(measured(CURVE).summary(), {4: 1}))
