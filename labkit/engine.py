"""What a warm engine runs inside Ray's workers: the engine's actor, and the stage that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa

from labkit import pipeline
from labkit.errors import Cancelled
from labkit.tasks import Row, Task

#: What `pipeline.Finish` reads of an answer; the rest (token lists, prompts) stays at the engine.
KEPT = ("generated_text", "metrics", "num_input_tokens", "num_generated_tokens", "batch_uuid")
DATA = "__data"


class Engine:
    """One replica: the stages of a processor in a Ray actor. Made by `use`, called by `Ask`."""

    def __init__(self, stages: list[tuple[type, dict[str, Any]]]):
        self.stages = [make(**arguments) for make, arguments in stages]
        self.llm = next(stage.llm for stage in self.stages if hasattr(stage, "llm"))
        self.job: int | None = None

    async def begin(self, job: int, rows_in_flight: int) -> None:
        """Get ready for a job: its limit of rows at the engine, and no prefix of another job."""
        self.llm.semaphore = asyncio.Semaphore(rows_in_flight)
        for _ in range(50):  # vLLM refuses while a block of an aborted row is still in use
            if await self.llm.engine.reset_prefix_cache() is not False:
                break
            await asyncio.sleep(0.1)
        self.job = job

    async def answer(self, job: int, rows: list[Row], engine_decodes: bool) -> list[Row]:
        """Preprocessed rows → the same number of rows with the columns of KEPT and the error.

        Raises Cancelled for a job that was stopped, or overtaken by another one.
        """
        for stage in self.stages:
            if self.job is None:
                raise Cancelled("The job was stopped.")
            if self.job != job:
                raise Cancelled("Another job took the warm engine over: run one at a time.")
            if engine_decodes and type(stage).__name__ == "DetokenizeUDF":
                continue
            async for done in stage({DATA: rows}):
                rows = done[DATA]
        return [{name: row.get(name) for name in (*KEPT, pipeline.ERROR)} for row in rows]

    async def abort(self) -> None:
        """Give up the rows at the engine and refuse more until `begin`."""
        self.job = None
        for work in asyncio.all_tasks():
            if getattr(work.get_coro(), "__name__", "") == "_generate_with_error_handling":
                work.cancel()  # vLLM gives up the request of a cancelled reader

    def close(self) -> None:
        """End the engine's own process and let go of its memory."""
        self.llm.shutdown()


class Ask:
    """The one light stage of a job on a warm engine: question, engine, answer."""

    def __init__(
        self, task: Task, job: int, engines: list[Any], engine_decodes: bool, with_row: bool
    ):
        self.ask = pipeline.preprocess(task, ray_detokenizes=not engine_decodes)
        self.finish = pipeline.Finish(task, with_row)
        self.engine_decodes = engine_decodes
        self.job = job
        self.engines = engines
        self.busy = [0] * len(engines)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        packed = batch.to_pylist()
        asked = [self.ask(row) for row in packed]
        at = self.busy.index(min(self.busy))  # the replica with the fewest batches
        self.busy[at] += 1
        try:
            answers = await self.engines[at].answer.remote(self.job, asked, self.engine_decodes)
        finally:
            self.busy[at] -= 1
        yield self.finish.table(
            [{**row, **said} for row, said in zip(packed, answers, strict=True)]
        )
