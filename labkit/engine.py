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
        self.accepting = False

    async def begin(self, rows_in_flight: int) -> None:
        """Get ready for a job: its limit of rows at the engine, and no prefix of another job."""
        self.llm.semaphore = asyncio.Semaphore(rows_in_flight)
        await self.llm.engine.reset_prefix_cache()
        self.accepting = True

    async def answer(self, rows: list[Row], engine_decodes: bool) -> list[Row]:
        """Preprocessed rows → the same number of rows with the columns of KEPT and the error."""
        for stage in self.stages:
            if not self.accepting:
                raise Cancelled("The job was stopped.")
            if engine_decodes and type(stage).__name__ == "DetokenizeUDF":
                continue
            async for done in stage({DATA: rows}):
                rows = done[DATA]
        return [{name: row.get(name) for name in (*KEPT, pipeline.ERROR)} for row in rows]

    async def abort(self) -> None:
        """Give up the rows at the engine and refuse more until `begin`."""
        self.accepting = False
        for work in asyncio.all_tasks():
            if getattr(work.get_coro(), "__name__", "") == "_generate_with_error_handling":
                work.cancel()  # vLLM gives up the request of a cancelled reader

    def close(self) -> None:
        """End the engine's own process and let go of its memory."""
        self.llm.shutdown()


class Ask:
    """The one light stage of a job on a warm engine: question, engine, answer."""

    def __init__(self, task: Task, engines: list[Any], engine_decodes: bool, with_row: bool):
        self.ask = pipeline.preprocess(task, ray_detokenizes=not engine_decodes)
        self.finish = pipeline.Finish(task, with_row)
        self.engine_decodes = engine_decodes
        self.engines = engines
        self.busy = [0] * len(engines)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        packed = batch.to_pylist()
        asked = [self.ask(row) for row in packed]
        at = self.busy.index(min(self.busy))  # the replica with the fewest batches
        self.busy[at] += 1
        try:
            answers = await self.engines[at].answer.remote(asked, self.engine_decodes)
        finally:
            self.busy[at] -= 1
        yield self.finish.table(
            [{**row, **said} for row, said in zip(packed, answers, strict=True)]
        )
