"""After the tests that share Ray no process of theirs is left."""

from __future__ import annotations

import os
import time

import psutil

from labkit.ray_session import session
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
