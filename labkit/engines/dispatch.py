"""Who answers requests: an engine of the job's own, a warm one, or a server; one interface."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from labkit.engines import classroom, recorded_jobs, warm_engine, warm_jobs
from labkit.engines.refusals import Refusals
from labkit.engines.station import Answered, Station
from labkit.hardware.recorded_machine import replaying
from labkit.metrics import EngineUse
from labkit.ray_session import internals
from labkit.rows import requests
from labkit.rows.requests import Batches, Parameter
from labkit.rows.sampling_values import for_vllm, number
from labkit.settings import engines_on_card
from labkit.settings.endpoint_spec import EndpointSpec
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.seat_spec import SeatSpec

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from labkit.settings.setting import JobSpec
    from labkit.tasks import Task

#: How many batches a block has at most, or twice as many as can be with a replica; and how many
#: blocks each replica gets at least, where there are enough rows.
BATCHES_A_BLOCK, BLOCKS_A_REPLICA = 8, 8
#: Where each replica gets so many blocks, they are larger, up to so many rows: a block below 100 kB
#: lies in this process, and of short rows 3,700 of 128 rows each waited, 190 MiB.
MANY_BLOCKS, LARGE_BLOCK = 64, 2048
#: Bytes of rows that are read and wait, for each engine; where stages of Ray Data ask, theirs are
#: among them. Ray Data would read on until half of its object store is full, and of a block below
#: 100 kB the bytes lie in this process: a million short rows were 160 MiB of it.
AHEAD_BYTES, AHEAD_BYTES_COLD = 32 * 2**20, 128 * 2**20
#: Characters of a token, about: only whether rows are short or long matters here.
CHARACTERS = 4


def answer(
    asked: Batches | ray.data.Dataset,
    spec: JobSpec,
    *,
    say: Callable[[str], None],
    cancel: threading.Event | None = None,
    stall_s: float = math.inf,
    use: EngineUse | None = None,
) -> Iterator[pa.Table]:
    """Requests (`rows.requests.REQUEST`) → tables of responses (`rows.responses.RESPONSE`), as
    they come. A column `row` of the requests comes back with them.

    asked: batches of rows in memory, or a Dataset, which is streamed.
    say: what to tell meanwhile, such as that an engine starts. cancel: ends it, soon.
    stall_s: seconds without a finished row after which the job will be ended.
    use: is told at the end what a warm engine did for it.
    """
    if replaying():
        yield from recorded_jobs.answer(asked, spec, cancel, use)
        return
    if isinstance(spec, SeatSpec):
        yield from classroom.answer(asked, spec, say=say, cancel=cancel, use=use)
        return
    import ray.data

    from labkit.engines import endpoint_client, ray_data_llm

    if isinstance(spec, ProcessorSpec) and spec.warm:
        yield from warm_jobs.answer(asked, spec, say=say, cancel=cancel, use=use)
        return
    # One block for each batch: rows in flight are then exactly batch_size × batches.
    dataset = ray.data.from_arrow(list(asked)) if isinstance(asked, Batches) else asked
    if isinstance(spec, EndpointSpec):
        yield from endpoint_client.answer(dataset, spec, stall_s, cancel)
        return
    assert isinstance(spec, ProcessorSpec)
    warm_engine.stop()  # one engine at a time: nothing else is to use the machine
    yield from ray_data_llm.answer(dataset, spec, cancel)


def blocks(
    asked: ray.data.Dataset,
    spec: JobSpec,
    *,
    say: Callable[[str], None],
    cancel: threading.Event | None = None,
    stall_s: float = math.inf,
    use: EngineUse | None = None,
) -> Iterator[tuple[Sequence[Station], Any]]:
    """A Dataset of requests → (stations, the reference of a block) for workers that read the
    responses: the block goes to any of the stations, which are the same for all blocks. The first
    block is None: workers take seconds to start, and so does Ray Data until it has one. Nothing
    of the rows comes to this process, but for those of a recording and of a class's engine. The
    rest is as in `answer`."""
    import ray

    from labkit.engines import endpoint_client, ray_data_llm

    stations: Sequence[Station]
    if replaying() or isinstance(spec, SeatSpec):
        stations = [Answered()]
        for table in answer(asked, spec, say=say, cancel=cancel, use=use):
            yield stations, ray.put(table)
        return
    if isinstance(spec, EndpointSpec):
        stations = [Refusals(spec.url, spec["max_concurrent_batches"])]
        asked = endpoint_client.answered(asked, spec, stall_s, cancel)
    elif isinstance(spec, ProcessorSpec) and spec.warm:
        stations = warm_jobs.stations(spec, say, cancel)
    else:
        assert isinstance(spec, ProcessorSpec)
        warm_engine.stop()
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        stations = [Answered(node) for node in nodes]
        asked = ray_data_llm.answered(asked, spec, cancel)
    yield stations, None
    ahead = AHEAD_BYTES_COLD if _is_cold(spec) else AHEAD_BYTES
    with reading_ahead(asked, ahead * spec.replicas):
        for block, _ in internals.blocks(asked):
            yield stations, block


def _is_cold(spec: JobSpec) -> bool:
    return isinstance(spec, ProcessorSpec) and not spec.warm


@contextlib.contextmanager
def reading_ahead(dataset: ray.data.Dataset, limit: float) -> Iterator[None]:
    """Let no more than about so many bytes wait between a Dataset's stages, and behind them. A
    lower limit of the user's holds."""
    options = dataset.context.execution_options
    before = options.resource_limits
    lower = min(limit, before.object_store_memory)
    options.resource_limits = before.copy(object_store_memory=lower)
    try:
        yield
    finally:
        options.resource_limits = before


