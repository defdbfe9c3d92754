"""labkit.metrics.in_time: nothing is lost where bins grow wider, and parts add up in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.metrics.in_time import BINS, ENDED, FINEST, QUEUED, InTime

moments = st.lists(st.floats(0, 1e6), min_size=1, max_size=20)


def counted(*parts: list[float]) -> InTime:
    made = InTime()
    for part in parts:
        made.add(QUEUED, np.array(part), np.ones(len(part)))
    return made


@settings(max_examples=30, deadline=None)
@given(moments, moments)
def test_merged_or_added_the_sums_are_the_same(one: list[float], two: list[float]) -> None:
    merged, added = counted(two), counted(one, two)
    merged.merge(counted(one))
    for whole in (merged, added):
        assert whole.sums.shape[1] <= BINS
        assert whole.until(QUEUED)[-1] == len(one + two) and not whole.until(ENDED).any()
    assert merged.width == added.width
    both, here, there = np.intersect1d(merged.edges(), added.edges(), return_indices=True)
    assert len(both) > 1
    assert np.array_equal(merged.until(QUEUED)[here], added.until(QUEUED)[there])


@settings(max_examples=30, deadline=None)
@given(moments)
def test_each_moment_lies_before_the_edge_that_follows_it(some: list[float]) -> None:
    whole = counted(some)
    before = np.searchsorted(np.sort(some), whole.edges(), side="left")
    assert np.array_equal(whole.until(QUEUED), before)


def test_a_job_that_is_shorter_than_the_bins_is_counted_as_finely_as_can_be() -> None:
    whole = counted([0.0, 1.0, BINS * FINEST - FINEST])
    assert whole.width == FINEST and whole.edges()[-1] == pytest.approx(BINS * FINEST)
    whole.add(QUEUED, np.array([BINS * FINEST]), np.ones(1))
    assert whole.width == 2 * FINEST
