"""The engines that the tests start are counted, and more than there are reasons for are named."""

from __future__ import annotations

from collections import Counter

from tests import engine_starts


def test_more_engines_than_reasons_are_named() -> None:
    allowed = Counter({test: engines for test, (engines, _) in engine_starts.REASONS.items()})
    assert not engine_starts.without_reason(allowed)
    some = next(iter(allowed))
    more = allowed + Counter({some: 1, "test_new.py::test_new": 2})
    assert engine_starts.without_reason(more) == {some: 1, "test_new.py::test_new": 2}
