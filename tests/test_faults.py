"""Faults on the real engine: whatever dies or stands still, no row is lost, none is there twice.

`make test-slow` runs these: an engine starts for nearly every one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

import labkit
from labkit.api import job_stream
from labkit.api.watchdog import Watch
from labkit.errors import Cancelled, JobFailed, LabError, Stalled
from labkit.ray_session import session
from labkit.results import part_writer
from labkit.tasks import Task, ask
from tests.programs import below

pytestmark = [pytest.mark.endurance, pytest.mark.engine]

ROWS = 80
DATA = [{"id": f"r{n:03}", "question": f"What is {n} + {n}?"} for n in range(ROWS)]
IDS = [row["id"] for row in DATA]
#: Tokens enough for a fault to find the job at work.
TASK = Task("say", ask("question"), {"max_tokens": 256, "ignore_eos": True, "temperature": 0.0})
#: Longer than a start of the engine takes on a slow machine.
START_S = 300
#: From the fault on, without a finished row; longer than a batch takes by far.
STALL_S = 10


def processes(*words: str) -> list[psutil.Process]:
    """The processes below this one that have one of these words in their title."""
    found = []
    for process in below():
        try:
            title = f"{process.name()} {' '.join(process.cmdline())}"
        except psutil.Error:
            continue
        if any(word in title for word in words):
            found.append(process)
    return found


#: The watchdogs of the jobs so far.
WATCHES: list[Watch] = []
CORE, COLD, WARM = "EngineCore", "vLLMEngineStage", "ray::Engine"


def engines() -> list[psutil.Process]:
    return processes(CORE, COLD, WARM)


class At:
    """A place for progress that does something to the job when so many of its rows are done."""

    def __init__(self, rows: int, act: Callable[[], Any], of: int = ROWS):
        self.share, self.act = rows / of, act
        self.began = self.done = False

    def show(self, text: str, share: float | None) -> None:
        if not self.began and (share or 0) >= self.share:
            self.began = True
            self.act()
            self.done = True

    def close(self) -> None:
        pass


def send(what: signal.Signals, *words: str) -> Callable[[], None]:
    """Send a signal to the processes with these words; there must be some, or be some soon."""

    def act() -> None:
        deadline = time.monotonic() + 30
        while not (found := processes(*words)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found, f"no process {words} to send {what.name} to"
        for process in found:
            process.send_signal(what)
        if what == signal.SIGSTOP:
            WATCHES[-1].stall_s = STALL_S

    return act


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stands still shortens the watchdog's patience: before, an engine started."""

    class Noted(Watch):
        def __enter__(self) -> Noted:
            WATCHES.append(self)
            return super().__enter__()

    monkeypatch.setattr(job_stream, "Watch", Noted)


@pytest.fixture
def spec(ray_without_gpu: Any, tiny: Any) -> Any:
    return labkit.configure(tiny, batch_size=4, max_concurrent_batches=2)


@pytest.fixture
def warm(spec: Any) -> Iterator[Any]:
    yield spec.with_(warm=True)


def check_partial(at_least: int) -> None:
    """The finished rows of the stopped job: whole, in order, each once; the rest is counted."""
    job = labkit.partial()
    got = list(job.answers["id"])
    assert got == sorted(set(got)) and set(got) <= set(IDS) and job.failed.empty
    assert at_least <= len(got) < ROWS and job.missing == ROWS - len(got)
    assert job.answers["answer"].str.len().gt(0).all()
    assert f"partial: {len(got)} of {ROWS} rows" in job._repr_html_()


def check_nothing_is_held(ray: Any) -> None:
    deadline = time.monotonic() + 20
    while (engines() or ray.available_resources().get("CPU") != 4) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert engines() == [] and ray.available_resources()["CPU"] == 4


