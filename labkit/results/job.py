"""What a run gives back: the job's answers, failures and numbers; also of one that was stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa

from labkit import metrics
from labkit.datasets import csv_table as framing
from labkit.errors import JobFailed, LabError, lab_errors
from labkit.metrics.bottleneck import Bottleneck, bottleneck
from labkit.pages.html_table import show
from labkit.rows import responses
from labkit.rows.responses import Answered
from labkit.settings.setting import JobSpec
from labkit.tasks import Row


@dataclass(frozen=True)
class Job:
    """The result of a run.

    answers: the input columns plus the answer, in input order, without the failed rows.
    failed: the input columns plus `error`, the reason, in input order.
    rows: the times and token counts of each row (columns of `metrics.ROW_COLUMNS`) and its
    `finish_reason` ("stop", "length" for a cut one, …; None where the engine's stage or a server
    does not tell it), by row number.
    metrics: the job's numbers. spec: what it ran with. started: Unix seconds.
    missing: rows that a stopped job did not finish (`labkit.partial`): they are in none of the
    frames. None when some are missing of a Dataset, whose length is not known.
    clocks: on how many hosts the engines may have run.
    cpu_s: of a job on a warm engine, seconds of CPU time by kind of process (of several of a kind,
    the busiest one's): this program, and the engine's.
    replayed: on what it was recorded, of a job that was played back (LABKIT_REPLAY); '' for a real
    one.
    """

    answers: pd.DataFrame
    failed: pd.DataFrame
    rows: pd.DataFrame
    metrics: metrics.Metrics
    spec: JobSpec
    started: float
    missing: int | None = 0
    clocks: int = 1
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    replayed: str = ""

    def timeline(self) -> pd.DataFrame:
        """The answered rows with their times in seconds since the call (`metrics.timeline`)."""
        return metrics.timeline(self.rows, self.started, self.clocks)

    def bottleneck(self) -> Bottleneck | None:
        """What bounded this job, and what to try (`metrics.bottleneck`); None where no row was
        answered."""
        limit, places = self.spec.rows_in_flight, None
        with contextlib.suppress(KeyError):  # a server's own is not known
            places = self.spec.replicas * self.spec["max_num_seqs"]
        least = limit if places is None else min(limit, places)
        return bottleneck(self.metrics, self.timeline(), least, self.cpu_s, places)

    def _repr_html_(self) -> str:
        table: str = show(self.metrics.table())._repr_html_()
        table += f"<p>{remark}</p>" if (remark := self.metrics.remark()) else ""
        table += f"<p>{bound.sentence}</p>" if (bound := self.bottleneck()) else ""
        table += f"<p><b>{self.replayed}</b></p>" if self.replayed else ""
        if self.missing == 0:
            return table
        of = "" if self.missing is None else f" of {len(self.rows) + self.missing:,}"
        return f"<p><b>partial: {len(self.rows):,}{of} rows</b></p>{table}"


def collect(
    finished_rows: list[Answered],
    inputs: list[Row] | None,
    frame: pd.DataFrame | None,
    into: str,
    spec: JobSpec,
    started: float,
    finished: float,
    *,
    clocks: int = 1,
    use: metrics.EngineUse | None = None,
    partial: bool = False,
) -> Job:
    """Finished rows → a Job.

    inputs: the rows that went in; None for a Dataset, whose rows came back with the answers.
    frame: the pandas frame they were, if so. clocks: on how many hosts the engines may have run.
    use: what the job's processes tell of it. partial: rows may be missing; else that is an error.
    """
    if inputs is None and not any(some.table.num_rows for some in finished_rows) and not partial:
        raise LabError("There are no rows to run: the data is empty.")
    tables = [some.table for some in finished_rows] or [responses.table([])]
    done = pa.concat_tables(tables).to_pandas()
    done["answer"] = pd.Series([a for some in finished_rows for a in some.answers], dtype=object)
    missing: int | None = 0
    if inputs is None:  # a Dataset: streamed in order, or with the places of its rows
        inputs = [row for some in finished_rows for row in some.rows or []]
        order = (
            done["row_id"].argsort(kind="stable") if done["row_id"].notna().all() else done.index
        )
        done, inputs = done.iloc[order].reset_index(drop=True), [inputs[at] for at in order]
        done["row_id"] = range(len(done))
        missing = None if partial else 0
    elif partial:
        missing = len(inputs) - len(done)
    done = done.set_index("row_id").sort_index()
    if len(done) + (missing or 0) != len(inputs) or not done.index.is_unique:
        raise JobFailed(f"{len(inputs)} rows went in, {len(done)} came out: please report this.")
    frame = framing.frame(inputs) if frame is None else frame
    frame = frame.iloc[done.index] if missing else frame
    ok = done["error"].isna().to_numpy()
    answers = frame[ok].copy()
    answers[into] = framing.series(list(done["answer"][ok]), answers.index)
    failed = frame[~ok].copy()
    failed["error"] = done["error"][~ok].to_numpy()
    rows = done[[*responses.ABOUT]]
    numbers = metrics.compute(rows, started, finished, clocks, use)
    numbers = metrics.without_unreadable(numbers, int(ok.sum()), int((~ok).sum()))
    cpu, replayed = (dict(use.cpu_s), use.replayed) if use else ({}, "")
    return Job(answers, failed, rows, numbers, spec, started, missing, clocks, cpu, replayed)


_stopped: Callable[[], Job] | None = None


def keep(
    finished_rows: list[Answered],
    inputs: list[Row] | None,
    frame: pd.DataFrame | None,
    into: str,
    spec: JobSpec,
    started: float,
    clocks: int = 1,
) -> None:
    """Note what a stopped job has finished, as `collect` takes it; `partial` looks at it."""
    global _stopped
    finished = time.time()

    def made() -> Job:
        about = (inputs, frame, into, spec, started, finished)
        return collect(finished_rows, *about, clocks=clocks, partial=True)

    _stopped = made


def forget() -> None:
    """A new job begins: that before it is no longer the last."""
    global _stopped
    _stopped = None


@lab_errors("The rows of the stopped job could not be told")
def partial() -> Job:
    """What the last `labkit.run` had finished when it was stopped: by Ctrl-C or the notebook's stop
    button, by `cancel`, or by an engine that failed.

    Rows that were not finished are neither in `answers` nor in `failed`; `missing` counts them.
    Raises LabError when the last job was not stopped.
    """
    if _stopped is None:
        raise LabError("The last job was not stopped before its end: there is no partial result.")
    return _stopped()
