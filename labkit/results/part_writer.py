"""Finished rows, as they come, into the parts of a folder: each once, in one type, soon."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import reduce
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from labkit import metrics
from labkit.errors import JobFailed, LabError
from labkit.progress import Progress
from labkit.results import job_fingerprint
from labkit.results.parquet_folder import Parts
from labkit.rows import arrow_types, json_schema, user_data
from labkit.rows.responses import ABOUT, RESPONSE, Answered
from labkit.tasks import Task

#: Rows wait for at most about this long before they are written as a part: few files at any speed,
#: and little to compute again after a kill.
PART_SECONDS = 5.0
#: Types that hold each value of one of Python's own as it is, or refuse it.
EXACT = {pa.string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}
#: As long as all rows failed, the type of the answers is not known; so many may wait for it.
WAITING_ROWS = 1000


class PartWriter:
    """Gathers finished rows and writes them as parts; at the end of a `with` block all of them.

    A part is written in a thread of its own, so that a slow disk holds nobody up until the next
    one is due. What went wrong with it is raised then, or at the end.

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
        self.thread = ThreadPoolExecutor(1)
        self.part: Future[None] | None = None

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
        """Begin to write the waiting rows as one part, once the one before is written."""
        self._settle()
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
        self.waiting, self.last = [], time.monotonic()
        if answers:
            self.part = self.thread.submit(self._write, kept, finished, rows, answers)

    def _settle(self) -> None:
        """Wait for the part that is being written, and raise what went wrong with it, once."""
        part, self.part = self.part, None
        if part is not None:
            part.result()

    def _write(
        self, kept: pa.Schema | None, finished: pa.Table, rows: pa.Table, answers: list[Any]
    ) -> None:
        """Write finished rows and the user's columns as a part like those of the schema `kept`."""
        times = finished.select(ABOUT)
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
        declared = json_schema.arrow_type(self.task.answer_schema)
        held = declared or arrow_types.answer_type(answers)
        held = kept.field(self.into).type if kept else held
        values, misfits = fit(answers, held)
        if kept and any(misfits):
            if self.kind is None:
                types = map(arrow_types.seen, self.parts.column(self.into))
                self.kind = reduce(arrow_types.wider, types)
            wanted = arrow_types.open_type(answers, self.kind)
            wanted = arrow_types.stored(arrow_types.wider(wanted, held))
            if wanted not in (held, self.unfit):
                if self.parts.retype(self.into, wanted):
                    values, misfits = fit(answers, wanted)
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

    def numbers(
        self, started: float, clocks: int = 1, use: metrics.EngineUse | None = None
    ) -> metrics.Metrics:
        """The metrics of the rows of this call."""
        rows = pa.concat_tables(self.seen).to_pandas()
        began, ended = (use and use.clock) or (started, time.time())
        found = metrics.compute(rows, began, ended, clocks, use)
        return metrics.without_unreadable(found, len(rows) - self.shown.failed, self.shown.failed)

    def over_time(self, started: float, clocks: int = 1) -> pd.DataFrame:
        """How the rows of this call came (`metrics.over_time`)."""
        rows = pa.concat_tables(self.seen).to_pandas()
        return metrics.over_time(metrics.timeline(rows, started, clocks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, problem: BaseException | None, _: object) -> None:
        with self.thread:
            if isinstance(problem, LabError) and not isinstance(problem, JobFailed):
                return  # a part could not be written: no other can
            self.flush(last=True)
            self._settle()
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


def fit(answers: list[Any], kind: pa.DataType) -> tuple[pa.Array, list[str | None]]:
    """As `arrow_types.fit` has it, but the answers of an EXACT type all at once: one by one they
    took more time than all else that is done for a part."""
    if {*map(type, answers)} <= {EXACT.get(kind), type(None)}:
        with contextlib.suppress(*arrow_types.UNHELD):
            return pa.array(answers, kind), [None] * len(answers)
    return arrow_types.fit(answers, kind)


def _give_back() -> None:
    """Give what is free inside the heap back to the system: glibc keeps it, and the threads of Ray
    scatter it, so that a long job's process would grow though it holds no more."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
