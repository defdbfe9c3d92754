"""Finished rows, as they come, into the parts of a folder: each once, in one type, soon."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from labkit import metrics
from labkit.errors import JobFailed, LabError
from labkit.progress import Progress
from labkit.results import job_fingerprint
from labkit.results.agreement import Agreed, Agreement
from labkit.results.parquet_folder import Parts
from labkit.rows import arrow_types, data_checks, user_data
from labkit.rows.responses import ABOUT, RESPONSE, Answered
from labkit.tasks import Task

#: Rows wait for at most about this long before they are written as a part: few files at any speed,
#: and little to compute again after a kill.
PART_SECONDS = 5.0
#: Types that hold each value of one of Python's own as it is, or refuse it.
EXACT = {pa.string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}
#: As long as all rows failed, the type of the answers is not known; so many may wait for it.
WAITING_ROWS = 1000


class RowsToParts(ABC):
    """Gathers finished rows and writes them as parts. Which of them are new, and what is kept of
    them, is for those that build on it (`new`, `count`).

    A part is written in a thread of its own, so that a slow disk holds nobody up until the next
    one is due. What went wrong with it is raised then, or at the end.

    agreed: what the parts have in common. seconds: how long rows wait.
    """

    def __init__(
        self, task: Task, source: user_data.Source, parts: Parts, into: str, agreed: Agreed
    ):
        self.task, self.source, self.parts, self.into = task, source, parts, into
        self.agreed, self.seconds = agreed, PART_SECONDS
        kept = parts.schema()
        self.names = kept.names if kept else None  # of the columns of the parts, if there are some
        self.noted = False  # whether the folder notes a prompt
        self.waiting: list[Answered] = []
        self.last = 0.0
        self.thread = ThreadPoolExecutor(1)
        self.part: Future[None] | None = None

    @abstractmethod
    def new(self, ids: pa.ChunkedArray) -> np.ndarray:
        """True for the rows that are wanted and have not come before."""

    @abstractmethod
    def count(self, times: pa.Table, failed: int) -> None:
        """Rows are in a part now: what is known of their times (responses.ABOUT)."""

    def take(self, finished: pa.Table) -> None:
        """Responses: written now, or with those of the next seconds."""
        if not finished.num_rows:
            return
        self.waiting.append(self.source.read(self.task, finished))
        self.flush_due()

    def flush_due(self) -> None:
        """Write the waiting rows if they have waited long enough."""
        if time.monotonic() - self.last >= self.seconds:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Begin to write the waiting rows as one part, once the one before is written."""
        self.settle()
        some = self.waiting
        if not some:
            return
        if self.names is None and not last:  # the type of the answers may not be known yet
            bad = all(part.table["error"].null_count == 0 for part in some)
            if bad and sum(part.table.num_rows for part in some) < WAITING_ROWS:
                return
        self.waiting, self.last = [], time.monotonic()
        self.part = self.thread.submit(self._write, some)

    def settle(self) -> None:
        """Wait for the part that is being written, and raise what went wrong with it, once."""
        part, self.part = self.part, None
        if part is not None:
            part.result()

    def _write(self, some: list[Answered]) -> None:
        """Write finished rows and the user's columns as a part like those that are there."""
        finished = pa.concat_tables([part.table for part in some])
        answers = [answer for part in some for answer in part.answers]
        rows = pa.concat_tables([self.source.rows(part) for part in some])
        new = self.new(rows[self.parts.id_column])
        if not new.all():
            finished, rows = finished.filter(pa.array(new)), rows.filter(pa.array(new))
            answers = list(itertools.compress(answers, new))
        if not answers:
            return
        values, misfits = self._values(answers)
        errors = [
            error or misfit
            for error, misfit in zip(finished["error"].to_pylist(), misfits, strict=True)
        ]
        table = rows.append_column(pa.field(self.into, values.type), values)
        table = table.append_column(pa.field("error", pa.string()), pa.array(errors, pa.string()))
        for name in data_checks.ABOUT_AN_ANSWER:
            if self.names is None or name in self.names:  # a folder of before: no finish reasons
                table = table.append_column(RESPONSE.field(name), finished[name])
        if not self.noted:
            self._note_prompt(table)
        self.parts.add(table)
        self.names = table.column_names
        self.agreed.wrote(arrow_types.seen(pa.chunked_array([values])))
        failed = table["error"].length() - table["error"].null_count
        self.count(finished.select(ABOUT), failed)
        _give_back()

    def _values(self, answers: list[Any]) -> tuple[pa.Array, list[str | None]]:
        """The answers as a column of the parts' type, as `fit` has them. Where one needs a wider
        type that changes none in the parts, these get it; null is of any type."""
        types = arrow_types.types_of(answers)
        held = self.agreed.held(types)
        values, misfits = fit(answers, held)
        if any(misfits) and (wider := self.agreed.widened(types)) != held:
            values, misfits = fit(answers, wider)
        return values, misfits

    def _note_prompt(self, table: pa.Table) -> None:
        good = table.filter(table["error"].is_null()).slice(0, 1)
        for row in good.to_pylist():
            if prompt := job_fingerprint.noted_prompt(self.task, row, row[self.parts.id_column]):
                self.agreed.note(prompt)
                self.noted = True


class PartWriter(RowsToParts):
    """Writes the rows of a table in memory; at the end of a `with` block all of them.

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
        agreed = Agreement(parts, into, known, task.answer_schema)
        super().__init__(task, source, parts, into, agreed)
        self.noted = "prompt" in known
        self.shown = shown
        self.places = pd.Index(wanted.to_pandas())
        self.came = np.zeros(len(wanted), bool)
        self.seen: list[pa.Table] = []

    def new(self, ids: pa.ChunkedArray) -> np.ndarray:
        """True for the rows that are wanted and have not come before."""
        at = self.places.get_indexer(ids.to_pandas())
        new = (at >= 0) & ~self.came[at] & ~pd.Series(at).duplicated().to_numpy()
        self.came[at[new]] = True
        return new

    def count(self, times: pa.Table, failed: int) -> None:
        """Rows are in a part now: their times are kept for the metrics."""
        every = pa.array(range(times.num_rows))
        self.seen.append(times.take(every))  # a copy: a view would hold whole blocks of Ray's
        self.shown.failed += failed

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
            self.settle()
        if problem is None and not self.came.all():
            problem = did_not_come(self.places[~self.came])
        if problem is not None:
            stopped(problem, self.parts)


def did_not_come(lost: Any, again: str = "", count: int = 0) -> JobFailed:
    """The error for rows that were lost. lost: their ids, the first at least."""
    return JobFailed(
        f"{count or len(lost):,} rows did not come back, the first with the id {lost[0]!r}.{again}"
    )


def stopped(problem: BaseException, parts: Parts) -> None:
    """Say what is kept of a job that was stopped: raise a JobFailed anew with it, print it beside
    any other problem."""
    words = (
        f"{parts.count():,} rows are kept in {parts.path}: call write again with the same folder "
        "to go on."
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
