"""Run one job: a task over rows, through a processor, to answers, failures and metrics."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.api.watchdog import Watch, limit
from labkit.engines import warm_engine
from labkit.errors import JobFailed, LabError, Stalled
from labkit.progress import Progress, View
from labkit.ray_session import capacity, execution, session
from labkit.results import job
from labkit.results.job import Job
from labkit.rows import requests
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.settings.job_spec import Spec
from labkit.settings.processor_spec import ProcessorSpec, configure
from labkit.tasks import Row, Task

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data


def run(
    task: Task,
    data: pd.DataFrame | Sequence[Row] | ray.data.Dataset,
    spec: Spec | None = None,
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
    spec = spec or configure()
    seconds = limit(stall_s, getattr(spec, "patience_s", 0.0))
    session.start(verbose=verbose)
    started, clocks = time.time(), capacity.clocks(spec.replicas)
    with session.one_job(), session.quiet(verbose), _quiet_data(verbose, data):
        job.forget()
        dataset, inputs = _load(data, spec["batch_size"])
        _check_columns(data, inputs, into)
        total = None if inputs is None else len(inputs)
        frame = data if isinstance(data, pd.DataFrame) else None
        about = (inputs, frame, into, spec, started)
        tables = [requests.Finish(task, with_row=inputs is None).table([])]
        with Progress(total, startup=spec.starting, show=progress) as shown:
            try:
                with Watch(shown, cancel, seconds) as watch:
                    output = answers(task, dataset, spec, inputs is None, shown, watch)
                    for table in _stream(output, dataset, watch):
                        tables.append(table)
                return job.collect(tables, *about, time.time(), clocks=clocks)
            except BaseException:
                job.keep(tables, *about, clocks)
                shown.kept = "labkit.partial() has them" if shown.rows else ""
                raise


def answers(
    task: Task,
    dataset: ray.data.Dataset,
    spec: Spec,
    with_row: bool = True,
    shown: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[pa.Table]:
    """A packed Dataset → tables of finished rows, as they come (see `requests.Finish`)."""
    if isinstance(spec, ProcessorSpec):
        if spec.warm:
            say = shown.say if shown else None
            yield from warm_engine.answers(
                task, dataset, spec, with_row=with_row, say=say, cancel=cancel
            )
            return
        warm_engine.stop()  # one engine at a time: nothing else is to use the machine
    finished = spec.processor(task)(dataset).map_batches(
        requests.Finish,
        fn_constructor_args=(task, with_row),
        batch_format="pyarrow",
        batch_size=spec["batch_size"],
        concurrency=1,
        num_cpus=STAGE_CPUS,
    )
    # Prefetching would hold every table back until the next one is there.
    yield from finished.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


@contextlib.contextmanager
def _quiet_data(verbose: bool, data: Any = None) -> Iterator[Any]:
    """Ray Data's settings for a job, restored afterwards.

    A Dataset that the caller made runs with the settings of its own making, not the current ones.
    """
    import ray.data

    given = isinstance(data, ray.data.Dataset)
    context = data.context if given else ray.data.DataContext.get_current()
    detectors, options = context.issue_detectors_config, context.execution_options
    before = (context.enable_progress_bars, detectors.detectors, options.preserve_order)
    context.enable_progress_bars = False
    options.preserve_order = given or options.preserve_order
    if not verbose:
        detectors.detectors = []
    try:
        yield context
    finally:
        context.enable_progress_bars, detectors.detectors, options.preserve_order = before


def _load(data: Any, batch_size: int) -> tuple[ray.data.Dataset, list[Row] | None]:
    """(packed Dataset with blocks of one batch, the input rows unless they are streamed)."""
    import ray.data

    if isinstance(data, ray.data.Dataset):
        packed = data.map_batches(_pack_batch, batch_format="pyarrow", num_cpus=STAGE_CPUS)
        return packed.repartition(target_num_rows_per_block=batch_size), None
    if isinstance(data, pd.DataFrame):
        if len(twice := data.columns[data.columns.duplicated()]):
            raise LabError(f"The data has two columns named {twice[0]!r}. Rename one of them.")
        data = data.to_dict("records")
    rows: list[Any] = list(data)
    if not rows:
        raise LabError("There are no rows to run: the data is empty.")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise LabError(
                f"Row {number} is {type(row).__name__}, not a dict. Give a pandas frame, a list "
                "of dicts such as [{'question': 'What is 2+2?'}], or a Ray Dataset."
            )
    # One block for each batch: rows in flight are then exactly batch_size × batches.
    blocks = [
        requests.pack(rows[at : at + batch_size], at) for at in range(0, len(rows), batch_size)
    ]
    return ray.data.from_arrow(blocks), rows


def _pack_batch(batch: Any) -> Any:
    return requests.pack(batch.to_pylist())


def _check_columns(data: Any, inputs: list[Row] | None, into: str) -> None:
    if inputs is None:  # a Dataset: as far as its columns are known without running it
        columns = set(data.columns(fetch_if_missing=False) or ())
    else:
        columns = set().union(*inputs)
    if clash := {into, "error"} & columns:
        raise LabError(
            f"The data already has a column {clash.pop()!r}. Rename it, or name the new column "
            "with into='…' ('error' is kept for the reasons of failed rows)."
        )


def _stream(
    output: Iterator[pa.Table], dataset: ray.data.Dataset, watch: Watch
) -> Iterator[pa.Table]:
    """The tables of `answers` over `dataset`, counted, as they come; or what ended the job."""
    from ray.exceptions import RayError

    try:
        with warm_engine.aborting(None):
            for table in execution.tables(output, dataset.context, watch):
                tokens = table["num_generated_tokens"].to_pandas().sum()
                watch.shown.advance(table.num_rows, int(tokens))
                yield table
    except Stalled:
        warm_engine.stop()  # it may be the one that stands still
        raise
    except RayError as error:
        raise JobFailed(session.diagnose(error)) from error
