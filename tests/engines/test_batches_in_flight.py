"""Batches at a warm engine: how many at once, at which replica, in which order, and cancelled."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from labkit.engines.batches_in_flight import Window
from labkit.errors import Cancelled


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replicas that note what they are given, and a Ray whose batches end when the test says so."""
    import ray

    class Flights:
        def __init__(self) -> None:
            self.got: dict[str, list[list[Any]]] = {"a": [], "b": []}
            self.ended: list[Any] = []

        def replica(self, name: str) -> list[Any]:
            def remote(job: int, rows: list[Any], engine_decodes: bool, last: bool) -> Any:
                self.got[name].append(rows)
                return name, tuple(rows)

            class Actor:
                class answer:
                    pass

            Actor.answer.remote = staticmethod(remote)  # type: ignore[attr-defined]
            return [Actor]

        def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
            ref = next(iter(r for r in self.ended if r in refs), None)
            return ([ref] if ref else []), []

    found = Flights()
    monkeypatch.setattr(ray, "wait", found.wait)
    monkeypatch.setattr(ray, "get", lambda ref: [f"answer to {row}" for row in ref[1]])
    return found


def test_the_least_busy_replica_gets_a_batch_and_no_more_than_the_limit(flights: Any) -> None:
    window = Window([flights.replica("a"), flights.replica("b")], 2, in_order=False)
    for number in range(4):
        assert list(window.settle(None)) == []
        window.send([{"n": number}], 1, [number], True)
    assert flights.got == {"a": [[0], [2]], "b": [[1], [3]]}
    flights.ended = [("b", (1,))]
    assert list(window.settle(None)) == [([{"n": 1}], ["answer to 1"])]
    window.send([{"n": 4}], 1, [4], True)
    assert flights.got["b"] == [[1], [3], [4]], "the replica that has room"


def test_answers_come_as_they_are_ready_or_in_the_order_of_the_batches(flights: Any) -> None:
    for in_order, expected in ((False, [2, 0, 1]), (True, [0, 1, 2])):
        window = Window([flights.replica("a")], 3, in_order)
        for number in range(3):
            window.send([number], 1, [number], True)
        flights.ended = [("a", (2,)), ("a", (0,)), ("a", (1,))]
        done = list(window.settle(None, everything=True))
        assert [packed for packed, _ in done] == [[n] for n in expected]
        assert all(said == [f"answer to {packed[0]}"] for packed, said in done)


def test_a_cancelled_job_waits_for_nothing(flights: Any) -> None:
    window, cancel = Window([flights.replica("a")], 1, False), threading.Event()
    window.send([0], 1, [0], True)
    cancel.set()
    with pytest.raises(Cancelled):
        list(window.settle(cancel))
