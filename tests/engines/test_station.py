"""Workers of a streamed job ask replicas: all of them, and none of them more than it may have."""

from __future__ import annotations

import asyncio

import pyarrow as pa

from labkit.engines.station import AskReplicas
from labkit.rows.requests import REQUEST


class Replica:
    """Notes how many batches are with it."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def answer(self, job: int, batch: pa.Table) -> pa.Table:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return batch.select(["row_id"])


def test_each_replica_has_its_batches_and_each_row_is_asked_once() -> None:
    replicas = [Replica() for _ in range(3)]
    station = AskReplicas(replicas, 1, 4, 2, "")
    text = ["a"] * 50
    block = pa.table([pa.nulls(50, pa.int64()), text, text, pa.nulls(50, pa.string())], REQUEST)
    block = block.append_column("row", pa.array([{"id": number} for number in range(50)]))

    async def ids() -> list[int]:
        tables = [table async for table in station.answers(block)]
        return [row["id"] for table in tables for row in table["row"].to_pylist()]

    assert sorted(asyncio.run(ids())) == list(range(50))
    assert [replica.most for replica in replicas] == [2, 2, 2]
