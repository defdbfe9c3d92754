"""One card with its share of the cores against all cards of the machine: rows/s of warm jobs.

    python -m benchmarks.cards [--kinds short long] [--way run write] [--rows 33600] [--times 1]
        [--jobs 2] [--sides one all] [--bind] [--out FILE]

Each side is a program of its own, in turn: first one card and as many cores as fall to it, with
`--rows` rows, `--times` over; then all cards and cores, with as many for each card. Its engines
stay up for all jobs: one that warms up, then `--jobs` rounds of each way. run: `labkit.run` of rows
in memory; write: `labkit.write` from a Parquet file to a folder, which is streamed: workers ask and
write, and this program hands out references. short: the posts, a label each, with as many engines a
card as the lab chooses; long: questions, 128 tokens each, one engine a card. The whole call counts.
The cores that each kind of process took (of several, the busiest) and what bounded the job stand
beside it: were the driver's near 1, more cards would bring nothing. --bind: with --jobs 5 the
engines are bound to their card's share of the cores (`bind_cores`) in rounds 3 and 4, and not in 2
and 5 (leave the first out: jobs get faster at first). A line of the file for
each job, written when it ends: what is there when the time is over counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import labkit
from benchmarks import bind_cores
from benchmarks.about import about, known
from benchmarks.short_rows import posts
from labkit import tasks
from labkit.tasks import Task, ask

#: Rows for each card of the job that warms up.
WARM_UP = 16_800


def work(kind: str, rows: int) -> tuple[Task, list[dict[str, Any]]]:
    """The task of a kind and so many rows of it."""
    if kind == "short":
        return tasks.sentiment(), posts(1 + rows // 4200)[:rows]
    sampling = {"max_tokens": 128, "temperature": 0.0, "ignore_eos": True}
    questions = labkit.load_faq()["question"]
    every = [{"question": questions[n % len(questions)]} for n in range(rows)]
    # Random weights may write nothing but spaces.
    return Task("long", ask("question"), sampling, allow_empty=True), every


def measure(
    kind: str,
    ways: Sequence[str],
    model: str | None,
    rows: int,
    jobs: int,
    engines: int | str,
    bind: bool,
) -> Iterator[dict[str, Any]]:
    """Rows/s, engines and what they took, of each job after one that warms up."""
    cards = len(labkit.this_machine().gpus) or 1
    on_gpu = labkit.this_machine().device == "gpu"
    number = engines if on_gpu else "auto"
    spec = labkit.configure(model, warm=True, replicas=cards, engines_per_gpu=number)
    task, every = work(kind, rows * cards)
    labkit.run(task, every[: WARM_UP * cards], spec, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        for number, way in itertools.product(range(jobs), ways):
            apart = number % 4 in (2, 3)
            bound = bind_cores.bind(cards, apart) if bind else 0
            file = in_file(every, Path(folder)) if way == "write" else None
            cpu = time.process_time()
            if file is None:
                told = ran(task, every, spec)
            else:
                told = written(task, file, spec, Path(folder, f"{number}"))
            told["driver_cores"] = round((time.process_time() - cpu) / told["wall_s"], 2)
            if bind:
                told["bound_processes"] = bound if apart else 0
            yield {"way": way, "cards": cards, "rows": len(every), **told}
    labkit.stop()


def ran(task: Task, every: list[dict[str, Any]], spec: Any) -> dict[str, Any]:
    """A job of rows in memory."""
    began = time.monotonic()
    job = labkit.run(task, every, spec, progress=False)
    wall, numbers = time.monotonic() - began, job.metrics
    return {
        "wall_s": wall,
        "rows_per_s": round(numbers.rows / wall, 1),
        "answered_s": round(numbers.wall_s, 1),  # then this program makes frames of them
        "rows_per_s_engines": round(numbers.rows_per_s, 1),
        "engines": job.spec.replicas,
        "cores": {k: round(s / numbers.wall_s, 2) for k, s in job.cpu_s.items()},
        "mean_rows_in_flight": round(numbers.mean_rows_in_flight),
        "card_busy": known(numbers.card_busy),
        "bound": job.bottleneck().sentence,  # type: ignore[union-attr]
    }


def in_file(every: list[dict[str, Any]], folder: Path) -> Path:
    """The rows as a Parquet file, written once."""
    file = folder / "in.parquet"
    if not file.exists():
        rows = [{"id": at, **row} for at, row in enumerate(every)]
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=20_000)
    return file


def written(task: Task, file: Path, spec: Any, folder: Path) -> dict[str, Any]:
    """A job from a Parquet file to a folder."""
    began = time.monotonic()
    out = labkit.write(task, file, folder, spec, id_column="id", progress=False)
    wall, numbers = time.monotonic() - began, out.metrics
    assert numbers is not None
    return {
        "wall_s": wall,
        "rows_per_s": round(out.rows / wall, 1),
        "rows_per_s_engines": round(numbers.rows_per_s, 1),
        "startup_s": round(numbers.startup_s, 1),  # the ids, mostly
        "shutdown_s": round(numbers.shutdown_s, 1),
        "mean_rows_in_flight": round(numbers.mean_rows_in_flight),
        "parts": len(list(folder.glob("part-*"))),
    }


def ratio(one: list[dict[str, Any]], every: list[dict[str, Any]]) -> list[float]:
    """Rows/s of all cards against one: lowest, median and highest ratio."""
    few, many = ([job["rows_per_s"] for job in jobs] for jobs in (one, every))
    middle = statistics.median(many) / statistics.median(few)
    return [round(n, 3) for n in (min(many) / max(few), middle, max(many) / min(few))]


def side(kind: str, name: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The jobs of one side, as its program tells them."""
    machine = labkit.this_machine()
    command = [sys.executable, "-m", "benchmarks.cards", "--one", kind, "--way", *given.way]
    command += [f"--rows={given.rows}", f"--times={given.times}", f"--jobs={given.jobs}"]
    command += [f"--model={given.model}"] if given.model else []
    command += [f"--engines={given.engines}"] if given.engines else []
    command += ["--bind"] if given.bind else []
    environment = {**os.environ}
    if name == "one":
        share = sorted(os.sched_getaffinity(0))[: machine.cores // (len(machine.gpus) or 1)]
        command = ["taskset", "-c", ",".join(map(str, share)), *command]
        environment |= {"CUDA_VISIBLE_DEVICES": "0"} if machine.gpus else {}
    with tempfile.TemporaryFile("w+") as log:
        program = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("{"):
                yield {"kind": kind, "side": name, **json.loads(line)}
        if program.wait():
            log.seek(0)
            raise SystemExit(f"{kind}, {name}: failed:\n{log.read()[-3000:]}")


def main() -> None:
    """Measure both sides of each kind; print and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["short", "long"], choices=["short", "long"])
    parser.add_argument("--rows", type=int, default=33600, help="for each card")
    parser.add_argument("--times", type=int, default=1, help="so many times the rows")
    parser.add_argument("--way", nargs="+", default=["run"], choices=["run", "write"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--engines", help="a card (default: labkit's own choice)")
    parser.add_argument("--model")
    parser.add_argument("--sides", nargs="+", default=["one", "all"], choices=["one", "all"])
    parser.add_argument("--bind", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON lines: a line a job")
    parser.add_argument("--one", choices=["short", "long"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        engines = int(given.engines) if given.engines else "auto"
        rows = given.rows * given.times
        asked = (given.way, given.model, rows, given.jobs, engines, given.bind)
        for job in measure(given.one, *asked):
            print(json.dumps(job), flush=True)
        return
    where = about("cards", labkit.configure(given.model))
    for kind in given.kinds:
        jobs: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for job in itertools.chain.from_iterable(side(kind, name, given) for name in given.sides):
            jobs.setdefault((job["way"], job["side"]), []).append(job)
            print(job, flush=True)
            if given.out:
                given.out.parent.mkdir(parents=True, exist_ok=True)
                with given.out.open("a") as file:
                    file.write(json.dumps({**where, **job}) + "\n")
        for way in given.way:
            if (way, "one") in jobs and (way, "all") in jobs:
                one, every = jobs[way, "one"], jobs[way, "all"]
                low, middle, high = ratio(one, every)
                words = f"{every[0]['cards']} cards / one card: {middle:.2f}"
                print(f"{kind}, {way}: {words} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
