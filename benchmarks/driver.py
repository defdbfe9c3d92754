"""What a row costs the driver, the program that hands out the rows and reads or writes the answers.

    python -m benchmarks.driver [--batch-sizes 64 128 256] [--rows 33600] [--jobs 5] [--rate 0 5700]

No engine: actors of Ray stand in for eight replicas, each with an actor for its texts. First the
CPU time of this program by batch size: for the requests, for handing them out, and for reading the
answers. Then whole jobs in turn, after one of each that warms up: of `labkit.run`, of
`labkit.write`, and of `labkit.write` from a Parquet file ("stream": workers ask and write). The
stand-ins answer `--rate` rows/s together (0: at once, so that this program is the limit). Printed
are rows/s of the whole call and over the engine span, and the cores that this program took. So it
says nothing of an engine's throughput, only what this program leaves of it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

import labkit
from benchmarks.short_rows import posts
from labkit import tasks
from labkit.engines import warm_engine
from labkit.engines.batches_in_flight import BatchesInFlight
from labkit.metrics import EngineUse
from labkit.rows import requests, responses
from labkit.rows.sampling_values import for_vllm

REPLICAS, ROWS_IN_FLIGHT, TOKENS = 8, 1024, 100
SAID: dict[str, Any] = {"text": "positive", "finish_reason": "stop", "batch_uuid": "b"}
SAID |= {"num_input_tokens": TOKENS, "num_generated_tokens": 2, "num_cached_tokens": 0}


class Texts:
    """Stands in for the actor of prompts and texts."""

    def __init__(self, engine: Any):
        self.engine = engine

    async def answer(self, job: int, batch: pa.Table) -> pa.Table:
        """The engine's responses to prompts of TOKENS tokens."""
        prompts = [[1] * TOKENS] * batch.num_rows, [None] * batch.num_rows
        table: pa.Table = await self.engine.answer.remote(batch.select(["row_id"]), prompts)
        return table


class Engine:
    """Stands in for an engine that answers `rate` rows/s, in turn; 0: at once."""

    def __init__(self, rate: float):
        self.rate, self.free = rate, 0.0

    async def use(self) -> EngineUse:
        """Nothing to tell; called at the begin of a job and at its end."""
        return EngineUse(0)

    async def node(self) -> str:
        """The node that it is on."""
        return ray.get_runtime_context().get_node_id()

    async def close(self) -> None:
        """Nothing to close."""

    async def answer(self, batch: pa.Table, prompts: Any) -> pa.Table:
        """One word for each row."""
        came, arrived = time.monotonic(), time.time()
        begins = max(came, self.free)
        self.free = begins + (batch.num_rows / self.rate if self.rate else 0)
        await asyncio.sleep(self.free - came)
        times = dict(zip(responses.TIMES, (arrived, came, begins, begins, self.free), strict=True))
        table = responses.table([SAID | times] * batch.num_rows)
        return table.set_column(0, table.schema.field(0), batch["row_id"])


