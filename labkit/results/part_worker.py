"""A worker that reads the answers of a streamed job and writes them: nothing of a row passes the
driver, which hands out references and hears counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.engines.station import Station
from labkit.metrics import CUT
from labkit.metrics.tally import Tally
from labkit.results.agreement import Elsewhere
from labkit.results.parquet_folder import Parts
from labkit.results.part_writer import RowsToParts
from labkit.rows import user_data
from labkit.rows.id_set import IdSet, hashes
from labkit.tasks import Task

#: Between two looks whether rows have waited long enough.
LOOK_S = 0.2


@dataclass(frozen=True)
class Work:
    """What all workers of a job are told. every: the ids of the data; agreed: the actor with the
    Agreement; noted: whether the folder notes a prompt; seconds: how long rows wait for a part;
    clocks: see `metrics.timeline`."""

    task: Task
    schema: pa.Schema
    parts: Parts
    into: str
    every: IdSet
    agreed: Any
    noted: bool
    seconds: float
    clocks: int


@dataclass
class Counts:
    """Of one worker, so far: rows that were answered or failed, their output tokens, those cut at
    `max_tokens`; of those in a part, how many there are, and how many failed."""

    rows: int = 0
    tokens: int = 0
    cut: int = 0
    written: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        mine, others = vars(self), vars(other)
        return Counts(*(mine[name] + others[name] for name in mine))


class Writer(RowsToParts):
    """Writes those rows of the job that are among its ids and did not come to this worker before,
    and adds up their numbers."""

    def __init__(self, work: Work):
        source = user_data.Source(work.schema)
        super().__init__(work.task, source, work.parts, work.into, Elsewhere(work.agreed))
        self.noted, self.seconds = work.noted, work.seconds
        self.every = work.every
        #: A bit for each id, by its place in `every`: 1 when it came.
        self.came = np.zeros(-(-len(work.every) // 8), np.uint8)
        self.tally, self.counts = Tally(work.clocks), Counts()

    def new(self, ids: pa.ChunkedArray) -> np.ndarray:
        """True for the rows that are wanted and have not come before."""
        at = self.every.places(hashes(ids))
        byte, bit = at >> 3, np.left_shift(1, at & 7).astype(np.uint8)
        first = np.zeros(len(at), bool)
        first[np.unique(at, return_index=True)[1]] = True
        new = (at >= 0) & first & ((self.came[byte] & bit) == 0)
        np.bitwise_or.at(self.came, byte[new], bit[new])
        return new

    def count(self, times: pa.Table, failed: int) -> None:
        """Rows are in a part now."""
        self.tally.add(times.to_pandas())
        self.counts.written += times.num_rows
        self.counts.failed += failed


class PartWorker:
    """The actor. Its blocks come to it by `take`, any of them at a time."""

    def __init__(self, work: Work, station: Station):
        import ray.data  # noqa: F401 (its types of Arrow are in the blocks)

        self.work, self.hold = work, work.parts.writing()
        self.station, self.writer = station, Writer(work)
        self.clock: asyncio.Task[None] | None = None
        self.problem: Exception | None = None

    async def take(self, block: pa.Table) -> None:
        """Have a block answered; when this returns, its rows are written, or will be within some
        seconds. Raises what the engine or the disk raised, also of rows before."""
        self.clock = self.clock or asyncio.create_task(self._flush_in_time())
        async for table in self.station.answers(block):
            self._write(table)
        if self.problem is not None:
            raise self.problem

    async def so_far(self) -> Counts:
        """How many rows came."""
        return self.writer.counts

    async def finish(self, save_only: bool = False) -> tuple[Counts, Tally]:
        """Write what waits. save_only: of a job that was stopped."""
        if self.clock is not None:
            self.clock.cancel()
        try:
            if not save_only:
                for table in self.station.rest():
                    self._write(table)
            with self.writer.thread:
                self.writer.flush(last=True)
                self.writer.settle()
        finally:
            self.work.parts.written(self.hold)
        if self.problem is not None:
            raise self.problem
        if not save_only:
            self.station.check()
        return self.writer.counts, self.writer.tally

    def _write(self, table: pa.Table) -> None:
        counts = self.writer.counts
        counts.rows += table.num_rows
        counts.tokens += pc.sum(table["num_generated_tokens"]).as_py() or 0
        counts.cut += pc.sum(pc.equal(table["finish_reason"], CUT)).as_py() or 0
        self.writer.take(table)

    async def _flush_in_time(self) -> None:
        """Finished rows are written though no other comes."""
        while self.problem is None:
            await asyncio.sleep(LOOK_S)
            try:
                self.writer.flush_due()
            except Exception as problem:  # raised where the driver asks
                self.problem = problem