# --- a cold job ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "rows"), [(CORE, 12), (COLD, 12), ("RenderPrompts", 0), ("ReadResponses", 12)]
)
def test_a_worker_that_is_killed_is_replaced(spec: Any, who: str, rows: int) -> None:
    """vLLM's own process, the engine's worker, or one of a light stage (that of the chat template
    has done its work before the engine is up, so it dies at its start): Ray starts it again."""
    view = At(rows, send(signal.SIGKILL, who))
    job = labkit.run(TASK, DATA, spec, progress=view)
    assert view.done
    assert list(job.answers["id"]) == IDS and job.failed.empty and job.missing == 0


@pytest.mark.parametrize("who", [CORE, COLD])
def test_an_engine_that_stands_still_is_ended(spec: Any, local_ray: Any, who: str) -> None:
    view = At(12, send(signal.SIGSTOP, who))
    with pytest.raises(Stalled, match=f"no row was finished for {STALL_S} s, in the middle") as end:
        labkit.run(TASK, DATA, spec, progress=view, stall_s=START_S)
    assert "The engine's last words: " in str(end.value)
    check_partial(at_least=12)
    check_nothing_is_held(local_ray)


def test_an_engine_that_never_starts_is_ended(spec: Any, local_ray: Any) -> None:
    """As where the memory is too small and the start hangs."""
    stop, frozen = threading.Event(), set()

    def freeze() -> None:
        while not stop.wait(0.2):
            for process in processes(COLD):
                with contextlib.suppress(psutil.Error):
                    process.suspend()
                    frozen.add(process)

    freezer = threading.Thread(target=freeze)
    freezer.start()
    try:
        with pytest.raises(Stalled, match="since “starting the engine.*0 of 80 rows"):
            labkit.run(TASK, DATA, spec, progress=False, stall_s=40)
    finally:
        stop.set()
        freezer.join()
    assert frozen and not any(process.is_running() for process in frozen)
    check_nothing_is_held(local_ray)


@pytest.mark.parametrize("how", ["interrupted", "cancelled"])
def test_a_cold_job_that_is_stopped_ends_at_once(spec: Any, local_ray: Any, how: str) -> None:
    stop = threading.Event()
    act, kind = stop.set, Cancelled  # type: Any, Any
    if how == "interrupted":
        act, kind = lambda: os.kill(os.getpid(), signal.SIGINT), KeyboardInterrupt
    with pytest.raises(kind):
        labkit.run(TASK, DATA, spec, progress=At(12, act), cancel=stop)
    check_partial(at_least=12)
    check_nothing_is_held(local_ray)


# --- a warm engine -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "who", "kind"),
    [
        (signal.SIGKILL, CORE, JobFailed),
        (signal.SIGKILL, WARM, JobFailed),
        (signal.SIGSTOP, CORE, Stalled),
        (signal.SIGSTOP, WARM, Stalled),
    ],
)
def test_a_warm_engine_that_fails_is_replaced_by_the_next_job(
    warm: Any, what: signal.Signals, who: str, kind: type[JobFailed]
) -> None:
    with pytest.raises(kind):
        labkit.run(TASK, DATA, warm, progress=At(12, send(what, who)), stall_s=START_S)
    check_partial(at_least=12)
    before = {process.pid for process in engines()}
    job = labkit.run(TASK, DATA[:12], warm, progress=False)
    assert list(job.answers["id"]) == IDS[:12] and job.failed.empty
    assert not before & {process.pid for process in engines()}
    with pytest.raises(LabError, match="not stopped"):
        labkit.partial()


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
def test_written_rows_of_a_failed_job_are_kept_and_not_computed_again(
    warm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: signal.Signals
) -> None:
    monkeypatch.setattr(part_writer, "PART_SECONDS", 0)
    fault = send(what, CORE)
    taken = part_writer.PartWriter.take
    count = [0]

    def take(writer: Any, finished: Any) -> None:
        taken(writer, finished)
        count[0] += finished.num_rows
        if 12 <= count[0] < 12 + finished.num_rows:
            fault()

    options: Any = {"id_column": "id", "progress": False, "stall_s": START_S}
    with monkeypatch.context() as patch, pytest.raises(JobFailed, match="rows are kept.*write ag"):
        patch.setattr(part_writer.PartWriter, "take", take)
        labkit.write(TASK, DATA, tmp_path, warm, **options)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("part-*")}
    out = labkit.write(TASK, DATA, tmp_path, warm, **options)
    assert 12 <= out.skipped < ROWS and out.computed == ROWS - out.skipped and out.failed == 0
    assert list(out.read()["id"]) == IDS
    assert {file: file.stat().st_mtime_ns for file in before} == before


