"""One card with its share of the cores against all cards of the machine: rows/s of warm jobs.

    python -m benchmarks.cards [--kinds short long] [--way run write] [--rows 33600] [--times 1]
        [--jobs 2] [--out FILE]

Each side is a program of its own, in turn: first one card and as many cores as fall to it, with
`--rows` rows, `--times` over; then all cards and cores, with as many for each card. run:
`labkit.run` of rows in memory; write: `labkit.write` from a Parquet file to a folder, which is
streamed: workers ask and write, and this program hands out references. short: the posts, a label
each, with as many engines a card as the lab chooses; long: questions, 128 tokens each, one engine a
card. The whole call counts. The cores that each kind of process took (of several, the busiest) and
what bounded the job stand beside it: were the driver's near 1, more cards would bring nothing.
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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import labkit
from benchmarks.about import about
from benchmarks.short_rows import posts
from labkit import tasks
from labkit.tasks import Task, ask


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
    kind: str, way: str, model: str | None, rows: int, jobs: int, engines: int | str
) -> list[dict[str, Any]]:
    """Rows/s, engines and what they took, of jobs after one that warms up."""
    cards = len(labkit.this_machine().gpus) or 1
    on_gpu = labkit.this_machine().device == "gpu"
    number = engines if on_gpu else "auto"
    spec = labkit.configure(model, warm=True, replicas=cards, engines_per_gpu=number)
    task, every = work(kind, rows * cards)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(jobs + 1):
            cpu = time.process_time()
            if way == "run":
                told = ran(task, every, spec)
            else:
                told = written(task, every, spec, Path(folder), number)
            wall = told.pop("wall_s")
            told["driver_cores"] = round((time.process_time() - cpu) / wall, 2)
            found.append(told)
    labkit.stop()
    return found[1:]


def ran(task: Task, every: list[dict[str, Any]], spec: Any) -> dict[str, Any]:
    """A job of rows in memory."""
    job = labkit.run(task, every, spec, progress=False)
    numbers = job.metrics
    return {
        "wall_s": numbers.wall_s,
        "rows_per_s": round(numbers.rows / numbers.wall_s, 1),
        "rows_per_s_engines": round(numbers.rows_per_s, 1),
        "engines": job.spec.replicas,
        "cores": {k: round(s / numbers.wall_s, 2) for k, s in job.cpu_s.items()},
        "mean_rows_in_flight": round(numbers.mean_rows_in_flight),
        "bound": job.bottleneck().sentence,  # type: ignore[union-attr]
    }


def written(
    task: Task, every: list[dict[str, Any]], spec: Any, folder: Path, number: int
) -> dict[str, Any]:
    """A job from a Parquet file to a folder."""
    file = folder / "in.parquet"
    if not file.exists():
        rows = [{"id": at, **row} for at, row in enumerate(every)]
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=20_000)
    began = time.monotonic()
    out = labkit.write(task, file, folder / f"{number}", spec, id_column="id", progress=False)
    wall, numbers = time.monotonic() - began, out.metrics
    assert numbers is not None
    return {
        "wall_s": wall,
        "rows_per_s": round(out.rows / wall, 1),
        "rows_per_s_engines": round(numbers.rows_per_s, 1),
        "startup_s": round(numbers.startup_s, 1),  # the ids, mostly
        "shutdown_s": round(numbers.shutdown_s, 1),
        "mean_rows_in_flight": round(numbers.mean_rows_in_flight),
        "parts": len(list((folder / f"{number}").glob("part-*"))),
    }


def ratio(one: list[dict[str, Any]], every: list[dict[str, Any]]) -> list[float]:
    """Rows/s of all cards against one: lowest, median and highest ratio."""
    few, many = ([job["rows_per_s"] for job in jobs] for jobs in (one, every))
    middle = statistics.median(many) / statistics.median(few)
    return [round(n, 3) for n in (min(many) / max(few), middle, max(many) / min(few))]


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
    parser.add_argument("--out", type=Path, help="JSON lines: a line a kind")
    parser.add_argument("--one", choices=["short", "long"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        engines = int(given.engines) if given.engines else "auto"
        rows = given.rows * given.times
        found = measure(given.one, given.way[0], given.model, rows, given.jobs, engines)
        print(json.dumps(found))
        return
    machine = labkit.this_machine()
    cards = len(machine.gpus) or 1
    for kind, way in itertools.product(given.kinds, given.way):
        command = [sys.executable, "-m", "benchmarks.cards", "--one", kind]
        command += ["--rows", str(given.rows), "--times", str(given.times)]
        command += ["--way", way, "--jobs", str(given.jobs)]
        command += ["--model", given.model] if given.model else []
        command += ["--engines", given.engines] if given.engines else []
        first = {"CUDA_VISIBLE_DEVICES": "0"} if machine.gpus else {}
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[: machine.cores // cards]))
        sides = {
            "one card": (["taskset", "-c", cores, *command], {**os.environ, **first}),
            "all cards": (command, {**os.environ}),
        }
        sided: dict[str, Any] = {}
        for name, (words, environment) in sides.items():
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
            sided[name] = json.loads(done.stdout.splitlines()[-1])
            print(f"{kind}, {way}, {name}: {sided[name]}", flush=True)
        low, middle, high = sided["ratio"] = ratio(sided["one card"], sided["all cards"])
        print(f"{kind}, {way}: {cards} cards / one card: {middle:.2f} ({low:.2f} to {high:.2f})")
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            where = about("cards", labkit.configure(given.model))
            with given.out.open("a") as file:
                file.write(
                    json.dumps({**where, "kind": kind, "way": way, "cards": cards, **sided}) + "\n"
                )


if __name__ == "__main__":
    main()
