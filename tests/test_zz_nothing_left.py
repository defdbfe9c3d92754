"""Last of all: after the whole test suite no process of the lab is left."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from labkit.ray_session import session
from tests import engine_starts
from tests.conftest import MARK


def left() -> list[psutil.Process]:
    """Processes that some test started: they inherited the mark of this run."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == os.environ[MARK]
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def test_no_process_of_the_tests_is_left() -> None:
    session.stop()
    # Two small agents of Ray notice the sudden death of a driver after up to a minute.
    deadline = time.monotonic() + 120
    while left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [" ".join(process.cmdline())[:200] for process in left()] == []


def test_every_engine_start_has_its_reason(request: pytest.FixtureRequest) -> None:
    """In `make test` no test starts more engines than `engine_starts.REASONS` says."""
    items = request.session.items
    names = {f"{item.path.name}::{getattr(item, 'originalname', '')}" for item in items}
    known = {test: count for test, (count, _) in engine_starts.REASONS.items()}
    if any(item.get_closest_marker("endurance") for item in items) or not known.keys() <= names:
        pytest.skip("a part of the tests, or others: the shared engine starts elsewhere")
    more = {t: n for t, n in engine_starts.by_test().items() if n > known.get(t, 0)}
    assert not more
