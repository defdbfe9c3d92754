"""Thirty learners, each a program of its own, go through lesson 2's panel on one server with a real
engine; the server is killed in the middle. What counts on two cores is order, fairness and loss."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.classroom import all_started, curves, opened, report, runs, waits
from labkit.classroom.seats import Seats

SEATS = 30
#: The four points of the panel, and the run that warms the engine up.
JOBS = 5


def test_the_report_is_of_what_was_measured() -> None:
    """Two turns of one job: the second came with the first and waited for it."""
    found: list[dict[str, Any]] = [
        {"seat": "01", "turn": "a", "arrived": 0.0, "began": 0.5, "finished": 2.5},
        {"seat": "02", "turn": "b", "arrived": 0.0, "began": 2.6, "finished": 3.0},
    ]
    assert waits(found) == [(0.5, 0.0), (2.6, 2.0)]
    curve = [{"4": 10.0}, {"4": 20.0}]
    words = report(curve, [{"4": 15.0}, {"4": 30.0}], found, 3.0)
    assert "2 seats in 3 s, 2 jobs, 2 turns" in words and "1.30" in words
    assert words.splitlines()[-1].endswith("1 of 2")


@pytest.mark.endurance
@pytest.mark.engine
def test_thirty_seats_and_a_server_that_is_killed(
    tmp_path: Path, tiny: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"--model={tiny.source}"
    tokens = Seats(tmp_path, SEATS)
    began = time.monotonic()
    with opened(tmp_path, SEATS, "--port=0", model) as (url, server):
        port = url.rpartition(":")[2]
        seats = all_started(url, [tokens.token(name) for name in tokens.names()])
        while len(runs(tmp_path)) < 3 * JOBS and time.monotonic() - began < 600:
            time.sleep(0.2)
        server.kill()
        server.wait()
        (tmp_path / "server.log").unlink()
        with opened(tmp_path, SEATS, f"--port={port}", model) as (again, _):
            assert again == url
            found = curves(seats)  # each seat asserts that its rows came, each once
    took = time.monotonic() - began
    log = runs(tmp_path)
    assert len(found) == SEATS and all(len(curve) == JOBS - 1 for curve in found)
    done = [run for run in log if run["state"] == "done"]
    assert Counter(run["seat"] for run in done) == dict.fromkeys(tokens.names(), JOBS)
    with capsys.disabled():
        print("\n" + report(found, found, log, took))
