"""Batches at a warm engine: how many at once, at which replica, in which order, and cancelled."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.engines.batches_in_flight import BatchesInFlight
from labkit.errors import Cancelled


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replicas that note what they are given, and a Ray whose batches end when the test says so."""
    import ray

    class Flights:
        def __init__(self) -> None:
            self.got: dict[str, list[list[Any]]] = {"a": [], "b": []}
            self.ended: list[Any] = []

        def replica(self, name: str) -> Any:
            def answer(job: int, batch: Any) -> Any:
                self.got[name].append(batch)
                return name, tuple(batch)

            return SimpleNamespace(answer=answer)

        def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
            ref = next(iter(r for r in self.ended if r in refs), None)
            return ([ref] if ref else []), []

    found = Flights()
    monkeypatch.setattr(ray, "wait", found.wait)
    monkeypatch.setattr(ray, "get", lambda ref: [f"answer to {row}" for row in ref[1]])
    return found


def test_the_least_busy_replica_gets_a_batch_and_no_more_than_the_limit(flights: Any) -> None:
    window = BatchesInFlight([flights.replica("a"), flights.replica("b")], 1, 2)
    for number in range(4):
        assert list(window.finished(None)) == []
        window.send([number])
    assert flights.got == {"a": [[0], [2]], "b": [[1], [3]]}
    flights.ended = [("b", (1,))]
    assert list(window.finished(None)) == [([1], ["answer to 1"])]
    window.send([4])
    assert flights.got["b"] == [[1], [3], [4]], "the replica that has room"


def test_answers_come_as_they_are_ready(flights: Any) -> None:
    window = BatchesInFlight([flights.replica("a")], 1, 3)
    for number in range(3):
        window.send([number])
    flights.ended = [("a", (2,)), ("a", (0,)), ("a", (1,))]
    done = list(window.finished(None, everything=True))
    assert [packed for packed, _ in done] == [[2], [0], [1]]
    assert all(said == [f"answer to {packed[0]}"] for packed, said in done)


def test_a_slow_batch_holds_no_other_back(flights: Any) -> None:
    window, done = BatchesInFlight([flights.replica("a")], 1, 2), []
    for number in range(100):
        done += window.finished(None)
        window.send([number])
        flights.ended = [("a", (n,)) for n in range(1, number + 1)]  # all but the first
    assert len(done) == 98 and list(window.pending) == [("a", (0,)), ("a", (99,))]


def test_a_cancelled_job_waits_for_nothing(flights: Any) -> None:
    window, cancel = BatchesInFlight([flights.replica("a")], 1, 1), threading.Event()
    window.send([0])
    cancel.set()
    with pytest.raises(Cancelled):
        list(window.finished(cancel))
