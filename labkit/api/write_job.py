"""Write answers to Parquet while they come, and go on after a stop where the files end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labkit import metrics
from labkit.api.configure import configure
from labkit.api.job_stream import ray_data_settings, stream
from labkit.api.watchdog import limit
from labkit.api.write_streamed import write_streamed
from labkit.engines import recorded_jobs
from labkit.engines.dispatch import made_ready, parameter_of, settled
from labkit.errors import LabError, lab_errors
from labkit.hardware.classroom_seat import lent
from labkit.progress import Progress, View
from labkit.ray_session import capacity, job_lock, session
from labkit.results import answer_files, job_fingerprint, remote_folder
from labkit.results.parquet_folder import Parts
from labkit.results.part_writer import PartWriter
from labkit.rows import data_checks, file_place, requests, user_data, user_files
from labkit.settings.seat_spec import SeatSpec
from labkit.settings.setting import JobSpec
from labkit.tasks import Row, Task

if TYPE_CHECKING:
    import ray.data


@dataclass(frozen=True)
class Written:
    """What is in the folder `path` after a call of `write`.

    rows, failed: rows in all parts, and those of them with an error. computed: rows of this call,
    failed ones among them. skipped: rows of the data that were there before. metrics: of this
    call's rows (`metrics.cut`: how many ended at `max_tokens`); None when there was nothing to do.
    over_time: how these came (`metrics.over_time`); None also for rows that were streamed, whose
    times stay with the workers. path: of a folder elsewhere, its URL. into: the column of the
    answers.
    """

    path: Path | str
    id_column: str
    rows: int
    computed: int
    skipped: int
    failed: int
    metrics: metrics.Metrics | None = field(repr=False)
    over_time: pd.DataFrame | None = field(default=None, repr=False)
    into: str = "answer"

    @lab_errors("The answers could not be read")
    def read(self) -> pd.DataFrame:
        """All rows, sorted by id: your columns, the answer, `error` (null when good), tokens.

        Whole numbers with nulls among them are pandas' Int64 (pd.read_parquet makes floats).
        """
        found = answer_files.frame(self.path)
        return found.sort_values(self.id_column, ignore_index=True)

    @lab_errors("The answers could not be saved")
    def save(self, path: str | Path) -> None:
        """Write all rows to one `.csv`, `.tsv` or `.jsonl` file (also `.gz`, `.zst`, or at a URL):
        in CSV an answer that is a dict has a column for each key, such as `answer.name`."""
        answer_files.save(self.path, path)


@lab_errors("The answers could not be written")
def write(
    task: Task,
    data: pd.DataFrame | pa.Table | Sequence[Row] | ray.data.Dataset | str | Path,
    path: str | Path,
    spec: JobSpec | None = None,
    *,
    id_column: str,
    into: str = "answer",
    retry_failed: bool = False,
    verbose: bool = False,
    progress: bool | View = True,
    stall_s: float | None = None,
) -> Written:
    """Put `task` to every row of `data`; the results go to Parquet files in the folder `path`.

    Called again with the same folder, it computes only the rows whose id is not there yet: after a
    kill, a crash, or with more data. `pd.read_parquet(path)` reads the folder at any time.

    data: a pandas frame, a PyArrow table, a list of dicts, a Ray Dataset, or the path of files of
    one kind: Parquet, CSV or TSV (of any dialect: 007 stays text, an empty field is null), JSON
    lines, Excel; text files also packed (`.gz`, `.zst`). A file, a folder, or a pattern
    (`posts-*.csv`), of this machine or a URL (`s3://`, `gs://`, `abfs://`, `hf://`, `https://`).
    Datasets and files are streamed (but for small files of this machine: at most 50,000 rows in
    32 MiB): workers read, ask and write, and this process holds no more for many rows than for few
    (docs/scale.md).
    path: also a URL (`s3://bucket/answers`): parts are written to a folder of this machine, and
    copied there soon after.
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
    LabError when these differ, when rows that are answered would now be asked otherwise (1,000 of
    a table are compared, the first 64 of what is streamed), when ids are missing or not unique,
    when columns clash, when the folder can't be written to or the disk is full; CannotSchedule and
    JobFailed as `labkit.run`, and JobFailed when a row did not come back. What is written is kept
    in every case, also after Ctrl-C.
    """
    if file_place.is_url(path):
        with remote_folder.mirrored(str(path)) as here:
            options: dict[str, Any] = {
                "into": into,
                "retry_failed": retry_failed,
                "verbose": verbose,
            }
            options |= {"progress": progress, "stall_s": stall_s}
            try:
                done = write(task, data, here, spec, id_column=id_column, **options)
            except LabError as problem:  # the user knows the folder by its URL
                raise type(problem)(str(problem).replace(str(here), str(path))) from problem
        return replace(done, path=str(path))
    started = time.time()
    spec = spec or configure()
    seconds = limit(stall_s, spec.patience_s)
    with job_lock.one_job(), session.quiet(verbose), ray_data_settings(verbose):
        requests.check_task(task)
        own = not isinstance(spec, SeatSpec)
        parts = Parts(path, id_column)
        if isinstance(data, str | Path) and (table := user_files.rows_here(data)) is not None:
            data = table
        if isinstance(data, str | Path) or user_data.is_dataset(data):
            if lent() and isinstance(data, str | Path):
                raise LabError(
                    "A seat of a class has no Ray to stream files that are large, or elsewhere: "
                    "give the rows, such as pd.read_parquet(…) or labkit.datasets.read_table(…)."
                )
            session.start(verbose=verbose)
            counts = write_streamed(
                task,
                data,
                path,
                spec,
                id_column=id_column,
                into=into,
                retry_failed=retry_failed,
                progress=progress,
                stall_s=seconds,
                started=started,
            )
            return Written(parts.path, id_column, *counts, into=into)
        source = user_data.source(data)
        data_checks.check(source.schema, id_column, into)
        requests.check_columns(task, source.schema.names)
        assert source.table is not None
        data_checks.check_ids(ids := source.table[id_column], id_column)
        with parts.open():
            known = job_fingerprint.compared(task, spec, source, parts, into)
            there = parts.rows()
            if retry_failed and there.num_rows:
                failed = there.filter(there["failed"])["id"]
                parts.drop(pc.filter(ids, pc.is_in(ids, failed)))
                there = parts.rows()
            done = there["id"].cast(ids.type)
            wanted = ids.filter(pc.invert(pc.is_in(ids, done)))
            numbers, came, todo = None, None, len(wanted)
            if todo:
                if own:
                    session.start(verbose=verbose)
                parameter = parameter_of(spec)
                asked = source.asked(task, parameter, id_column, done, spec["batch_size"])
                spec = settled(spec, task, asked)
                made_ready(asked, spec)
                refused = requests.refused(asked)
                clocks, use = capacity.clocks(spec.replicas), metrics.EngineUse(answers_only=True)
                with (
                    Progress(todo, **recorded_jobs.words(spec), show=progress) as shown,
                    PartWriter(task, source, parts, into, known, wanted, shown) as writer,
                ):
                    writer.take(refused)
                    idle = writer.flush_due
                    for finished in stream(asked, spec, shown, None, seconds, idle, use):
                        writer.take(finished)
                    every = requests.refused(asked)
                    writer.take(every.slice(refused.num_rows))
                    shown.advance(every.num_rows, 0)
                numbers = writer.numbers(started, clocks, use)
                came = writer.over_time(started, clocks)
                there = parts.rows()
            failures = pc.sum(there["failed"]).as_py()
            counts = (there.num_rows, todo, len(ids) - todo, failures, numbers)
            return Written(parts.path, id_column, *counts, came, into)