def block_rows(spec: JobSpec, rows: int) -> int:
    """How many rows the blocks of a Dataset of requests have, of so many. Ray Data takes some
    milliseconds of this process for a block: a warm engine's workers cut large ones into batches.
    But each of them is to have some blocks, so that all end at about the same time."""
    size: int = spec["batch_size"]
    if not isinstance(spec, ProcessorSpec) or not spec.warm:
        return size
    most = max(BATCHES_A_BLOCK, 2 * spec["max_concurrent_batches"])
    few = min(most, rows // (BLOCKS_A_REPLICA * spec.replicas * size))
    many = min(LARGE_BLOCK // size, rows // (MANY_BLOCKS * spec.replicas * size))
    return size * max(1, few, many)


def told(spec: JobSpec, use: EngineUse) -> None:
    """Note what a warm engine did for the job that has just ended."""
    if isinstance(spec, ProcessorSpec) and spec.warm and not replaying():
        warm_jobs.tell(use)


def made_ready(asked: Batches | ray.data.Dataset, spec: JobSpec) -> None:
    """Make the requests of rows in memory now, unless a warm engine is up to take them as they are
    made: what can't be asked is known before an engine starts, or a server is paid."""
    if not isinstance(asked, Batches):
        return
    if isinstance(spec, SeatSpec):
        asked.all()
        return
    up = warm_engine.current() if isinstance(spec, ProcessorSpec) and spec.warm else None
    if up is None or not isinstance(spec, ProcessorSpec) or warm_engine.why_reload(up, spec):
        asked.all()


def settled(
    spec: JobSpec,
    task: Task,
    asked: Batches | ray.data.Dataset,
    rows: int | None = None,
    *,
    part: bool = False,
) -> JobSpec:
    """The specification that a job runs with: as many engines on a card as its rows take. Batches
    take its size from now on. part: these are the first of the rows, of so many; None: nobody knows
    of how many."""
    if not isinstance(spec, ProcessorSpec) or isinstance(spec, SeatSpec):
        return spec
    running = warm_engine.current() if spec.warm else None
    if isinstance(asked, Batches) and not part:
        rows = asked.rows
    spec = engines_on_card.settle(spec, _work(task, asked, rows), running)
    if isinstance(asked, Batches):
        asked.size = spec["batch_size"]
    return spec


def open_number(spec: JobSpec) -> bool:
    """Whether `settled` will choose a number of engines by the lengths of the first rows."""
    if not isinstance(spec, ProcessorSpec) or isinstance(spec, SeatSpec):
        return False
    return spec.engines_per_gpu == "auto" and bool(spec.machine.gpus)


def _work(task: Task, asked: Batches | ray.data.Dataset, rows: int | None) -> engines_on_card.Work:
    """What is known of the rows: four characters a token, and the whole of `max_tokens`, but for
    choices, whose longest is known."""
    first = asked.first() if isinstance(asked, Batches) else None
    if first is not None:
        inputs = sum(map(len, first["messages"].to_pylist())) / len(first) / CHARACTERS
        sampling = [requests.sampling_of(text) for text in first["sampling"].to_pylist()]
    else:
        inputs, sampling = 256.0, [dict(task.sampling)]
    outputs = sum(map(_output_tokens, sampling)) / len(sampling)
    return engines_on_card.Work(rows, inputs, outputs)


def _output_tokens(sampling: dict[str, Any]) -> float:
    most = sampling.get("max_tokens") or 512
    form = sampling.get("structured_outputs")
    choices = form.get("choice") if isinstance(form, dict) else None
    return min(most, 1 + max(map(len, choices)) / CHARACTERS) if choices else most


def parameter_of(spec: JobSpec) -> Parameter:
    """How the sampling parameters of a spec's rows are checked before they are sent."""
    return for_vllm if isinstance(spec, ProcessorSpec) else number
