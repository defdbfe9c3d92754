"""A job on the warm engine: tables of requests go to its replicas, and their responses come back;
or workers that ask it by themselves get a station each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from labkit.engines import engine_use, warm_engine
from labkit.engines.batches_in_flight import BatchesInFlight
from labkit.engines.station import AskReplicas
from labkit.errors import JobFailed
from labkit.metrics import DRIVER, EngineUse

if TYPE_CHECKING:
    import ray.data

    from labkit.settings.processor_spec import ProcessorSpec

#: A worker of a streamed job serves so many replicas at most. Its own start takes two seconds of a
#: core, and a row some 0.04 ms (2 CPU cores, stand-ins for engines): 4 answer 7,000 rows/s.
REPLICAS_A_WORKER = 4


def answer(
    batches: Iterable[pa.Table] | ray.data.Dataset,
    spec: ProcessorSpec,
    *,
    say: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
    use: EngineUse | None = None,
) -> Iterator[pa.Table]:
    """Tables of requests (or a Dataset of them) → tables of responses, as they come; with the
    requests' column `row`, if they have one. Rows of a Dataset get their place as `row_id`.

    On the warm engine: started when none fits (`say` tells why), else reused. At most
    `max_concurrent_batches` batches are at a replica, each with the replica that has the fewest.
    use: is told at the end what the engines and this program did for it.
    """
    import ray.data

    warm, before = warm_engine.started(spec, say, cancel), engine_use.cpu_s()
    if isinstance(batches, ray.data.Dataset):
        batches = _numbered(
            batches.iter_batches(batch_size=spec["batch_size"], batch_format="pyarrow")
        )
    flight = BatchesInFlight(warm.replicas, warm.job, spec["max_concurrent_batches"])
    for batch in batches:
        yield from map(_joined, flight.finished(cancel))
        flight.send(batch)
    yield from map(_joined, flight.finished(cancel, everything=True))
    if use is not None:
        tell(use)
        use.cpu_s = {DRIVER: engine_use.cpu_s() - before, **use.cpu_s}


def tell(use: EngineUse) -> None:
    """Note what the engines that are up did since their job began."""
    with contextlib.suppress(JobFailed):  # it has died after its last answer
        if (did := warm_engine.use()) is not None:
            use.take(did.as_json())


def stations(
    spec: ProcessorSpec,
    say: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> list[AskReplicas]:
    """The engines for this spec, started as `answer` does it, for workers that ask them: one worker
    for REPLICAS_A_WORKER of a node, or fewer."""
    import ray

    warm = warm_engine.started(spec, say, cancel)
    nodes = ray.get([replica.engine.node.remote() for replica in warm.replicas])
    size, batches = spec["batch_size"], spec["max_concurrent_batches"]
    made = []
    for node in dict.fromkeys(nodes):
        there = [one for one, at in zip(warm.replicas, nodes, strict=True) if at == node]
        workers = -(-len(there) // REPLICAS_A_WORKER)
        for first in range(workers):
            some = there[first::workers]
            made.append(AskReplicas(some, warm.job, size, batches, node))
    return made


def _numbered(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    first = 0
    for batch in batches:
        places = pa.array(range(first, first + batch.num_rows), pa.int64())
        first += batch.num_rows
        yield batch.set_column(batch.schema.get_field_index("row_id"), "row_id", places)


def _joined(both: tuple[pa.Table, pa.Table]) -> pa.Table:
    asked, answered = both
    if "row" not in asked.column_names:
        return answered
    return answered.append_column("row", asked["row"])
