"""`labkit.write` for rows that are streamed: workers read, ask and write. This process hands out
references and hears how many rows are done, so that it holds no more for many rows than for few."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit import metrics
from labkit.api.job_stream import first_rows, in_ray, later
from labkit.api.watchdog import Watch
from labkit.engines import dispatch, recorded_jobs, warm_engine
from labkit.errors import JobFailed, LabError, Stalled
from labkit.metrics import EngineUse, Metrics
from labkit.metrics.tally import Tally
from labkit.progress import Progress, View
from labkit.ray_session import capacity, internals
from labkit.results import job_fingerprint, part_workers, part_writer
from labkit.results.parquet_folder import Parts
from labkit.results.part_worker import Counts, Work
from labkit.results.part_workers import PartWorkers, result
from labkit.rows import data_checks, requests, user_data
from labkit.rows.id_gatherer import ROWS_A_TASK, ROWS_HERE, Gatherer
from labkit.rows.id_set import IdSet
from labkit.settings.setting import JobSpec
from labkit.tasks import Task

if TYPE_CHECKING:
    import ray.data

#: What may be the reason where the ids of a Dataset are not those that it had before.
ANOTHER = (
    " A Dataset that is shuffled, sampled or limited may have other rows each time that it is "
    "read: give what dataset.materialize() makes of it."
)
#: So many parts are looked at by one task.
PARTS_A_TASK = 64


def write_streamed(
    task: Task,
    data: ray.data.Dataset | str | Path,
    path: str | Path,
    spec: JobSpec,
    *,
    id_column: str,
    into: str,
    retry_failed: bool,
    progress: bool | View,
    stall_s: float,
    started: float,
) -> tuple[int, int, int, int, Metrics | None]:
    """(rows in all parts, computed, skipped, failed in all parts, metrics): see `Written`. The rest
    is as in `labkit.write`."""
    parts = Parts(Path(path).expanduser().absolute(), id_column)  # workers begin elsewhere
    with _watched("looking at the data", progress, stall_s, "the ids: ") as (shown, watch):
        source, every = _looked_at(task, data, id_column, into, shown, watch)
    if parts.files():
        _look_at_first(source, stall_s)  # they are compared with those that are answered
    with parts.open():
        known = job_fingerprint.compared(task, spec, source, parts, into)
        with _watched("looking at the parts", False, stall_s) as (_, watch):
            done, failed = _ids_of(parts, source, watch)
            if retry_failed and failed:
                _drop_failed(parts, every, watch)
                done, failed = _ids_of(parts, source, watch)
        todo = len(every) - every.common(done)
        numbers = None
        if todo:
            before = len(done)
            try:
                job = (task, source, spec, parts, into, known, every, done, todo)
                numbers = _computed(*job, progress, stall_s, started)
                with _watched("looking at the parts", False, stall_s) as (_, watch):
                    done, failed = _ids_of(parts, source, watch)
                    if done.twice:  # they came to two workers
                        _drop_twice(parts)
                        done, failed = _ids_of(parts, source, watch)
                    if lost := before + todo - len(done):
                        first = _first_lost(source, parts, done, watch)
                        raise part_writer.did_not_come(first, ANOTHER, lost)
            except BaseException as problem:
                if isinstance(problem, JobFailed) or not isinstance(problem, LabError):
                    part_writer.stopped(problem, parts)
                raise
    return done.rows, todo, len(every) - todo, failed, numbers


def _looked_at(
    task: Task, data: Any, id_column: str, into: str, shown: Progress, watch: Watch
) -> tuple[user_data.Source, IdSet]:
    """(the data, its ids). Files and Datasets are read for it."""
    contexts = [data.context] if user_data.is_dataset(data) else []
    (source,) = in_ray(later(lambda: user_data.source(data)), watch, *contexts)
    data_checks.check(source.schema, id_column, into)
    requests.check_columns(task, source.schema.names)
    assert source.dataset is not None
    kind, every = source.schema.field(id_column).type, IdSet()
    gatherer = Gatherer(id_column, kind)

    def found() -> Iterator[IdSet | int | None]:
        few = source.few(id_column, ROWS_HERE)  # Ray Data takes seconds to start
        some = ((table, table.num_rows) for table in few) if few is not None else None
        for block, rows in some or internals.blocks(source.only(id_column)):
            gatherer.add(block, rows)
            yield rows
        yield from gatherer.finish()

    for some in in_ray(found(), watch, source.dataset.context):
        if isinstance(some, IdSet):
            every = some
        else:
            shown.advance(some, 0)
    source.know(gatherer.types)
    if gatherer.nulls or every.twice or not every.rows:
        # Only now are all ids brought here: the message names the first row.
        read = in_ray(source.ids(id_column), watch, source.dataset.context)
        ids = pa.chunked_array([some.cast(kind) for some in read], kind)
        data_checks.check_ids(ids, id_column)
        raise LabError(f"Column {id_column!r} had ids that were null or there twice.{ANOTHER}")
    return source, every


def _look_at_first(source: user_data.Source, stall_s: float) -> None:
    """Let the source know its first rows, if it doesn't yet."""
    assert source.dataset is not None
    if not source.head:
        source.head = first_rows(source.dataset, None, stall_s)