# --- a full disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 192 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"no small file system can be mounted here: {problem}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_full_disk_keeps_what_is_written(
    warm: Any,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    """Also where a worker writes."""
    monkeypatch.setattr(part_writer, "PART_SECONDS", 0)
    every = [{**row, "note": os.urandom(4000).hex()} for row in DATA]  # nothing can pack this
    rows: Any = every
    if streamed:
        pd.DataFrame(every).to_parquet(rows := tmp_path / "in.parquet")
    options: Any = {"id_column": "id", "progress": False}
    with pytest.raises(LabError, match="No space left.*kept. Make room"):
        labkit.write(TASK, rows, small_disk / "out", warm, **options)
    assert not list((small_disk / "out").glob(".part-*"))
    with pytest.raises(LabError, match="No space left"):  # still full: said again, nothing harmed
        labkit.write(TASK, rows, small_disk / "out", warm, **options)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    out = labkit.write(TASK, rows, small_disk / "out", warm, **options)
    assert 0 < out.skipped < ROWS and out.failed == 0
    back = out.read()
    assert list(back["id"]) == IDS and list(back["note"]) == [row["note"] for row in every]


def test_nothing_is_left_of_the_engines(local_ray: Any) -> None:
    """After all others: the warm engine is stopped as well."""
    labkit.stop_engine()
    check_nothing_is_held(local_ray)


# --- a script in a terminal ----------------------------------------------------------------------

SCRIPT = """
import json, labkit
from labkit.tasks import Task, ask

class Ready:
    said = False
    def show(self, text, share):
        if not self.said and (share or 0) > 0.1:
            self.said = True
            print("now", flush=True)
    def close(self):
        print(flush=True)

data = [{"id": f"r{n:03}", "question": f"What is {n} + {n}?"} for n in range(80)]
task = Task("say", ask("question"), {"max_tokens": 256, "ignore_eos": True, "temperature": 0.0})
spec = labkit.configure(batch_size=4, max_concurrent_batches=2)
try:
    labkit.run(task, data, spec, progress=Ready())
except KeyboardInterrupt:
    job = labkit.partial()
    print(json.dumps([list(job.answers["id"]), job.missing, len(job.failed)]), flush=True)
"""


def test_ctrl_c_in_a_terminal(with_tiny: dict[str, str]) -> None:
    """The terminal interrupts every process of the script's group, Ray's own among them."""
    session.stop()
    script = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        stdout=subprocess.PIPE,
        text=True,
        env=with_tiny,
        start_new_session=True,
    )
    assert script.stdout is not None and script.stdout.readline() == "now\n"
    everything = psutil.Process(script.pid).children(recursive=True)
    os.killpg(script.pid, signal.SIGINT)
    said, _ = script.communicate(timeout=120)
    # Ray itself may say beside it that its workers are gone.
    (line,) = (line for line in said.splitlines() if line.startswith("[["))
    got, missing, failed = json.loads(line)
    assert got == sorted(set(got)) and set(got) <= set(IDS) and failed == 0
    assert 8 <= len(got) < ROWS and missing == ROWS - len(got) and script.returncode == 0
    assert everything and psutil.wait_procs(everything, timeout=60)[1] == []
