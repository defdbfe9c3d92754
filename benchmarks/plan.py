"""`labkit.plan` against the job itself, on this machine: how often does the interval hold it?

    python -m benchmarks.plan [--model NAME ...] [--tasks sentiment faq] [--trials 4]
                              [--seconds 20] [--job-seconds 60] [--budget 500] [--out FILE]

Each trial plans a job with other rows and then runs it, on the warm engine that the plan left. The
job has so many rows that it takes about `--job-seconds`, by the first plan. Every row is different
from all others, so that no prefix cache has more of the job than of its sample. `load` tells of
other programs on the machine: neither the plan nor the job is meant to share it. `--out` gathers:
trials of a later call are added to those of the file. Report those that did not hold, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

import labkit
from benchmarks.about import about, known
from labkit.results.job_estimate import DRIFT
from labkit.tasks import Task, faq, sentiment
from labkit.weights.tiny import tiny_model

TINY = "tiny"
#: Rows of a job that takes as many engines as there is room for.
LARGE = 1_000_000


def rows_of(task: str, first: int, number: int) -> pd.DataFrame:
    """Rows that no other trial has: posts or questions in turn, each with a number of its own."""
    column = {"sentiment": "text", "faq": "question"}[task]
    frame = {"sentiment": labkit.load_posts, "faq": labkit.load_faq}[task]()
    texts = frame[column].sample(frac=1, random_state=0).tolist()
    places = range(first, first + number)
    return pd.DataFrame({column: [f"{n} {texts[n % len(texts)]}" for n in places]})


def task_of(name: str) -> Task:
    """The task, whose every text counts: a tiny model's, and that of a shape without weights."""
    task = {"sentiment": sentiment(), "faq": faq(max_tokens=64)}[name]
    return replace(task, any_text=True, allow_empty=True)


def trial(task: str, spec: Any, first: int, number: int, seconds: float) -> dict[str, Any]:
    """One plan and its job. first: where its rows begin."""
    asked, rows = task_of(task), rows_of(task, first, number)
    plan = labkit.plan(asked, rows, spec, seconds=seconds, progress=False)
    job = labkit.run(asked, rows, spec, progress=False)
    s, truth = plan.seconds, job.metrics.wall_s
    return {
        "rows": number,
        "planned_s": round(s.value, 2),
        "lowest_s": round(s.low, 2),
        "highest_s": round(s.high, 2),
        "job_s": round(truth, 2),
        "measured_s": round(plan.measured_s, 1),
        "engines": job.spec.replicas,
        "card_busy": known(job.metrics.card_busy),
        "bound": job.bottleneck().sentence,  # type: ignore[union-attr]
        "load": [round(load, 1) for load in os.getloadavg()],  # of 1, 5 and 15 minutes
        "runs": [[r.rows, round(r.wall_s, 3), round(r.once_s, 3)] for r in plan.runs],
        "output_tokens": [
            round(job.metrics.output_tokens / number, 2),
            round(plan.output_tokens.low, 2),
            round(plan.output_tokens.high, 2),
        ],
    }


def held(one: dict[str, Any]) -> bool:
    """Whether the interval held the job."""
    return bool(one["lowest_s"] <= one["job_s"] <= one["highest_s"])


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Over some trials: how many, how many held, the half widths and the errors as shares."""
    widths = [(one["highest_s"] - one["lowest_s"]) / 2 / one["planned_s"] for one in trials]
    errors = [one["job_s"] / one["planned_s"] - 1 for one in trials]
    return {
        "trials": len(trials),
        "held": sum(map(held, trials)),
        "half_width_median": round(statistics.median(widths), 3),
        "half_width_widest": round(max(widths), 3),
        "error_lowest": round(min(errors), 3),
        "error_highest": round(max(errors), 3),
    }


def main() -> None:
    """Run the trials; print each one and how many held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=[TINY, "smollm2-135m"])
    parser.add_argument("--tasks", nargs="+", default=["sentiment", "faq"])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--job-seconds", type=float, default=60.0)
    parser.add_argument("--budget", type=float, default=500.0, help="no trial begins after this")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    began = time.monotonic()
    kept = json.loads(given.out.read_text())["cases"] if given.out and given.out.exists() else []
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in given.model:
            named = str(tiny_model(Path(folder) / TINY)) if model == TINY else model
            spec = labkit.configure(named, warm=True)
            for task in given.tasks:
                case: dict[str, Any] = {"model": spec.model.name, "task": task, "drift": DRIFT}
                case["trials"] = []
                for one in _trials(given, spec, task, began):
                    if not case["trials"]:
                        cases.append(case)
                    case["trials"].append(one)
                    if given.out:
                        _write(given.out, spec, kept + cases)
            labkit.stop_engine()
    labkit.stop()
    if every := [one for case in cases for one in case["trials"]]:
        print(json.dumps(summary(every)))


def _write(file: Path, spec: Any, cases: list[dict[str, Any]]) -> None:
    """What is known so far."""
    trials = [one for case in cases for one in case["trials"]]
    where = {**about("plan", spec), "model": sorted({case["model"] for case in cases})}
    whole = {**where, "summary": summary(trials), "cases": cases}
    file.write_text(json.dumps(whole, indent=1) + "\n")


def _trials(given: argparse.Namespace, spec: Any, task: str, began: float) -> Iterator[Any]:
    """The trials of one model and task, as far as there is time."""
    # As many engines as a large job takes; a plan of few rows would start one.
    some = rows_of(task, 0, 20_000)
    first = labkit.plan(task_of(task), some, spec, seconds=3, total=LARGE, progress=False)
    number = round(LARGE / first.seconds.value * given.job_seconds)
    for first_row in range(0, given.trials * number, number):
        if time.monotonic() - began > given.budget:
            break
        one = trial(task, spec, first_row, number, given.seconds)
        print(
            f"{spec.model.name} {task}: {number:,} rows planned {one['planned_s']} s "
            f"({one['lowest_s']} to {one['highest_s']}), took {one['job_s']} s: "
            f"{'held' if held(one) else 'NOT HELD'}",
            flush=True,
        )
        yield one


if __name__ == "__main__":
    main()
