"""Many rows through `labkit.write` from Parquet to Parquet, killed on the way and resumed: what the
driver holds, and what a row costs, as the rows grow more.

    python -m benchmarks.scale FOLDER [--rows 1000000] [--kills 2] [--seconds 500] [--cold]

A tiny model with random weights writes one token for each short row, so that all but the engine is
measured. The job is a program of its own, which is killed (SIGKILL) when a third and two thirds of
the rows are written, and called again. Each second the driver's memory is read: its own (USS), and
all that it maps (RSS; Ray's object store among it). Printed for 10,000, 30,000, 100,000 … rows:
the driver's memory, and the time of a row since the line before (starts not counted). After
`--seconds` it stops, as if it were killed: called again with the same folder it goes on. At the end
the ids in all parts are counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

import labkit
from labkit.results import part_writer
from labkit.rows import user_files
from labkit.tasks import faq
from labkit.weights.catalogue import get
from labkit.weights.tiny import tiny_model

FILE_ROWS = 50_000
#: After a start, so many seconds are not counted: the first rows wait for the engine.
WARM_S = 3.0
#: What stands before the numbers of a job that ended.
DONE = "done: "
#: How often the program is looked at, in seconds.
LOOK_S = 0.5


def make(folder: Path, rows: int) -> None:
    """The model and the rows, if they are not there yet."""
    if not (folder / "tiny").exists():
        tiny_model(folder / "tiny")
    (folder / "in").mkdir(parents=True, exist_ok=True)
    for first in range(0, rows, FILE_ROWS):
        file = folder / "in" / f"{first:09}.parquet"
        if not file.exists():
            ids = range(first, min(rows, first + FILE_ROWS))
            texts = [f"What is {number} + {number}?" for number in ids]
            pq.write_table(pa.table({"id": ids, "question": texts}), file)


def job(folder: Path, cold: bool, part_s: float) -> None:
    """The program that is killed: all rows that are not there yet. Few are streamed, too."""
    user_files.BYTES_HERE = 0
    part_writer.PART_SECONDS = part_s
    spec = labkit.configure(get(str(folder / "tiny")), warm=not cold)
    task = replace(faq(max_tokens=1), allow_empty=True)
    out = labkit.write(
        task, folder / "in", folder / "out", spec, id_column="id", progress=False, stall_s=300
    )
    numbers = out.metrics.as_dict() if out.metrics else {}
    print(f"{DONE}{json.dumps([out.rows, out.computed, out.skipped, out.failed, numbers])}")


class Folder:
    """How many rows are in the parts, each looked at once."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, int] = {}

    def count(self) -> int:
        """Rows by now."""
        for file in self.path.glob("part-*.parquet"):
            if file.name not in self.rows:
                self.rows[file.name] = pq.read_metadata(file).num_rows
        return sum(self.rows.values())


def marks(rows: int) -> list[int]:
    """10,000, 30,000, 100,000 … and all rows."""
    found = [step * 10**power for power in range(4, 10) for step in (1, 3)]
    return [mark for mark in found if mark < rows] + [rows]


def watched(
    command: list[str], folder: Folder, stop_at: int, until: float, said: list[int]
) -> bool:
    """Run the job until `stop_at` rows are there, or until its end or that of the time; whether it
    ended by itself. said: the marks that are to come."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    driver = psutil.Process(program.pid)
    begun = folder.count()
    last, moved, highest, first = begun, 0.0, 0.0, 0.0
    while program.poll() is None:
        time.sleep(LOOK_S)
        try:
            memory = driver.memory_full_info()
        except psutil.Error:
            break
        own, all_of_it = memory.uss / 2**20, memory.rss / 2**20
        rows = folder.count()
        if rows > begun and not moved:
            moved = time.monotonic() + WARM_S
        if moved and time.monotonic() > moved and not first:
            last, first, moved = rows, own, time.monotonic()
        highest = max(highest, own if first else 0.0)
        while said and rows >= said[0]:
            cost = (time.monotonic() - moved) / max(1, rows - last)
            print(
                f"{said.pop(0):>10,} rows: {rows:,} are there, {1e6 * cost:,.0f} µs a row, driver "
                f"{own:.0f} MiB of its own ({own - first:+.0f} since the first rows), "
                f"{all_of_it:.0f} MiB with all that it maps",
                flush=True,
            )
            last, moved = rows, time.monotonic()
        if rows >= stop_at or time.monotonic() > until:
            program.kill()
            program.wait()
            words = "killed" if rows >= stop_at else "stopped, since the time is over,"
            print(f"{words} at {folder.count():,} rows; the driver had {highest:.0f} MiB at most")
            return False
    output, errors = program.communicate()
    if program.returncode:
        raise SystemExit(f"the job failed:\n{output[-1000:]}\n{errors[-3000:]}")
    (told,) = [line for line in output.splitlines() if line.startswith(DONE)]  # engines log, too
    rows, computed, skipped, failed, numbers = json.loads(told.removeprefix(DONE))
    print(f"done: {rows:,} rows, {computed:,} computed now, {skipped:,} skipped, {failed:,} failed")
    print({name: round(value, 4) for name, value in numbers.items()})
    print(f"the driver had {first:.0f} MiB of its own at the first rows, {highest:.0f} at most")
    return True


def main() -> None:
    """Run it with its kills; print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--part-seconds", type=float, default=part_writer.PART_SECONDS)
    parser.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        job(given.folder, given.cold, given.part_seconds)
        return
    until = time.monotonic() + given.seconds
    make(given.folder, given.rows)
    folder = Folder(given.folder / "out")
    command = [sys.executable, "-m", "benchmarks.scale", str(given.folder), "--job"]
    command += ["--part-seconds", str(given.part_seconds)]
    command += ["--cold"] if given.cold else []
    stops = [given.rows * (n + 1) // (given.kills + 1) for n in range(given.kills)]
    there = folder.count()
    said = [mark for mark in marks(given.rows) if mark > there]
    for stop_at in [*(stop for stop in stops if stop > there), 2 * given.rows]:
        if watched(command, folder, stop_at, until, said):
            break
        if time.monotonic() > until:
            print("call it again with the same folder to go on")
            return
    ids = pq.read_table(given.folder / "out", columns=["id"])["id"]
    unique = len(ids.unique())
    print(f"{len(ids):,} ids in {len(folder.rows):,} parts, {unique:,} of them unique")
    if not len(ids) == unique == given.rows:
        raise SystemExit("rows are lost, or there twice")


if __name__ == "__main__":
    main()
