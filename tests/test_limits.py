"""100,000 rows through the whole pipeline: memory and time per row stay flat, results readable."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

import labkit
from labkit.tasks import faq

ROWS = 100_000
FILE_ROWS = 10_000


class Watch(threading.Thread):
    """Once a second: the rows that can be read from the folder, and the driver's memory in MiB: its
    own (USS), without the pages of Ray's object store that it maps, which has a limit of its own.
    """

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder = folder
        self.seen: list[tuple[float, int, float]] = []
        self.ended = threading.Event()

    def run(self) -> None:
        process, last = psutil.Process(), False
        while not last:
            last = self.ended.wait(1)  # one more look when all is written
            files = list(self.folder.glob("part-*.parquet"))
            rows = sum(pq.read_metadata(file).num_rows for file in files)
            own = process.memory_full_info().uss
            self.seen.append((time.monotonic(), rows, own / 2**20))

    def at(self, rows: int) -> tuple[float, int, float]:
        """The first look at which so many rows were there."""
        return next(look for look in self.seen if look[1] >= rows)


@pytest.fixture(scope="module")
def long_job(tiny: Any, tmp_path_factory: Any, ray_starter: Any) -> Iterator[SimpleNamespace]:
    """ONE job over Parquet files of 100,000 rows; some of its parts are read while it runs."""
    folder: Path = tmp_path_factory.mktemp("limits")
    given = folder / "in"
    given.mkdir()
    for at in range(0, ROWS, FILE_ROWS):
        ids = range(at, at + FILE_ROWS)
        texts = [None if i % 1000 == 7 else f"What is {i} + {i}?" for i in ids]
        frame = pd.DataFrame({"id": ids, "question": texts, "note": [f"note {i}" for i in ids]})
        frame.to_parquet(given / f"{at:06}.parquet")
    spec = labkit.configure(tiny, batch_size=64)  # what Ray does for each block takes longer
    ray_starter()
    watch = Watch(folder / "out")
    read: list[pd.DataFrame] = []

    def reader() -> None:
        while not watch.seen or watch.seen[-1][1] < ROWS // 10:
            if watch.ended.wait(1):
                return
        read.append(pd.read_parquet(folder / "out"))

    watch.start()
    threading.Thread(target=reader, daemon=True).start()
    try:
        # One token of a random model may be a blank.
        task = replace(faq(max_tokens=1), allow_empty=True)
        out = labkit.write(task, given, folder / "out", spec, id_column="id", progress=False)
    finally:
        watch.ended.set()
        watch.join()
    yield SimpleNamespace(out=out, watch=watch, read=read)


@pytest.mark.engine
@pytest.mark.endurance
def test_each_row_is_there_once(long_job: SimpleNamespace) -> None:
    out = long_job.out
    assert (out.rows, out.computed, out.skipped) == (ROWS, ROWS, 0)
    back = out.read()
    assert list(back["id"]) == list(range(ROWS))
    bad = back[back["error"].notna()]
    assert list(bad["id"]) == list(range(7, ROWS, 1000)) and len(bad) == out.failed
    assert (back["note"] == [f"note {i}" for i in range(ROWS)]).all()


@pytest.mark.engine
@pytest.mark.endurance
def test_the_driver_s_memory_stays_flat(long_job: SimpleNamespace) -> None:
    """Rows are streamed, not collected: 80,000 more cost their ids and times."""
    grown = long_job.watch.at(ROWS)[2] - long_job.watch.at(ROWS // 5)[2]
    print(f"driver: {long_job.watch.at(ROWS // 5)[2]:.0f} MiB, {grown:+.0f} MiB after 80,000 rows")
    assert grown < 150


@pytest.mark.engine
@pytest.mark.endurance
def test_a_row_costs_the_same_at_the_end(long_job: SimpleNamespace) -> None:
    """Seconds per row over the last 50,000 rows against those over rows 1,000 to 20,000."""

    def cost(first: int, last: int) -> float:
        begin, end = long_job.watch.at(first), long_job.watch.at(last)
        return (end[0] - begin[0]) / (end[1] - begin[1])

    early, late = cost(1000, ROWS // 5), cost(ROWS // 2, ROWS)
    print(f"{early * 1e3:.2f} ms a row at first, {late * 1e3:.2f} ms at the end")
    assert late < 2 * early


@pytest.mark.engine
@pytest.mark.endurance
def test_results_can_be_read_while_the_job_runs(long_job: SimpleNamespace) -> None:
    (early,) = long_job.read
    assert ROWS // 10 <= len(early) < ROWS
    assert early["id"].is_unique and set(early) >= {"id", "question", "note", "answer", "error"}
