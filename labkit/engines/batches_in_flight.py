"""The batches of a job that are at a warm engine's replicas at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from labkit.errors import Cancelled


class Answers(Protocol):
    """A replica of a warm engine (see `replica.Replica`)."""

    def answer(self, job: int, batch: pa.Table) -> Any: ...


class BatchesInFlight:
    """At most `limit` batches at each replica; their responses are given back as they come."""

    def __init__(self, replicas: Sequence[Answers], job: int, limit: int):
        self.replicas, self.job, self.limit = replicas, job, limit
        self.pending: dict[Any, tuple[pa.Table, int]] = {}
        self.at_each = [0] * len(replicas)

    def send(self, batch: pa.Table) -> None:
        """Hand a batch of requests to the least busy replica."""
        at = min(range(len(self.replicas)), key=self.at_each.__getitem__)
        self.at_each[at] += 1
        self.pending[self.replicas[at].answer(self.job, batch)] = batch, at

    def finished(
        self, cancel: threading.Event | None, everything: bool = False
    ) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Wait until there is room for a batch, or for all; yields (requests, their responses)."""
        import ray

        while len(self.pending) >= (1 if everything else self.limit * len(self.replicas)):
            if cancel is not None and cancel.is_set():
                raise Cancelled("The job was cancelled.")
            done, _ = ray.wait(list(self.pending), timeout=0.5)
            for ref in done:
                batch, at = self.pending.pop(ref)
                self.at_each[at] -= 1
                yield batch, ray.get(ref)
