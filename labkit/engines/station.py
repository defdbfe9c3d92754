"""Where a worker that writes parts has its responses from: a block of a Dataset → tables of them.

The driver hands out references of blocks; what is in them never comes to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from labkit.rows.requests import REQUEST


class Station(Protocol):
    """Sent to a worker, and used there alone. node: of Ray, where the worker is best; '' for any.
    blocks: how many it takes at a time."""

    node: str
    blocks: int

    def answers(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """Tables of responses, as they come, with their column `row`."""
        ...

    def rest(self) -> list[pa.Table]:
        """What it still holds when the last block was taken. Raises JobFailed."""
        ...

    def check(self) -> None:
        """Raise JobFailed for what ends the job once all that was answered is written."""
        ...


class Answered:
    """The blocks are responses: an engine stage of Ray Data has made them."""

    def __init__(self, node: str = "", blocks: int = 8):
        self.node, self.blocks = node, blocks

    async def answers(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """The block itself."""
        yield block

    def rest(self) -> list[pa.Table]:
        """Nothing is held."""
        return []

    def check(self) -> None:
        """Nothing ends the job here."""


class AskReplicas:
    """The blocks are requests, which some replicas of a warm engine answer, all on one node: in
    batches of `size`, of which at most `batches` are with each. replicas: see
    `replica.Replica`; job: its number."""

    def __init__(self, replicas: Sequence[Any], job: int, size: int, batches: int, node: str):
        self.replicas, self.job, self.size, self.batches = replicas, job, size, batches
        self.node, self.blocks = node, 2 * len(replicas)  # the next one is there when one runs out
        #: Each replica as often as it has room for a batch: the one that waits longest comes first.
        self.free: asyncio.Queue[Any] | None = None

    async def answers(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """Each batch when it is answered."""
        if self.free is None:
            self.free = asyncio.Queue()
            for replica in [*self.replicas] * self.batches:
                self.free.put_nowait(replica)
        asked = [
            asyncio.ensure_future(self._answer(block.slice(first, self.size), self.free))
            for first in range(0, block.num_rows, self.size)
        ]
        try:
            for answered in asyncio.as_completed(asked):
                yield await answered
        finally:
            for one in asked:
                one.cancel()

    async def _answer(self, batch: pa.Table, free: asyncio.Queue[Any]) -> pa.Table:
        # A copy: a slice would be sent with all rows of the table that it is a view of.
        places = pa.array(range(batch.num_rows), pa.int64())
        requests = batch.select(REQUEST.names).take(places).set_column(0, "row_id", places)
        replica = await free.get()
        try:
            answered: pa.Table = await replica.answer(self.job, requests)
        finally:
            free.put_nowait(replica)
        return answered.append_column("row", batch["row"])

    def rest(self) -> list[pa.Table]:
        """Nothing is held."""
        return []

    def check(self) -> None:
        """Nothing ends the job here."""
