"""What a warm engine runs inside Ray's workers: stages of a processor, kept alive in an actor."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from labkit.errors import Cancelled
from labkit.rows import requests
from labkit.tasks import Row

#: What `requests.Finish` reads of an answer; the rest (token lists, prompts) stays at the engine.
KEPT = ("generated_text", "metrics", "num_input_tokens", "num_generated_tokens", "batch_uuid")
DATA = "__data"


class Engine:
    """The engine, or the stages of text before or after it, of one replica. Made by `warm.use`."""

    def __init__(self) -> None:
        self.stages: list[Any] = []
        self.llm: Any = None
        self.job: int | None = None

    async def load(self, stages: bytes) -> None:
        """Make the stages: a pickled list of classes with their arguments.

        It comes after the process is there, whose own imports take seconds (see `forked`).
        """
        made: list[tuple[type, dict[str, Any]]] = pickle.loads(stages)
        self.stages = [make(**arguments) for make, arguments in made]
        self.llm = next((stage.llm for stage in self.stages if hasattr(stage, "llm")), None)

    async def begin(self, job: int, rows_in_flight: int) -> None:
        """Get ready for a job: its limit of rows at the engine, and no prefix of another job."""
        if self.llm is not None:
            self.llm.semaphore = asyncio.Semaphore(rows_in_flight)
            for _ in range(50):  # vLLM refuses while a block of an aborted row is still in use
                if await self.llm.engine.reset_prefix_cache() is not False:
                    break
                await asyncio.sleep(0.1)
        self.job = job

    async def answer(
        self, job: int, rows: list[Row], engine_decodes: bool = False, last: bool = True
    ) -> list[Row]:
        """Rows through these stages; after the `last` ones with the columns of KEPT and the error.

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
        if not last:
            return rows
        return [{name: row.get(name) for name in (*KEPT, requests.ERROR)} for row in rows]

    async def abort(self) -> None:
        """Give up the rows at the engine and refuse more until `begin`."""
        self.job = None
        for work in asyncio.all_tasks():
            if getattr(work.get_coro(), "__name__", "") == "_generate_with_error_handling":
                work.cancel()  # vLLM gives up the request of a cancelled reader

    def close(self) -> None:
        """End the engine's own process and let go of its memory."""
        if self.llm is not None:
            self.llm.shutdown()
