"""Which worker gets a block: the least busy one, and of those as busy the one that had least."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labkit.results.part_workers import PartWorkers


def workers(limits: list[int]) -> PartWorkers:
    made = PartWorkers(None, here=True)  # type: ignore[arg-type]
    made.actors, made.limits = [object() for _ in limits], limits
    made.at_each, made.given = [0] * len(limits), [0] * len(limits)
    return made


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(0, 100), st.data())
def test_blocks_go_to_all_in_turn_however_soon_they_are_done(
    limits: list[int], blocks: int, data: Any
) -> None:
    some = workers(limits)
    at_once = data.draw(st.booleans())
    for _ in range(blocks):
        if sum(some.at_each) == sum(limits):
            some.at_each = [0] * len(limits)  # all are done
        at = some.least_busy()
        assert some.at_each[at] < limits[at], "no more than it takes at a time"
        some.given[at] += 1
        some.at_each[at] += 0 if at_once else 1
    shares = [count / limit for count, limit in zip(some.given, limits, strict=True)]
    assert max(shares) - min(shares) <= 1
