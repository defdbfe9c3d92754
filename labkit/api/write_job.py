"""Write answers to Parquet while they come, and go on after a stop where the files end."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labkit import metrics
from labkit.api.configure import configure
from labkit.api.job_stream import ray_data_settings, stream, supervised
from labkit.api.watchdog import Watch, limit
from labkit.engines.dispatch import parameter_of, settled
from labkit.errors import JobFailed, LabError, lab_errors
from labkit.progress import Progress
from labkit.ray_session import capacity, session
from labkit.results import job_fingerprint
from labkit.results.parquet_folder import Parts
from labkit.rows import arrow_types, requests, user_data
from labkit.rows.responses import RESPONSE, Answered
from labkit.settings.setting import JobSpec
from labkit.tasks import Row, Task

if TYPE_CHECKING:
    import ray.data

#: Rows wait for at most about this long before they are written as a part: few files at any speed,
#: and little to compute again after a kill.
PART_SECONDS = 5.0
#: As long as all rows failed, the type of the answers is not known; so many may wait for it.
WAITING_ROWS = 1000


@dataclass(frozen=True)
class Written:
    """What is in the folder `path` after a call of `write`.

    rows, failed: rows in all parts, and those of them with an error. computed: rows of this call,
    failed ones among them. skipped: rows of the data that were there before. metrics: of this
    call's rows (`metrics.cut`: how many ended at `max_tokens`); None when there was nothing to do.
    """

    path: Path
    id_column: str
    rows: int
    computed: int
    skipped: int
    failed: int
    metrics: metrics.Metrics | None = field(repr=False)

    @lab_errors("The answers could not be read")
    def read(self) -> pd.DataFrame:
        """All rows, sorted by id: your columns, the answer, `error` (null when good), tokens.

        Whole numbers with nulls among them are pandas' Int64 (pd.read_parquet makes floats).
        """
        found = arrow_types.frame(pq.read_table(self.path))
        return found.sort_values(self.id_column, ignore_index=True)


@lab_errors("The answers could not be written")
def write(
    task: Task,
    data: pd.DataFrame | Sequence[Row] | ray.data.Dataset | str | Path,
    path: str | Path,
    spec: JobSpec | None = None,
    *,
    id_column: str,
    into: str = "answer",
    retry_failed: bool = False,
    verbose: bool = False,
    progress: bool = True,
    stall_s: float | None = None,
) -> Written:
    """Put `task` to every row of `data`; the results go to Parquet files in the folder `path`.

    Called again with the same folder, it computes only the rows whose id is not there yet: after a
    kill, a crash, or with more data. `pd.read_parquet(path)` reads the folder at any time.

    data: a pandas frame, a list of dicts, a Ray Dataset, or the path of Parquet, CSV or TSV files
    (a file, or a folder of one kind). What is not in memory is streamed: only the ids and the times
    of the rows are collected here. A CSV file may be of any dialect; 007 stays text, an empty field
    is null.
    id_column: its values (text or whole numbers) name the rows; each must be there once.
    into: the column of the answers. Its type is that of the first ones, and becomes a wider one
    (whole numbers → floats) where that changes no answer; one that doesn't fit makes an error row.
    retry_failed: compute failed rows again; their error rows are taken out of the files first.
    spec, verbose, progress, stall_s: as in `labkit.run`.

    Columns of the files: those of the data, `into`, `error` (text; null when good),
    `num_input_tokens` and `num_generated_tokens` (int64; null when not known), `finish_reason`
    (text: "stop", "length" for an answer that was cut; null when not known). A folder that was
    begun without the last column goes on without it.

    `_labkit.json` in the folder notes the task, model, sampling, columns and one prompt. Raises
    LabError when these differ, when ids are missing or not unique, when columns clash, when the
    folder can't be written to or the disk is full; CannotSchedule and JobFailed as `labkit.run`,
    and JobFailed when a row did not come back. What is written is kept in every case, also after
    Ctrl-C.
    """
    started = time.time()
    spec = spec or configure()
    seconds = limit(stall_s, spec.patience_s)
    with session.one_job(), session.quiet(verbose), ray_data_settings(verbose):
        requests.check_task(task)
        if isinstance(data, str | Path) or user_data.is_dataset(data):
            session.start(verbose=verbose)
        source, ids = _looked_at(data, id_column, into, progress, seconds)
        parts = Parts(path, id_column)
        with parts.open():
            source.use(kept := parts.schema())
            known = parts.check(job_fingerprint.about(task, spec, source.schema, id_column, into))
            job_fingerprint.check_prompt(task, parts, known)
            if kept:  # a kill may have left parts of two types
                parts.retype(into, kept.field(into).type)
            there = parts.rows()
            if retry_failed and there.num_rows:
                failed = there.filter(there["failed"])["id"]
                parts.drop(pc.filter(ids, pc.is_in(ids, failed)))
                there = parts.rows()
            done = there["id"].cast(ids.type)
            wanted = ids.filter(pc.invert(pc.is_in(ids, done)))
            numbers, todo = None, len(wanted)
            if todo:
                session.start(verbose=verbose)
                parameter = parameter_of(spec)
                asked, refused = source.asked(task, parameter, id_column, done, spec["batch_size"])
                spec = settled(spec, task, asked)
                clocks = capacity.clocks(spec.replicas)
                with (
                    Progress(todo, startup=spec.starting, show=progress) as shown,
                    _Writer(task, source, parts, into, known, wanted, shown) as writer,
                ):
                    writer.take(refused)
                    for finished in stream(asked, spec, shown, None, seconds, writer.flush_due):
                        writer.take(finished)
                    shown.advance(refused.num_rows, 0)
                numbers = writer.numbers(started, clocks)
                there = parts.rows()
            failures = pc.sum(there["failed"]).as_py()
            return Written(
                parts.path, id_column, there.num_rows, todo, len(ids) - todo, failures, numbers
            )


def _looked_at(
    data: Any, id_column: str, into: str, progress: bool, stall_s: float
) -> tuple[user_data.Source, pa.ChunkedArray]:
    """(the data, the ids of its rows), looked at. Files and Datasets are read for it, with the
    watchdog at their side. Raises LabError for what is of no use, JobFailed and Stalled."""
    import ray.data
    from ray.exceptions import RayError

    def found() -> Iterator[user_data.Source]:
        yield user_data.source(data)

    if not isinstance(data, str | Path | ray.data.Dataset):
        (source,) = found()
        user_data.check(source.schema, id_column, into)
        ids = list(source.ids(id_column))
    else:
        contexts = [ray.data.DataContext.get_current()]
        contexts += [data.context] if isinstance(data, ray.data.Dataset) else []
        words = {"startup": "looking at the data", "label": "the ids: "}
        try:
            with (
                Progress(None, **words, show=progress) as shown,
                Watch(shown, None, stall_s) as watch,
            ):
                (source,) = supervised(found(), contexts, watch)
                user_data.check(source.schema, id_column, into)
                assert source.dataset is not None
                contexts = [contexts[0], source.dataset.context]
                ids = []
                for some in supervised(source.ids(id_column), contexts, watch):
                    ids.append(some)
                    shown.advance(len(some), 0)
        except RayError as error:
            raise JobFailed(session.diagnose(error)) from error
    kind = source.schema.field(id_column).type
    try:
        every = pa.chunked_array([some.cast(kind) for some in ids], kind)
    except pa.ArrowException as problem:
        raise LabError(f"Column {id_column!r} mixes types: {problem}.") from problem
    user_data.check_ids(every, id_column)
    return source, every


class _Writer:
    """Gathers finished rows and writes them as parts; at the end of a `with` block all of them.

    wanted: the ids of the rows to come, each of which is written once.
    """

    def __init__(
        self,
        task: Task,
        source: user_data.Source,
        parts: Parts,
        into: str,
        known: dict[str, Any],
        wanted: pa.ChunkedArray,
        shown: Progress,
    ):
        self.task, self.source, self.parts, self.into, self.known = task, source, parts, into, known
        self.shown = shown
        self.places = pd.Index(wanted.to_pandas())
        self.came = np.zeros(len(wanted), bool)
        self.waiting: list[Answered] = []
        self.seen: list[pa.Table] = []
        self.kind: pa.DataType | None = None  # of the answers in the parts, see `_values`
        self.unfit: pa.DataType | None = None  # one that would have changed an answer
        self.last = 0.0

    def take(self, finished: pa.Table) -> None:
        """Responses: written now, or with those of the next seconds."""
        if not finished.num_rows:
            return
        self.waiting.append(self.source.read(self.task, finished))
        self.flush_due()

    def flush_due(self) -> None:
        """Write the waiting rows if they have waited long enough."""
        if time.monotonic() - self.last >= PART_SECONDS:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Write the waiting rows as one part."""
        if not self.waiting:
            return
        finished = pa.concat_tables([some.table for some in self.waiting])
        answers = [answer for some in self.waiting for answer in some.answers]
        rows = pa.concat_tables([self.source.rows(some) for some in self.waiting])
        good = finished["error"].is_null().to_pylist()
        kept = self.parts.schema()
        if kept is None and not any(good) and not last and len(answers) < WAITING_ROWS:
            return
        new = self._new(rows[self.parts.id_column])
        if not new.all():
            finished, rows = finished.filter(pa.array(new)), rows.filter(pa.array(new))
            answers = list(itertools.compress(answers, new))
        self.waiting = []  # before they are written: an interrupt must not write them twice
        if not answers:
            return
        times = finished.select([*metrics.ROW_COLUMNS, "finish_reason"])
        every = pa.array(range(times.num_rows))
        self.seen.append(times.take(every))  # a copy: a view would hold whole blocks of Ray's
        values, misfits = self._values(answers)
        errors = [
            error or misfit
            for error, misfit in zip(finished["error"].to_pylist(), misfits, strict=True)
        ]
        table = rows.append_column(pa.field(self.into, values.type), values)
        table = table.append_column(pa.field("error", pa.string()), pa.array(errors, pa.string()))
        for name in user_data.ABOUT_AN_ANSWER:
            if kept is None or name in kept.names:  # a folder of before has no finish reasons
                table = table.append_column(RESPONSE.field(name), finished[name])
        if "prompt" not in self.known:
            self._note_prompt(table)
        self.parts.add(table)
        self.shown.failed += table["error"].length() - table["error"].null_count
        _give_back()
        self.last = time.monotonic()

    def _new(self, ids: pa.ChunkedArray) -> np.ndarray:
        """True for the rows that are wanted and have not come before."""
        at = self.places.get_indexer(ids.to_pandas())
        new = (at >= 0) & ~self.came[at] & ~pd.Series(at).duplicated().to_numpy()
        self.came[at[new]] = True
        return new

    def _values(self, answers: list[Any]) -> tuple[pa.Array, list[str | None]]:
        """The answers as a column of the parts' type, as `fit` has them. Where one needs a wider
        type that changes none in the parts, these get it; null is of any type."""
        kept = self.parts.schema()
        held = kept.field(self.into).type if kept else arrow_types.answer_type(answers)
        values, misfits = arrow_types.fit(answers, held)
        if kept and any(misfits):
            if self.kind is None:
                types = map(arrow_types.seen, self.parts.column(self.into))
                self.kind = reduce(arrow_types.wider, types)
            wanted = arrow_types.open_type(answers, self.kind)
            wanted = arrow_types.stored(arrow_types.wider(wanted, held))
            if wanted not in (held, self.unfit):
                if self.parts.retype(self.into, wanted):
                    values, misfits = arrow_types.fit(answers, wanted)
                else:
                    self.unfit = wanted
        if self.kind is not None:
            self.kind = arrow_types.wider(self.kind, arrow_types.seen(pa.chunked_array([values])))
        return values, misfits

    def _note_prompt(self, table: pa.Table) -> None:
        good = table.filter(table["error"].is_null()).slice(0, 1)
        for row in good.to_pylist():
            if noted := job_fingerprint.noted_prompt(self.task, row, row[self.parts.id_column]):
                self.known["prompt"] = noted
                self.parts.note(self.known)

    def numbers(self, started: float, clocks: int = 1) -> metrics.Metrics:
        """The metrics of the rows of this call."""
        rows = pa.concat_tables(self.seen).to_pandas()
        found = metrics.compute(rows, started, time.time(), clocks)
        return metrics.without_unreadable(found, len(rows) - self.shown.failed, self.shown.failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, problem: BaseException | None, _: object) -> None:
        if isinstance(problem, LabError) and not isinstance(problem, JobFailed):
            return  # a part could not be written: no other can
        self.flush(last=True)
        if problem is None and self.came.all():
            return
        if problem is None:
            lost = self.places[~self.came]
            again = ""
            if self.source.dataset is not None:
                again = (
                    " A Dataset that is shuffled, sampled or limited may have other rows each time "
                    "that it is read: give what dataset.materialize() makes of it."
                )
            problem = JobFailed(
                f"{len(lost):,} rows did not come back, the first with the id {lost[0]!r}.{again}"
            )
        words = (
            f"{self.parts.rows().num_rows:,} rows are kept in {self.parts.path}: call write again "
            "with the same folder to go on."
        )
        if isinstance(problem, JobFailed):
            raise type(problem)(f"{problem} {words}") from problem
        print(f"Stopped. {words}", file=sys.stderr)


def _give_back() -> None:
    """Give what is free inside the heap back to the system: glibc keeps it, and the threads of Ray
    scatter it, so that a long job's process would grow though it holds no more."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
