"""Kill a job on purpose, for a lesson: what it had written is still there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from labkit.api.configure import configure
from labkit.engines import warm_engine
from labkit.engines.recorded_jobs import REAL_TIME
from labkit.errors import JobFailed, ModelError, lab_errors
from labkit.hardware import machine as machines
from labkit.hardware.recorded_machine import RECORD, REPLAY, replaying


@lab_errors("The job to be killed could not be started")
def demo_kill(
    folder: str | Path, rows: int, *, batch_size: int = 8, batches: int = 2, parts: int = 2
) -> int:
    """Start `python -m labkit label` as a program of its own and kill it half-way (SIGKILL).

    folder: where it writes its labels. rows: how many posts it was to label. batch_size, batches:
    few rows in flight, at one engine, so that it lives long enough: on an H200 the engines that the
    lab chooses had labelled all 4,200 posts before the second file. parts: it is killed when so
    many files are on disk. The warm engine of this program ends first where there is no room for
    another beside it.

    Returns the exit code: -9 where it was killed. Raises JobFailed, with the end of its log, where
    it ended by itself with an error.
    """
    _make_room()
    folder = Path(folder)
    command = [sys.executable, "-m", "labkit", "label", f"--rows={rows}", f"--out={folder}"]
    command += [f"--batch-size={batch_size}", f"--max-concurrent-batches={batches}"]
    command += ["--engines-per-gpu=1"]
    log = Path(f"{folder}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    replay = {REPLAY: REAL_TIME} if replaying() else {}  # else it would be done before the kill
    env = {name: value for name, value in os.environ.items() if name != RECORD} | replay
    with log.open("w") as lines:
        program = subprocess.Popen(
            command, stdout=lines, stderr=lines, env=env, start_new_session=True
        )
    try:
        while program.poll() is None and len(list(folder.glob("*.parquet"))) < parts:
            time.sleep(0.1)
    finally:
        program.kill()
        code = program.wait()
    if code > 0:
        raise JobFailed(f"The job ended by itself: {log.read_text()[-2000:]}")
    return code


def _make_room() -> None:
    """End the warm engine where another does not fit beside it: it holds its share of a GPU."""
    machine = machines.detect()
    try:
        configure(machine=machine)
    except ModelError:
        beside = False
    else:
        beside = machine.device == "cpu"
    if not beside:
        warm_engine.stop()
