"""Run one job: a task over rows, through a processor, to answers, failures and metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labkit.api.configure import configure
from labkit.api.job_stream import first_rows, ray_data_settings, stream
from labkit.api.watchdog import limit
from labkit.engines import dispatch, recorded_jobs
from labkit.engines.dispatch import made_ready, parameter_of
from labkit.errors import lab_errors
from labkit.metrics import EngineUse
from labkit.progress import Progress, View
from labkit.ray_session import capacity, job_lock, session
from labkit.results import job as jobs
from labkit.results.job import Job
from labkit.rows import data_checks, requests, user_data
from labkit.rows.responses import Answered, answered
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.settings.seat_spec import SeatSpec
from labkit.settings.setting import JobSpec
from labkit.tasks import Row, Task

if TYPE_CHECKING:
    import ray.data


@lab_errors("The job could not be run")
def run(
    task: Task,
    data: pd.DataFrame | Sequence[Row] | ray.data.Dataset,
    spec: JobSpec | None = None,
    *,
    into: str = "answer",
    verbose: bool = False,
    progress: bool | View = True,
    cancel: threading.Event | None = None,
    stall_s: float | None = None,
) -> Job:
    """Put `task` to every row of `data` and wait for all answers.

    data: a pandas frame, a list of dicts, or a Ray Dataset (streamed in order).
    spec: from `configure` or `endpoint`; None for this machine's defaults.
    into: the name of the new column.
    verbose: show the logs of Ray and vLLM (else they stay in Ray's log folder).
    progress: show rows done, output tokens/s and time left; or where to show them.
    cancel: ends the job with Cancelled when set; a warm engine stays up.
    stall_s: seconds without a finished row, the engine's start included, after which the job is
    ended with Stalled; None for $LABKIT_STALL_S, or 900 (or what all tries of an endpoint take).

    Bad rows don't stop the job: they come back in `Job.failed`. Raises LabError for data that
    can't be used, CannotSchedule when the cluster is too small, JobFailed when the engine dies;
    Stalled is a JobFailed. After these, after Cancelled and after Ctrl-C `labkit.partial` has the
    rows that were finished.
    """
    started = time.time()
    spec = spec or configure()
    seconds = limit(stall_s, spec.patience_s)
    if not isinstance(spec, SeatSpec):
        session.start(verbose=verbose)
    with job_lock.one_job(), session.quiet(verbose), ray_data_settings(verbose, data):
        jobs.forget()
        inputs = None if user_data.is_dataset(data) else user_data.in_memory(data)
        data_checks.check_columns(data, inputs, into)
        requests.check_task(task)
        if columns := data_checks.columns(data, inputs):
            requests.check_columns(task, columns)
        asked = recorded_jobs.in_one(_requests(task, data, inputs, spec))
        spec = _settled(task, data, asked, spec, cancel, seconds)
        made_ready(asked, spec)
        noted = recorded_jobs.copied(asked)
        clocks = capacity.clocks(spec.replicas)
        total = None if inputs is None else len(inputs)
        frame = data if isinstance(data, pd.DataFrame) else None
        about, use = (inputs, frame, into, spec, started), EngineUse()
        finished: list[Answered] = []

        def every() -> list[Answered]:
            refused = requests.refused(asked)
            return [*finished, _answered(task, refused, inputs)] if refused.num_rows else finished

        with Progress(total, **recorded_jobs.words(spec), show=progress) as shown:
            try:
                known = shown.failed = requests.refused(asked).num_rows
                for table in stream(asked, spec, shown, cancel, seconds, use=use):
                    finished.append(_answered(task, table, inputs))
                    shown.failed += pc.sum(finished[-1].table["error"].is_valid()).as_py()
                refused = requests.refused(asked).num_rows
                shown.failed += refused - known
                shown.advance(refused, 0)  # at the end: they say nothing of the rate
                began, ended = use.clock or (started, time.time())
                recorded_jobs.note(noted, spec, [a.table for a in finished], began, ended, use)
                about = (inputs, frame, into, spec, began)
                return jobs.collect(every(), *about, ended, clocks=clocks, use=use)
            except BaseException:
                jobs.keep(every(), *about, clocks)
                shown.kept = "labkit.partial() has them" if shown.rows else ""
                raise


def _requests(
    task: Task, data: Any, inputs: list[Row] | None, spec: JobSpec
) -> requests.Batches | ray.data.Dataset:
    """Batches of requests, or a Dataset of them."""
    parameter, size = parameter_of(spec), spec["batch_size"]
    if inputs is not None:
        return requests.Batches(task, inputs, parameter, size)
    made = data.map_batches(
        user_data.with_requests,
        fn_kwargs={"task": task, "parameter": parameter},
        batch_format="pyarrow",
        num_cpus=STAGE_CPUS,
    )
    return made.repartition(target_num_rows_per_block=size)


def _settled(
    task: Task,
    data: Any,
    asked: requests.Batches | ray.data.Dataset,
    spec: JobSpec,
    cancel: threading.Event | None,
    stall_s: float,
) -> JobSpec:
    """With as many engines on a card as the rows take: of a Dataset by its first rows."""
    if isinstance(asked, requests.Batches) or not dispatch.open_number(spec):
        return dispatch.settled(spec, task, asked)
    first = first_rows(data, cancel, stall_s)
    head = requests.Batches(task, first, parameter_of(spec), user_data.HEAD)
    return dispatch.settled(spec, task, head, part=True)


def _answered(task: Task, table: pa.Table, inputs: list[Row] | None) -> Answered:
    if inputs is None:
        return answered(task, table, user_data.streamed_rows(table), aligned=True)
    return answered(task, table, inputs, aligned=False)
