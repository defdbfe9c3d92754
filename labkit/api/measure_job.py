"""How fast a specification is for some rows: a short measurement on a warm engine."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.api.configure import configure
from labkit.api.run_job import run
from labkit.engines import warm_engine
from labkit.errors import JobFailed, LabError, lab_errors
from labkit.metrics import Metrics
from labkit.progress import View
from labkit.results.job import Job
from labkit.rows import user_data
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Row, Task

#: Runs at a setting: enough for a median and a range.
RUNS = 3
#: Rows of a run, in rows in flight: fewer would measure how an engine fills and empties.
LEAST = 2


@dataclass(frozen=True)
class Measurement:
    """rows_per_s: of each run, answered rows over the wall time of its call. rows: of a run.
    start_s: from the call until the engine was warm, its warm-up run included; 0 where it was up.
    metrics: of the last run. spec: what it ran with, engines a card settled."""

    rows_per_s: tuple[float, ...]
    rows: int
    start_s: float
    metrics: Metrics
    spec: ProcessorSpec


@lab_errors("The setting could not be measured")
def measure(
    task: Task,
    data: pd.DataFrame | Sequence[Row],
    spec: ProcessorSpec | None = None,
    *,
    seconds: float = 5.0,
    rows: int | None = None,
    runs: int = RUNS,
    skip: int = 0,
    progress: bool | View = False,
    cancel: threading.Event | None = None,
    stall_s: float | None = None,
    enough: Callable[[Sequence[float]], bool] = lambda rates: False,
) -> Measurement:
    """Rows/s of `task` over some of the rows of `data`, on a warm engine that stays up.

    A run that warms up and is not counted (none with `rows` on an engine that is up), then `runs`
    of them. seconds: about how long a run takes (all of the data at most); rows: of a run, instead.
    Rows are drawn at random, the same ones each time, so that a file sorted by length is no trap.
    skip: so many of the rows drawn are passed over, for a run with rows that no other had; after
    the last row the first ones come again.
    enough: is given the rates after each run; True for no more.

    spec: None for this machine's defaults. Raises what `labkit.run` raises, LabError for an
    endpoint, and JobFailed when no row of a run was answered.
    """
    spec = of_engines(spec).with_(warm=True)
    every = user_data.in_memory(data)
    some = random.Random(0).sample(every, len(every))
    some = some[skip % max(1, len(some)) :] + some[: skip % max(1, len(some))]
    options: dict[str, Any] = {"progress": progress, "cancel": cancel, "stall_s": stall_s}
    began, up = time.monotonic(), warm_engine.current()
    fits = up is not None and not warm_engine.why_reload(up, spec)
    if rows is None or not fits:
        warm_up = _run(task, some[: rows or LEAST * spec.rows_in_flight], spec, options)
        most = max(warm_up.metrics.rows_per_s * seconds, LEAST * warm_up.spec.rows_in_flight)
        rows = rows or round(most)
    start_s = time.monotonic() - began if warm_engine.current() is not up else 0.0
    rates: list[float] = []
    for _ in range(runs):
        job = _run(task, some[:rows], spec, options)
        rates.append(job.metrics.rows / job.metrics.wall_s)
        if enough(rates):
            break
    assert isinstance(job.spec, ProcessorSpec)
    return Measurement(tuple(rates), min(rows, len(some)), start_s, job.metrics, job.spec)


def of_engines(spec: ProcessorSpec | None) -> ProcessorSpec:
    """The specification, or this machine's. Raises LabError for one of a server."""
    spec = spec or configure()
    if not isinstance(spec, ProcessorSpec):
        raise LabError("This measures an engine of the lab's own: give a labkit.configure(…).")
    return spec


def _run(task: Task, rows: list[Row], spec: ProcessorSpec, options: dict[str, Any]) -> Job:
    job = run(task, rows, spec, **options)
    if not job.metrics.rows:
        raise JobFailed(f"No row was answered: {job.failed['error'].iloc[0]}")
    return job
