"""Many jobs on one warm engine: how throughput depends on the knobs that need no reload."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.api.measure_job import of_engines
from labkit.api.run_job import run
from labkit.errors import Cancelled, JobFailed, LabError, lab_errors
from labkit.hardware.machine import quick
from labkit.hardware.recorded_machine import about as recorded_machine
from labkit.hardware.recorded_machine import replaying
from labkit.paths import full_path
from labkit.progress import Named, View, view_of
from labkit.ray_session import job_lock
from labkit.results.class_work import work
from labkit.results.sweep_file import about_sweep, append, resume
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep
from labkit.rows import user_data
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Row, Task


@lab_errors("The sweep could not be run")
def sweep(
    task: Task,
    data: pd.DataFrame | Sequence[Row],
    points: Iterable[tuple[int, int]],
    spec: ProcessorSpec | None = None,
    *,
    repeats: int = 3,
    rounds: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    progress: bool | View = True,
    cancel: threading.Event | None = None,
    stall_s: float | None = None,
    on_run: Callable[[Sweep], None] | None = None,
) -> Sweep:
    """Run the same rows at every point, `repeats` times, on one warm engine.

    points: (batch_size, max_concurrent_batches) pairs; see `in_flight`, `at_product` and `grid`.
    Each repeat takes the points in another order (`seed`), so that a machine that gets slower
    or faster favours none. One job before the first run warms the engine up and is not counted.
    rounds: a run has `rounds` times as many rows as are in flight, at most all of the data, so that
    the slow points take no longer than the fast ones; None: every run has all rows (with the
    environment variable QUICK=1: two rounds).
    path: a file (JSON lines: provenance, then a line a run), written run by run; called again
    with the same file, what is there of these points is not measured again.
    cancel: ends the sweep with Cancelled when set. stall_s: of each run, as in `labkit.run`.
    on_run: is given the sweep so far: once after the warm-up, then after each run.

    Raises LabError for points or a file that can't be used, for fewer rows than a point has in
    flight at all replicas together, and what `labkit.run` raises; JobFailed when no row of a run
    was answered. What was measured stays in `path` in every case.
    """
    todo = check_points(points)
    spec = of_engines(spec).with_(warm=True).with_engines(1)  # a point is one engine's
    rows = user_data.in_memory(data)
    if rounds is None and quick():
        rounds = 2
    about = about_sweep(task, rows, spec, repeats, rounds, seed)
    if replaying():
        about |= {"recorded": True, "made": recorded_machine()["made"]}
    most = max(point.rows_in_flight for point in todo)
    if (least := most * spec.replicas) > len(rows):
        each = f" at each of {spec.replicas} replicas" if spec.replicas > 1 else ""
        raise LabError(
            f"{len(rows)} rows can't be {most} in flight{each}: give at least {least} rows."
        )
    done = [run for run in resume(path, about) if _point(run) in todo]
    again = _repeats(task, rows)
    plan = [p for p in _order(todo, repeats, seed) if (p[1], p[2]) not in _measured(done)]
    view = view_of(progress)
    with job_lock.one_job():
        if plan:
            widest = max(todo, key=lambda point: point.rows_in_flight)
            few = _some(rows, widest, rounds, spec.replicas)
            _one(
                task,
                few,
                spec,
                widest,
                Named(view, "warming up", lambda share: share),
                cancel,
                stall_s,
            )
        if on_run:
            on_run(Sweep(pd.DataFrame(done), about))
        for number, (order, point, repeat) in enumerate(plan):
            words = f"run {number + 1} of {len(plan)}: {point}, {point.rows_in_flight} in flight"
            shown = Named(view, words, _part(number, len(plan)))
            some = _some(rows, point, rounds, spec.replicas)
            one = _one(task, some, spec, point, shown, cancel, stall_s)
            about_run = {"repeat": repeat, "order": order, "repeated_prompts": again[len(some)]}
            done.append({**one, **about_run})
            append(path, done[-1])
            if on_run:
                on_run(Sweep(pd.DataFrame(done), about))
        if view is not None:
            mark = "replay: " if replaying() else ""
            view.show(f"{mark}done: {len(done)} runs at {len(todo)} points", 1.0)
            view.close()
        found = Sweep(pd.DataFrame(done), about)
        work.note_sweep(found)
        return found


@lab_errors("The engines could not be compared")
def sweep_engines(
    task: Task,
    data: pd.DataFrame | Sequence[Row],
    points: Iterable[tuple[int, int]],
    specs: Mapping[str, ProcessorSpec],
    *,
    path: str | Path | None = None,
    progress: bool | View = True,
    **options: Any,
) -> dict[str, Sweep]:
    """A sweep on each of several engines: how throughput depends on what needs another engine.

    specs: what each is called → its specification, such as
    `{f"max_num_seqs {n}": spec.with_(max_num_seqs=n) for n in (16, 64)}`. They run one after the
    other, each on an engine that is started for it. path: a folder, with a file for each. progress:
    says beforehand how many starts there are and about how long each takes. options: as of `sweep`.

    Returns the sweeps by the same names (`charts.speed_ups` draws them). Raises what `sweep` does.
    """
    if not specs:
        raise LabError("Give at least one specification, by a name of yours.")
    view, found = view_of(progress), {}
    for number, (name, spec) in enumerate(specs.items()):
        words = f"{name} (engine {number + 1} of {len(specs)})"
        if view is not None and not number:
            view.show(f"{len(specs)} engines, each: {spec.starting}", 0.0)
        file = None if path is None else full_path(path) / f"{_file_name(name)}.jsonl"
        shown = Named(view, words, _part(number, len(specs)))
        quiet = shown if view is not None else False
        found[name] = sweep(task, data, points, spec, path=file, progress=quiet, **options)
    if view is not None:
        view.show(f"done: {len(found)} engines", 1.0)
        view.close()
    return found


def _part(number: int, of: int) -> Callable[[float], float]:
    """From the share of one run to that of all of them."""
    return lambda share: (number + share) / of


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", name).strip("-") or "sweep"


def _some(rows: list[Row], point: Point, rounds: int | None, replicas: int) -> list[Row]:
    return rows if rounds is None else rows[: rounds * point.rows_in_flight * replicas]


def _one(
    task: Task,
    rows: list[Row],
    spec: ProcessorSpec,
    point: Point,
    shown: Named,
    cancel: threading.Event | None,
    stall_s: float | None,
) -> dict[str, Any]:
    """One run at a point, as a row of `Sweep.table`."""
    if cancel is not None and cancel.is_set():
        raise Cancelled("The sweep was cancelled.")
    # The queue before the engine must not be shorter than the rows handed to it.
    here = spec.with_(**point._asdict(), max_pending_requests=point.rows_in_flight)
    job = run(task, rows, here, progress=shown, cancel=cancel, stall_s=stall_s)
    numbers = job.metrics
    if not numbers.rows:
        raise JobFailed(f"No row was answered at {point}: {job.failed['error'].iloc[0]}")
    return {
        **point._asdict(),
        "rows_in_flight": here.rows_in_flight // spec.replicas,
        "started": job.started,
        "overhead_s": numbers.wall_s - numbers.engine_span_s,
        **numbers.as_dict(),
    }


def check_points(points: Iterable[tuple[int, int]]) -> list[Point]:
    """The points, each once. Raises LabError when there is none or one can't be used."""
    found = [Point(*map(int, point)) for point in points]
    if not found or any(min(point) < 1 for point in found):
        raise LabError(
            "Give points of (batch_size, max_concurrent_batches), each a whole number from 1, such "
            "as [(1, 1), (16, 4)] or labkit.in_flight(1, 4, 16, 64)."
        )
    return list(dict.fromkeys(found))


def _order(points: list[Point], repeats: int, seed: int) -> list[tuple[int, Point, int]]:
    """(order, point, repeat) of every run: each repeat has all points, shuffled."""
    chance = random.Random(seed)
    runs = [(p, repeat) for repeat in range(repeats) for p in chance.sample(points, len(points))]
    return [(order, point, repeat) for order, (point, repeat) in enumerate(runs)]


def _measured(done: list[dict[str, Any]]) -> set[tuple[Point, int]]:
    return {(_point(run), run["repeat"]) for run in done}


def _point(run: dict[str, Any]) -> Point:
    return Point(run["batch_size"], run["max_concurrent_batches"])


def _repeats(task: Task, rows: list[Row]) -> list[int]:
    """How many of the first n rows send messages that a row before them sent, for each n from 0."""
    seen: set[Any] = set()
    counts = [0]
    for row in rows:
        try:
            asked: Any = json.dumps(task.messages(row), default=str)
        except Exception:  # the user's own function; the job makes an error row of it
            asked = object()
        counts.append(counts[-1] + (asked in seen))
        seen.add(asked)
    return counts
