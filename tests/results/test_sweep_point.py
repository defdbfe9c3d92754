"""The points of a sweep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.sweep_point import Point, at_product, grid, in_flight


@given(st.lists(st.integers(1, 4096), min_size=1, unique=True))
def test_in_flight_keeps_each_number(counts: list[int]) -> None:
    points = in_flight(*counts)
    assert [point.rows_in_flight for point in points] == counts
    assert all(min(point) >= 1 for point in points)


def test_in_flight_takes_four_batches_where_it_can() -> None:
    assert in_flight(1, 3, 4, 8, 64) == [(1, 1), (1, 3), (1, 4), (2, 4), (16, 4)]


def test_at_product_holds_the_rows_in_flight() -> None:
    assert at_product(64, [1, 16, 64]) == [(1, 64), (16, 4), (64, 1)]
    with pytest.raises(LabError, match=r"\[5\] don't divide 64"):
        at_product(64, [4, 5])


def test_grid_has_every_pair() -> None:
    assert grid([1, 2], iter([3, 4])) == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert str(Point(16, 4)) == "16 × 4"
