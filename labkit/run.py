"""Run one job: a task over rows, through a processor, to answers, failures and metrics."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit import cluster, metrics, pipeline, warm
from labkit import tables as framing
from labkit.choices import STAGE_CPUS
from labkit.errors import Cancelled, JobFailed, LabError
from labkit.processor import ProcessorSpec, Spec, configure
from labkit.progress import Progress, View
from labkit.tasks import Row, Task
from labkit.views import show

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data


@dataclass(frozen=True)
class Job:
    """The result of a run.

    answers: the input columns plus the answer, in input order, without the failed rows.
    failed: the input columns plus `error`, the reason, in input order.
    rows: the times and token counts of each row (columns of `metrics.ROW_COLUMNS`), by row number.
    metrics: the job's numbers. spec: what it ran with. started: Unix seconds.
    """

    answers: pd.DataFrame
    failed: pd.DataFrame
    rows: pd.DataFrame
    metrics: metrics.Metrics
    spec: Spec
    started: float

    def timeline(self) -> pd.DataFrame:
        """The answered rows with their times in seconds since the call (`metrics.timeline`)."""
        return metrics.timeline(self.rows, self.started)

    def _repr_html_(self) -> str:
        return show(self.metrics.table())._repr_html_()


def run(
    task: Task,
    data: pd.DataFrame | Sequence[Row] | ray.data.Dataset,
    spec: Spec | None = None,
    *,
    into: str = "answer",
    verbose: bool = False,
    progress: bool | View = True,
    cancel: threading.Event | None = None,
) -> Job:
    """Put `task` to every row of `data` and wait for all answers.

    data: a pandas frame, a list of dicts, or a Ray Dataset (streamed in order).
    spec: from `configure` or `endpoint`; None for this machine's defaults.
    into: the name of the new column.
    verbose: show the logs of Ray and vLLM (else they stay in Ray's log folder).
    progress: show rows done, output tokens/s and time left; or where to show them.
    cancel: ends the job with Cancelled when set: at once on a warm engine, else after a batch.

    Bad rows don't stop the job: they come back in `Job.failed`. Raises LabError for data that
    can't be used, CannotSchedule when the cluster is too small, JobFailed when the engine dies.
    """
    spec = spec or configure()
    cluster.start(verbose=verbose)
    started = time.time()
    with cluster.one_job(), cluster.quiet(verbose), _quiet_data(verbose, data):
        dataset, inputs = _load(data, spec["batch_size"])
        _check_columns(data, inputs, into)
        with Progress(
            None if inputs is None else len(inputs), startup=spec.starting, show=progress
        ) as shown:
            output = answers(task, dataset, spec, inputs is None, shown, cancel)
            tables = list(_stream(output, shown, cancel))
    finished = time.time()
    frame = data if isinstance(data, pd.DataFrame) else None
    return _collect(tables, inputs, frame, into, spec, started, finished)


def answers(
    task: Task,
    dataset: ray.data.Dataset,
    spec: Spec,
    with_row: bool = True,
    shown: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[pa.Table]:
    """A packed Dataset → tables of finished rows, as they come (see `pipeline.Finish`)."""
    if isinstance(spec, ProcessorSpec):
        if spec.warm:
            say = shown.say if shown else None
            yield from warm.answers(task, dataset, spec, with_row=with_row, say=say, cancel=cancel)
            return
        warm.stop()  # one engine at a time: nothing else is to use the machine
    finished = spec.processor(task)(dataset).map_batches(
        pipeline.Finish,
        fn_constructor_args=(task, with_row),
        batch_format="pyarrow",
        batch_size=spec["batch_size"],
        concurrency=1,
        num_cpus=STAGE_CPUS,
    )
    yield from finished.iter_batches(batch_size=None, batch_format="pyarrow")


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
        pipeline.pack(rows[at : at + batch_size], at) for at in range(0, len(rows), batch_size)
    ]
    return ray.data.from_arrow(blocks), rows


def _pack_batch(batch: Any) -> Any:
    return pipeline.pack(batch.to_pylist())


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
    output: Iterator[pa.Table], shown: Progress, cancel: threading.Event | None = None
) -> Iterator[pa.Table]:
    from ray.exceptions import RayError

    try:
        with warm.aborting(cancel):
            for table in output:
                if cancel is not None and cancel.is_set():
                    raise Cancelled(f"Cancelled after {shown.rows:,} rows.")
                tokens = table["num_generated_tokens"].to_pandas().sum()
                shown.advance(table.num_rows, int(tokens))
                yield table
    except RayError as error:
        if cancel is not None and cancel.is_set():
            raise Cancelled(f"Cancelled after {shown.rows:,} rows.") from None
        raise JobFailed(cluster.diagnose(error)) from error


def _collect(
    tables: list[Any],
    inputs: list[Row] | None,
    frame: pd.DataFrame | None,
    into: str,
    spec: Spec,
    started: float,
    finished: float,
) -> Job:
    import pyarrow as pa

    if inputs is None and not any(table.num_rows for table in tables):
        raise LabError("There are no rows to run: the data is empty.")
    done = pa.concat_tables(tables).to_pandas()
    if inputs is None:  # a Dataset, streamed in order: its rows came back with the answers
        done["row_id"] = range(len(done))
        inputs = [pickle.loads(row) for row in done.pop("row")]
    done = done.set_index("row_id").sort_index()
    if len(done) != len(inputs) or not done.index.is_unique:
        raise JobFailed(f"{len(inputs)} rows went in, {len(done)} came out: please report this.")
    frame = framing.frame(inputs) if frame is None else frame
    ok = done["error"].isna().to_numpy()
    answers = frame[ok].copy()
    values = [pickle.loads(answer) for answer in done["answer"][ok]]
    answers[into] = framing.series(values, answers.index)
    failed = frame[~ok].copy()
    failed["error"] = done["error"][~ok].to_numpy()
    rows = done[[*metrics.ROW_COLUMNS]]
    numbers = metrics.compute(rows, started, finished)
    # An answer that can't be read took the engine's time, but is no answer.
    numbers = replace(numbers, rows=int(ok.sum()), failed=int((~ok).sum()))
    return Job(answers, failed, rows, numbers, spec, started)
