"""The actor of a warm engine: vLLM's own `AsyncLLMEngine` in a process of Ray that outlives a job.

It is public (https://docs.vllm.ai/en/latest/api/vllm/); Ray Data LLM's stage wraps the same.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.engines.card_use import CardUse, share_reader
from labkit.engines.engine_use import StepCounter, children_cpu_s, cpu_s
from labkit.engines.prompt_rendering import Renderer
from labkit.errors import Cancelled
from labkit.metrics import CORE, FRONT_END, EngineUse
from labkit.rows import requests, responses
from labkit.rows.sampling_values import decoded_by_engine
from labkit.tasks import Row

if TYPE_CHECKING:
    pass


class Engine:
    """The engine of one replica. Made by `replica.Replica`."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.renderer: Renderer | None = None
        self.slots = asyncio.Semaphore(1)
        self.job: int | None = None
        self.running: set[asyncio.Task[Row]] = set()
        self.steps = StepCounter()
        self.card = CardUse(None)

    async def load(self, arguments: dict[str, Any], renderer: dict[str, Any] | None) -> None:
        """Load the model. arguments: of `vllm.AsyncEngineArgs`. renderer: the arguments of a
        Renderer of its own; None where prompts come as tokens and tokens are the answer."""
        import vllm

        self.renderer = Renderer(**renderer) if renderer else None
        # vLLM's own loggers cost time at each row; with one of ours the rows' times stay.
        made = vllm.AsyncEngineArgs(**{"disable_log_stats": True, **arguments})
        loggers: Any = [self.steps]
        self.engine = vllm.AsyncLLMEngine.from_engine_args(made, stat_loggers=loggers)
        self.card = CardUse(share_reader())
        # What is there now stays: the garbage collector need not look at it at each of its rounds,
        # in which no row's tokens are read (vLLM's own API server does the same).
        gc.collect()
        gc.freeze()

    async def begin(self, job: int, rows_in_flight: int) -> EngineUse:
        """Get ready for a job: its limit of rows at the engine, and no prefix of another job.
        Returns `use`."""
        self.slots = asyncio.Semaphore(rows_in_flight)
        for _ in range(50):  # vLLM refuses while a block of an aborted row is still in use
            if await self.engine.reset_prefix_cache() is not False:
                break
            await asyncio.sleep(0.1)
        self.job = job
        self.card.begin()
        return await self.use()

    async def node(self) -> str:
        """The node of Ray that it is on."""
        import ray

        return ray.get_runtime_context().get_node_id()

    async def use(self) -> EngineUse:
        """What its processes have done until now."""
        spent = {FRONT_END: cpu_s(), CORE: children_cpu_s()}
        return EngineUse(self.steps.preemptions, spent, self.card.busy_s())

    async def answer(
        self, job: int, batch: pa.Table, prompts: tuple[list[list[int]], list[str | None]] | None
    ) -> Any:
        """Requests → a table of responses; where `prompts` come with them (what `Renderer.encode`
        makes of the requests), rows for `with_text`.

        Raises Cancelled for a job that was stopped, or overtaken by another one.
        """
        if self.job is None:
            raise Cancelled("The job was stopped.")
        if self.job != job:
            raise Cancelled("Another job took the warm engine over: run one at a time.")
        apart = prompts is not None
        if prompts is None:
            assert self.renderer is not None
            prompts = self.renderer.encode(batch)
        name, limit = uuid.uuid4().hex, self.slots
        asked = zip(batch.to_pylist(), *prompts, strict=True)
        tasks = [
            asyncio.create_task(self._row(name, at, limit, *row, apart))
            for at, row in enumerate(asked)
        ]
        self.running.update(tasks)
        self.card.watch(lambda: bool(self.running))
        try:
            rows = await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            raise Cancelled("The job was stopped.") from None
        finally:
            for task in tasks:
                task.cancel()
            self.running.difference_update(tasks)
        return rows if apart else responses.table(rows)

    async def _row(
        self,
        batch: str,
        at: int,
        limit: asyncio.Semaphore,
        request: Row,
        prompt: list[int],
        error: str | None,
        apart: bool,
    ) -> Row:
        """One request, with its place in the batch, and its prompt or why it has none."""
        output: Any = None
        if error is None:
            try:
                parameters = sampling_parameters(request["sampling"], apart)
                async with limit:
                    stream = self.engine.generate(
                        {"prompt_token_ids": prompt}, parameters, request_id=f"{batch}-{at}"
                    )
                    async for said in stream:
                        output = said
            except Exception as problem:  # whatever vLLM says of this row
                if self.engine.errored:
                    raise
                error = f"{type(problem).__name__}: {problem}"
        return _response(request["row_id"], output, error, batch)

    async def abort(self) -> None:
        """Give up the rows at the engine and refuse more until `begin`."""
        self.job = None
        for task in self.running:
            task.cancel()  # vLLM gives up the request of a cancelled reader

    def close(self) -> None:
        """End the engine's own process and let go of its memory."""
        if self.engine is not None:
            self.engine.shutdown()


@functools.lru_cache(maxsize=1024)  # most rows of a job have the same
def sampling_parameters(text: str, texts_apart: bool) -> Any:
    """vLLM's own `SamplingParams` of a request's JSON, whose last output alone is wanted.

    texts_apart: tokens are the answer, where the parameters allow it.
    """
    import vllm
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling = requests.sampling_of(text)
    if texts_apart and not decoded_by_engine(sampling):
        sampling["detokenize"] = False
    if choice := sampling.pop("structured_outputs", None):
        sampling["structured_outputs"] = StructuredOutputsParams(**choice)
    # By default an answer comes anew at each of its tokens, for servers that stream.
    # Without a limit vLLM's class stops at 16 tokens, its servers where the model or the context
    # ends: so do the lab's engines.
    # A deep copy of the parameters for each row costs much (docs/gpu.md); what vLLM changes in a
    # shallow one is the same for all rows.
    defaults = {"output_kind": RequestOutputKind.FINAL_ONLY, "max_tokens": None}
    return vllm.SamplingParams(**{**defaults, "skip_clone": True, **sampling})


def _response(row_id: int | None, output: Any, error: str | None, batch: str) -> Row:
    """What vLLM says of a row, as responses have it; `token_ids` where it made no text."""
    if output is None:
        return {"row_id": row_id, "error": responses.printable(error or responses.NO_ANSWER)}
    (said,) = output.outputs
    read = responses.of_engine(
        row_id,
        error,
        text=said.text,
        times=vars(output.metrics) if output.metrics else None,
        counts=(len(output.prompt_token_ids), len(said.token_ids)),
        finish_reason=said.finish_reason,
        batch_uuid=batch,
        cached=output.num_cached_tokens,
    )
    if not said.text:
        read["token_ids"] = list(said.token_ids)
    return read