class Replica:
    """Asks its actors as `replica.Replica` does."""

    def __init__(self, rate: float) -> None:
        options = {"num_cpus": 0.01, "max_concurrency": 100_000}
        kinds: list[Any] = [ray.remote(Texts), ray.remote(Engine)]
        self.engine = kinds[1].options(**options).remote(rate)
        self.texts = kinds[0].options(**options).remote(self.engine)

    def actors(self) -> list[Any]:
        """Its actors."""
        return [self.engine, self.texts]

    def begin(self, job: int, rows_in_flight: int) -> list[Any]:
        """Tell it of a job."""
        return self.use()

    def use(self) -> list[Any]:
        """What it has done."""
        return [self.engine.use.remote()]

    def answer(self, job: int, batch: pa.Table) -> Any:
        """A reference to the responses."""
        return self.texts.answer.remote(job, batch)


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of CPU time that this program takes for it, what it returns)."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def by_step(task: tasks.Task, rows: list[tasks.Row], size: int) -> dict[str, float]:
    """Microseconds of CPU time a row of each step, in batches of a size."""
    replicas = [Replica(0) for _ in range(REPLICAS)]
    made, batches = spent(lambda: list(requests.Batches(task, rows, for_vllm, size).all()))
    flight = BatchesInFlight(replicas, 0, max(1, ROWS_IN_FLIGHT // size))
    ray.get([replica.answer(0, batches[0]) for replica in replicas])

    def hand_out() -> list[pa.Table]:
        tables = []
        for batch in batches:
            tables += [table for _, table in flight.finished(None)]
            flight.send(batch)
        return tables + [table for _, table in flight.finished(None, everything=True)]

    handed, tables = spent(hand_out)
    read, _ = spent(
        lambda: [responses.answered(task, table, rows, aligned=False) for table in tables]
    )
    for actor in (actor for replica in replicas for actor in replica.actors()):
        ray.kill(actor)
    parts = {"requests": made, "handing out": handed, "answers": read}
    return {name: 1e6 * seconds / len(rows) for name, seconds in parts.items()}


def whole(
    task: tasks.Task, rows: list[tasks.Row], size: int, rate: float, jobs: int
) -> dict[str, list[tuple[float, float, float]]]:
    """{"run", "write", "stream": (rows/s of the call, over the engine span, cores of this program)
    of each job}, in turn."""
    batches = ROWS_IN_FLIGHT // size
    spec = labkit.configure(warm=True, batch_size=size, max_concurrent_batches=batches)
    warm = warm_engine.Warm(spec, warm_engine._session() or "")
    warm.replicas = [Replica(rate / REPLICAS) for _ in range(REPLICAS)]  # type: ignore[misc]
    warm_engine._current = warm

    def written(data: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return labkit.write(task, data, folder, spec, id_column="id", progress=False).metrics

    file = Path(tempfile.mkdtemp()) / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    kinds: dict[str, Callable[[], Any]] = {
        "run": lambda: labkit.run(task, rows, spec, progress=False).metrics,
        "write": lambda: written(rows),
        "stream": lambda: written(file),
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in kinds}
    for _ in range(jobs + 1):
        for name, work in kinds.items():
            began = time.monotonic()
            cpu, metrics = spent(work)
            took = time.monotonic() - began
            found[name].append((len(rows) / took, metrics.rows_per_s, cpu / took))
    warm_engine.stop()
    return {name: values[1:] for name, values in found.items()}


def main() -> None:
    """Print microseconds of CPU time a row, and rows/s of whole jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--rows", type=int, default=33_600)
    parser.add_argument("--jobs", type=int, default=5)
    parser.add_argument("--rate", type=float, nargs="*", default=[0, 5700])
    given = parser.parse_args()
    rows, task = posts(1 + given.rows // 4200)[: given.rows], tasks.sentiment()
    rows = [{"id": number, **row} for number, row in enumerate(rows)]
    labkit.start()
    for size in given.batch_sizes:
        words = ", ".join(f"{name} {us:.0f}" for name, us in by_step(task, rows, size).items())
        print(f"batches of {size}: µs of CPU time a row: {words}", flush=True)
    for rate in given.rate:
        found = whole(task, rows, 256, rate, given.jobs)
        print(f"stand-ins that answer {f'{rate:,.0f} rows/s' if rate else 'at once'}:")
        for name, values in found.items():
            calls, spans, cores = zip(*values, strict=True)
            middle, span, busy = map(statistics.median, (calls, spans, cores))
            words = f"{middle:,.0f} rows/s ({min(calls):,.0f} to {max(calls):,.0f}), {span:,.0f}"
            words += f" over the engine span, {busy:.2f} cores of this program"
            print(f"  {name}: {words}, {1e6 * busy / middle:.0f} µs of it a row")
        ratios = [w[0] / r[0] for r, w in zip(found["run"], found["write"], strict=True)]
        print(f"  write / run: {statistics.median(ratios):.2f} ", end="")
        print(f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} pairs)", flush=True)
    labkit.stop()


if __name__ == "__main__":
    main()