def _ids_of(parts: Parts, source: user_data.Source, watch: Watch) -> tuple[IdSet, int]:
    """(the ids in all parts, how many of their rows failed)"""
    kind = source.schema.field(parts.id_column).type
    gatherer = Gatherer(parts.id_column, kind, parts.ids, part_workers.on_node())
    for file in parts.files():
        gatherer.add(file, ROWS_A_TASK // PARTS_A_TASK)
    (found,) = in_ray(gatherer.finish(), watch)
    return found, gatherer.marked


def _drop_failed(parts: Parts, every: IdSet, watch: Watch) -> None:
    """Take the failed rows that are in the data out of the parts."""
    import ray

    drop: Any = ray.remote(_without_failed)
    drop = drop.options(num_cpus=0, scheduling_strategy=part_workers.on_node())
    files = parts.files()
    some = [files[at : at + PARTS_A_TASK] for at in range(0, len(files), PARTS_A_TASK)]
    calls = [drop.remote(parts, every, few) for few in some]
    list(in_ray(map(result, calls), watch))


def _without_failed(parts: Parts, every: IdSet, files: list[Path]) -> int:
    def failed(table: pa.Table) -> pa.Array:
        bad = table["error"].is_valid().to_numpy()
        return pa.array(bad & every.has(table[parts.id_column]))

    for file in files:
        parts.drop_from(file, failed)
    return len(files)


def _drop_twice(parts: Parts) -> None:
    """Take out the later ones of the rows that are there twice. Their ids are all brought here: it
    takes a fault of Ray's or of an engine to come to this."""
    seen: set[Any] = set()
    for file in parts.files():
        again = []
        for one in parts.ids(file)[parts.id_column].to_pylist():
            again.append(one in seen)
            seen.add(one)
        if any(again):
            parts.drop_from(file, partial(_these, pa.array(again)))


def _these(which: pa.Array, _: pa.Table) -> pa.Array:
    return which


def _first_lost(
    source: user_data.Source, parts: Parts, done: IdSet, watch: Watch
) -> list[int | str]:
    """The first id of the data that is not among those that are done."""
    assert source.dataset is not None
    lost: list[int | str] = []
    for some in in_ray(source.ids(parts.id_column), watch, source.dataset.context):
        lost += some.filter(pa.array(~done.has(pa.chunked_array([some]))))[:1].to_pylist()
    return lost[:1] or ["of another row than there was"]


def _computed(
    task: Task,
    source: user_data.Source,
    spec: JobSpec,
    parts: Parts,
    into: str,
    known: dict[str, Any],
    every: IdSet,
    done: IdSet,
    todo: int,
    progress: bool | View,
    stall_s: float,
    started: float,
) -> Metrics | None:
    """Ask and write the rows that are not done, `todo` of them; their metrics."""
    assert source.dataset is not None
    if dispatch.open_number(spec):
        _look_at_first(source, stall_s)
    head = requests.Batches(task, source.head, dispatch.parameter_of(spec), user_data.HEAD)
    spec = dispatch.settled(spec, task, head if source.head else source.dataset, todo, part=True)
    parameter, size = dispatch.parameter_of(spec), dispatch.block_rows(spec, todo)
    asked = source.asked(task, parameter, parts.id_column, done, size)
    assert not isinstance(asked, requests.Batches)
    clocks, use = capacity.clocks(spec.replicas), EngineUse(answers_only=True)
    tally: Tally | None = None
    agreed = part_workers.keeper(task, parts, into, known)
    work = Work(
        *(task, source.schema, parts, into, every, agreed, "prompt" in known),
        *(part_writer.PART_SECONDS, clocks),
    )
    with contextlib.ExitStack() as stack:
        stack.callback(part_workers.settle, agreed)
        words = recorded_jobs.words(spec)
        shown = stack.enter_context(Progress(todo, **words, show=progress))
        workers = stack.enter_context(PartWorkers(work, here=not part_workers.all_see(parts)))
        try:
            stack.enter_context(warm_engine.aborting(None))
            watch = stack.enter_context(Watch(shown, None, stall_s))
            blocks = dispatch.blocks(
                asked, spec, say=shown.say, cancel=watch, stall_s=stall_s, use=use
            )
            before = Counts()
            for some in in_ray(workers.written(blocks), watch, asked.context):
                if isinstance(some, Tally):
                    tally = some
                    continue
                new = (some.rows - before.rows, some.tokens - before.tokens, some.cut - before.cut)
                shown.advance(*new)
                before, shown.failed = some, some.failed
        except Stalled:
            warm_engine.stop()  # it may be the one that stands still
            raise
        dispatch.told(spec, use)
    if tally is None:
        return None
    found = tally.metrics(*(use.clock or (started, time.time())), use)
    return metrics.without_unreadable(found, tally.rows - before.failed, before.failed)


@contextlib.contextmanager
def _watched(
    words: str, show: bool | View, stall_s: float, label: str = ""
) -> Iterator[tuple[Progress, Watch]]:
    with (
        Progress(None, startup=words, label=label, show=show) as shown,
        Watch(shown, None, stall_s) as watch,
    ):
        yield shown, watch
