"""What a row costs the driver, the program that hands out the rows: CPU time by batch size.

    python -m benchmarks.driver [--batch-sizes 64 128 256] [--rows 33600]

No engine: actors of Ray stand in for four replicas, each with an actor for its texts, and answer
after 0.3 s. So it says nothing of throughput, and prints none: only the CPU time of this program,
for the requests, for handing them out, and for reading the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray

import labkit
from benchmarks.short_rows import posts
from labkit import tasks
from labkit.engines.batches_in_flight import BatchesInFlight
from labkit.metrics import ROW_COLUMNS
from labkit.rows import requests, responses
from labkit.rows.sampling_values import for_vllm

REPLICAS, ROWS_IN_FLIGHT, TOKENS = 4, 1024, 100
SAID = dict.fromkeys(ROW_COLUMNS, 1) | {"text": "positive", "batch_uuid": "b"}


class Texts:
    """Stands in for the actor of prompts and texts."""

    async def encode(self, batch: pa.Table) -> Any:
        """Prompts of TOKENS tokens."""
        return [[1] * TOKENS] * batch.num_rows, [None] * batch.num_rows

    async def decode(self, rows: list[dict[str, Any]]) -> pa.Table:
        """The responses."""
        return responses.table(rows)


class Engine:
    """Stands in for an engine."""

    async def answer(self, batch: pa.Table, prompts: Any) -> Any:
        """One word for each row."""
        await asyncio.sleep(0.3)
        return [{**SAID, "row_id": at} for at in batch["row_id"].to_pylist()]


class Replica:
    """Asks its actors as `engine_actor.Replica` does."""

    def __init__(self) -> None:
        options = {"num_cpus": 0.1, "max_concurrency": 100_000}
        kinds: list[Any] = [ray.remote(Texts), ray.remote(Engine)]
        self.texts, self.engine = (kind.options(**options).remote() for kind in kinds)

    def answer(self, job: int, batch: pa.Table) -> Any:
        """A reference to the responses."""
        rows = self.engine.answer.remote(batch, self.texts.encode.remote(batch))
        return self.texts.decode.remote(rows)


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of CPU time that this program takes for it, what it returns)."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def main() -> None:
    """Print microseconds of CPU time a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--rows", type=int, default=33_600)
    given = parser.parse_args()
    rows, task = posts(1 + given.rows // 4200)[: given.rows], tasks.sentiment()
    labkit.start()
    replicas = [Replica() for _ in range(REPLICAS)]
    for size in given.batch_sizes:
        asked = requests.Batches(task, rows, for_vllm, size)
        made, batches = spent(lambda asked=asked: list(asked.all()))  # type: ignore[misc]
        flight = BatchesInFlight(replicas, 0, max(1, ROWS_IN_FLIGHT // size))
        ray.get([replica.answer(0, batches[0]) for replica in replicas])

        def hand_out(flight: Any = flight, batches: Any = batches) -> list[pa.Table]:
            tables = []
            for batch in batches:
                tables += [table for _, table in flight.finished(None)]
                flight.send(batch)
            return tables + [table for _, table in flight.finished(None, everything=True)]

        handed, tables = spent(hand_out)
        read, _ = spent(
            lambda tables=tables: [  # type: ignore[misc]
                responses.answered(task, table, rows, aligned=False) for table in tables
            ]
        )
        parts = {"requests": made, "handing out": handed, "answers": read}
        words = ", ".join(f"{name} {1e6 * s / len(rows):.0f}" for name, s in parts.items())
        print(f"batches of {size}: µs of CPU time a row: {words}", flush=True)
    labkit.stop()


if __name__ == "__main__":
    main()
