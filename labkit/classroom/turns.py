"""Runs a class's jobs, one after the other, on its warm engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from labkit.classroom.turn_queue import TurnQueue
from labkit.engines import warm_engine, warm_jobs
from labkit.errors import Cancelled, JobFailed, LabError
from labkit.metrics import EngineUse
from labkit.rows import responses, wire
from labkit.rows.requests import REQUEST
from labkit.settings.processor_spec import ProcessorSpec


class Engine(Protocol):
    """Who answers the class."""

    def answer(
        self,
        requests: pa.Table,
        knobs: dict[str, int],
        cancel: threading.Event,
        told: Callable[[pa.Table], None],
    ) -> EngineUse:
        """Answer all requests; `told` is given the responses as they come. Raises Cancelled soon
        after `cancel` is set, JobFailed with the engine's own reason."""


class WarmEngine:
    """The class's own: one warm engine for all jobs."""

    def __init__(self, spec: ProcessorSpec):
        self.spec = spec

    def answer(
        self,
        requests: pa.Table,
        knobs: dict[str, int],
        cancel: threading.Event,
        told: Callable[[pa.Table], None],
    ) -> EngineUse:
        """See `Engine`."""
        spec, use = self.spec.with_(**knobs), EngineUse()
        size = spec["batch_size"]
        batches = (
            requests.take(pa.array(range(at, min(at + size, len(requests))), pa.int64()))
            for at in range(0, len(requests), size)
        )
        with warm_engine.aborting(None):
            for table in warm_jobs.answer(batches, spec, cancel=cancel, use=use):
                told(table)
        return use


class _Leave(threading.Event):
    """Set when a job is to end; `why` says by what."""

    def __init__(self, why: Callable[[], str]):
        super().__init__()
        self.why = why

    def is_set(self) -> bool:
        return bool(self.why())


class Turns:
    """Takes jobs from the line and gives their responses back to it, until `stop`."""

    def __init__(self, queue: TurnQueue, engine: Engine):
        self.queue, self.engine = queue, engine
        self.stopping = threading.Event()

    def stop(self) -> None:
        """End soon; the job under way goes back into the line."""
        self.stopping.set()
        with self.queue.changed:
            self.queue.changed.notify_all()

    def run(self) -> None:
        """Serve until `stop`."""
        while not self.stopping.is_set():
            if not self.step():
                with self.queue.changed:  # a turn that waits for its next job ends by the clock
                    self.queue.changed.wait(0.2)

    def step(self) -> bool:
        """Run the job whose turn it is; False where there is none."""
        job = self.queue.next()
        if job is None:
            return False
        clock, limit = self.queue.clock, self.queue.limits.seconds
        began, started = clock(), time.time()

        def why() -> str:
            if self.stopping.is_set():
                return "stopping"
            return self.queue.wanted(job) or ("late" if clock() - began > limit else "")

        leave, tables = _Leave(why), list[pa.Table]()

        def told(table: pa.Table) -> None:
            tables.append(table.select(responses.RESPONSE.names))
            self.queue.advance(job, table.num_rows)

        def result(use: EngineUse | None) -> str:
            every = pa.concat_tables([responses.table([]), *tables])
            about: dict[str, Any] = {"started": started, "finished": time.time()}
            if use is not None:
                about |= use.as_json()
            return wire.dumps({"columns": wire.to_columns(every, responses.RESPONSE), **about})

        try:
            asked = wire.from_columns(json.loads(job.requests), REQUEST)
            use = self.engine.answer(asked, json.loads(job.knobs), leave, told)
            self.queue.finish(job, result(use))
        except Cancelled:
            if (reason := why()) == "late":
                words = (
                    f"It took longer than {limit:g} s, which is a turn of this class: "
                    f"{sum(map(len, tables)):,} of {job.rows:,} rows were finished. Take fewer "
                    "rows, or shorter answers (max_tokens)."
                )
                self.queue.finish(job, result(None), words)
            elif reason == "gone":
                self.queue.finish(job, None)
            else:
                self.queue.put_back(job)
        except JobFailed as problem:  # the engine died: the next one may do better
            self.queue.put_back(job, str(problem))
        except LabError as problem:
            self.queue.finish(job, None, str(problem))
        except BaseException:
            self.queue.put_back(job)
            raise
        return True
