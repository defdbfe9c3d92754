"""Run one job: a task over rows, through a processor, to answers, failures and metrics."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit import cluster, metrics, pipeline
from labkit.errors import JobFailed, LabError
from labkit.processor import STAGE_CPUS, ProcessorSpec, configure
from labkit.progress import Progress
from labkit.tasks import Row, Task
from labkit.views import show

if TYPE_CHECKING:
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
    spec: ProcessorSpec
    started: float

    def timeline(self) -> pd.DataFrame:
        """The answered rows with their times in seconds since the call (`metrics.timeline`)."""
        return metrics.timeline(self.rows, self.started)

    def _repr_html_(self) -> str:
        return show(self.metrics.table())._repr_html_()


def run(
    task: Task,
    data: pd.DataFrame | Sequence[Row] | ray.data.Dataset,
    spec: ProcessorSpec | None = None,
    *,
    into: str = "answer",
    verbose: bool = False,
    progress: bool = True,
) -> Job:
    """Put `task` to every row of `data` and wait for all answers.

    data: a pandas frame, a list of dicts, or a Ray Dataset (streamed in order).
    spec: from `configure`; None for this machine's defaults.
    into: the name of the new column.
    verbose: show the logs of Ray and vLLM (else they stay in Ray's log folder).
    progress: show rows done, output tokens/s and time left.

    Bad rows don't stop the job: they come back in `Job.failed`. Raises LabError for data that
    can't be used, CannotSchedule when the cluster is too small, JobFailed when the engine dies.
    """
    spec = spec or configure()
    cluster.start(verbose=verbose)
    started = time.time()
    with cluster.quiet(verbose), _quiet_data(verbose) as context:
        dataset, inputs, index = _load(data, spec["batch_size"], context)
        _check_columns(inputs, into)
        output = stages(task, dataset, spec, with_row=inputs is None)
        with Progress(
            None if inputs is None else len(inputs), startup=_startup_words(spec), show=progress
        ) as shown:
            tables = list(_stream(output, shown))
    finished = time.time()
    return _collect(tables, inputs, index, into, spec, started, finished)


def stages(
    task: Task, dataset: ray.data.Dataset, spec: ProcessorSpec, *, with_row: bool = True
) -> ray.data.Dataset:
    """A packed Dataset → a lazy Dataset of finished rows, for your own Ray Data pipeline."""
    in_ray = bool(spec["detokenize_stage"]) and "stop" not in task.sampling
    changes: dict[str, Any] = {} if in_ray else {"detokenize_stage": False}
    processor = spec.build(pipeline.preprocess(task, ray_detokenizes=in_ray), **changes)
    return processor(dataset).map_batches(
        pipeline.Finish,
        fn_constructor_args=(task, with_row),
        batch_format="pyarrow",
        batch_size=spec["batch_size"],
        concurrency=1,
        num_cpus=STAGE_CPUS,
    )


@contextlib.contextmanager
def _quiet_data(verbose: bool) -> Iterator[Any]:
    """Ray Data's settings for a job, restored afterwards."""
    import ray.data

    context = ray.data.DataContext.get_current()
    detectors = context.issue_detectors_config
    before = (context.enable_progress_bars, detectors.detectors)
    order = context.execution_options.preserve_order
    context.enable_progress_bars = False
    if not verbose:
        detectors.detectors = []
    try:
        yield context
    finally:
        context.enable_progress_bars, detectors.detectors = before
        context.execution_options.preserve_order = order


def _load(
    data: Any, batch_size: int, context: Any
) -> tuple[ray.data.Dataset, list[Row] | None, pd.Index | None]:
    """(packed Dataset with blocks of one batch, the input rows, their index)."""
    import ray.data

    if isinstance(data, ray.data.Dataset):
        context.execution_options.preserve_order = True
        packed = data.map_batches(_pack_batch, batch_format="pyarrow", num_cpus=STAGE_CPUS)
        return packed.repartition(target_num_rows_per_block=batch_size), None, None
    index = data.index if isinstance(data, pd.DataFrame) else None
    rows: list[Any] = data.to_dict("records") if index is not None else list(data)
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
    return ray.data.from_arrow(blocks), rows, index


def _pack_batch(batch: Any) -> Any:
    return pipeline.pack(batch.to_pylist())


def _check_columns(inputs: list[Row] | None, into: str) -> None:
    if inputs and (clash := {into, "error"} & set().union(*inputs)):
        raise LabError(
            f"The data already has a column {clash.pop()!r}. Rename it, or name the new column "
            "with into='…' ('error' is kept for the reasons of failed rows)."
        )


def _startup_words(spec: ProcessorSpec) -> str:
    engines = "the engine" if spec.replicas == 1 else f"{spec.replicas} engines"
    return f"starting {engines} for {spec.model.name} (about half a minute on a CPU)"


def _stream(output: ray.data.Dataset, shown: Progress) -> Iterator[Any]:
    from ray.exceptions import RayError

    try:
        for table in output.iter_batches(batch_size=None, batch_format="pyarrow"):
            tokens = table["num_generated_tokens"].to_pandas().sum()
            shown.advance(table.num_rows, int(tokens))
            yield table
    except RayError as error:
        raise JobFailed(_diagnose(error)) from error


def _diagnose(error: BaseException) -> str:
    """The engine's own reason (the last line of the deepest error), and where the logs are."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
    return (
        f"The job stopped: {words or type(error).__name__}. Run `python -m labkit doctor` to see "
        f"what this machine lacks; the full logs are in {cluster.log_folder()}."
    )


def _collect(
    tables: list[Any],
    inputs: list[Row] | None,
    index: pd.Index | None,
    into: str,
    spec: ProcessorSpec,
    started: float,
    finished: float,
) -> Job:
    import pyarrow as pa

    done = pa.concat_tables(tables).to_pandas()
    if inputs is None:  # a Dataset, streamed in order: its rows came back with the answers
        done["row_id"] = range(len(done))
        inputs = [pickle.loads(row) for row in done.pop("row")]
    done = done.set_index("row_id").sort_index()
    if len(done) != len(inputs) or not done.index.is_unique:
        raise JobFailed(f"{len(inputs)} rows went in, {len(done)} came out: please report this.")
    frame = pd.DataFrame(inputs, index=index)
    ok = done["error"].isna().to_numpy()
    answers = frame[ok].copy()
    answers[into] = pd.Series([pickle.loads(a) for a in done["answer"][ok]], index=answers.index)
    failed = frame[~ok].copy()
    failed["error"] = done["error"][~ok].to_numpy()
    rows = done[[*metrics.ROW_COLUMNS]]
    numbers = metrics.compute(rows, started, finished)
    return Job(answers, failed, rows, numbers, spec, started)
