"""The batches of a job that are at a warm engine's replicas at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from labkit.errors import Cancelled
from labkit.tasks import Row


class Window:
    """At most `limit` batches at each replica: a list of actors, in the order of the stages.

    in_order: give the answers back in the order of the batches, else as they come.
    """

    def __init__(self, replicas: list[list[Any]], limit: int, in_order: bool):
        self.replicas, self.limit, self.in_order = replicas, limit, in_order
        self.flying: dict[Any, tuple[int, int]] = {}
        self.asked: dict[int, list[Row]] = {}
        self.said: dict[int, list[Row]] = {}
        self.sent = self.given = 0

    def busy(self, replica: int) -> int:
        return sum(at == replica for _, at in self.flying.values())

    def send(self, packed: list[Row], job: int, rows: Any, engine_decodes: bool) -> None:
        """Hand a batch to the least busy replica, through its stages."""
        at = min(range(len(self.replicas)), key=self.busy)
        for actor in self.replicas[at]:
            last = actor is self.replicas[at][-1]
            rows = actor.answer.remote(job, rows, engine_decodes, last)
        self.flying[rows] = self.sent, at
        self.asked[self.sent] = packed
        self.sent += 1

    def settle(
        self, cancel: threading.Event | None, everything: bool = False
    ) -> Iterator[tuple[list[Row], list[Row]]]:
        """Wait until there is room for a batch, or for all; yields (packed rows, their answers)."""
        import ray

        while len(self.flying) >= (1 if everything else self.limit * len(self.replicas)):
            if cancel is not None and cancel.is_set():
                raise Cancelled("The job was cancelled.")
            done, _ = ray.wait(list(self.flying), timeout=0.5)
            for ref in done:
                number, _ = self.flying.pop(ref)
                self.said[number] = ray.get(ref)
            for number in sorted(self.said):
                if self.in_order and number != self.given:
                    break
                self.given += 1
                yield self.asked.pop(number), self.said.pop(number)
