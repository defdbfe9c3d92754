"""Where a worker that writes parts has its responses from: a block of a Dataset → tables of them.

The driver hands out references of blocks; what is in them never comes to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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


class AskReplica:
    """The blocks are requests, which one replica of a warm engine answers: in batches of `size`,
    of which at most `batches` are with it. replica: see `engine_actor.Replica`; job: its number."""

    def __init__(self, replica: Any, job: int, size: int, batches: int, node: str):
        self.replica, self.job, self.size, self.batches = replica, job, size, batches
        self.node, self.blocks = node, 2  # the next one is there when one runs out
        self.room: asyncio.Semaphore | None = None

    async def answers(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """Each batch when it is answered."""
        self.room = self.room or asyncio.Semaphore(self.batches)
        asked = [
            asyncio.ensure_future(self._answer(block.slice(first, self.size), self.room))
            for first in range(0, block.num_rows, self.size)
        ]
        try:
            for answered in asyncio.as_completed(asked):
                yield await answered
        finally:
            for one in asked:
                one.cancel()

    async def _answer(self, batch: pa.Table, room: asyncio.Semaphore) -> pa.Table:
        # A copy: a slice would be sent with all rows of the table that it is a view of.
        places = pa.array(range(batch.num_rows), pa.int64())
        requests = batch.select(REQUEST.names).take(places).set_column(0, "row_id", places)
        async with room:
            answered: pa.Table = await self.replica.answer(self.job, requests)
        return answered.append_column("row", batch["row"])

    def rest(self) -> list[pa.Table]:
        """Nothing is held."""
        return []

    def check(self) -> None:
        """Nothing ends the job here."""
