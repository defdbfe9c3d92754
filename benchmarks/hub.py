"""Learners on a JupyterHub of this machine, all at once: what each takes of memory and cores.

`make hub`, or `python -m benchmarks.hub --learners 4`, starts a real hub with the settings of
`scripts/hub/learners.py` in a folder of its own. Learners log in, start their servers, open lesson
1 and run it; their peaks are printed, and what they left behind. The engines have a tiny model of
random weights unless another is named.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.classroom import opened
from benchmarks.hub_learner import Learner
from labkit.errors import LabError
from labkit.hardware.machine import GIB, detect
from labkit.paths import REPO, cache_dir
from labkit.weights.tiny import tiny_model

LESSON = "lessons/notebooks/01_faq_answers.ipynb"
#: In the environment of each process of a trial; and whose it is, by JupyterHub.
MARK, OWNER = "LABKIT_HUB_TRIAL", "JUPYTERHUB_USER"
#: Seconds for the hub to start; between two looks at the processes; and for the last to end.
HUB_S, EVERY_S, END_S = 90.0, 5.0, 120.0
CONFIG = """
load_subconfig({learners!r})
c = get_config()
c.JupyterHub.bind_url, c.JupyterHub.hub_port = "http://127.0.0.1:{0}", {1}
c.JupyterHub.db_url, c.JupyterHub.cookie_secret_file = "sqlite:///hub.sqlite", "secret"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{2}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.authenticator_class, c.JupyterHub.spawner_class = "dummy", "simple"
c.DummyAuthenticator.password, c.Authenticator.allow_all = {password!r}, True
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/{{username}}"
c.Spawner.args = ["--allow-root"]
c.Spawner.env_keep.extend(["PYTHONPATH", "QUICK", "LABKIT_MODEL", {mark!r}])
#: No systemd gives each a /tmp of their own.
c.Spawner.environment["TMPDIR"] = lambda spawner: f"{folder}/{{spawner.user.name}}"
"""
#: What is mounted is made read-only, but the folder ($0) and a new /dev/shm.
CONFINED = """
set -e
mount --make-rprivate /
mounted=$(awk '$2 !~ "^/(dev|proc|sys)" && $4 ~ "^rw" {print $2}' /proc/self/mounts)
mount --bind "$0" "$0"
cd "$0"
for at in $mounted; do mount -o remount,bind,ro "$at"; done
mount -t tmpfs tmpfs /dev/shm
exec "$@"
"""


@dataclass
class Use:
    """What a learner's processes took together: memory is each one's own and its share of what
    several use (the kernel's Pss), in GiB; cores over five seconds; CPU time in seconds."""

    memory_gib: float = 0.0
    cores: float = 0.0
    cpu_s: float = 0.0


@dataclass
class Trial:
    """What was seen. seconds, cells: of each learner's lesson. use: by learner; '' is the hub.
    errors: by learner. confined: nothing outside the folder could be written. left: processes that
    were there after the end."""

    seconds: dict[str, float] = field(default_factory=dict)
    cells: dict[str, int] = field(default_factory=dict)
    use: dict[str, Use] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    confined: bool = False
    left: list[str] = field(default_factory=list)


def trial(hub: Path, learners: int, model: str = "", python: str = "", own: bool = True) -> Trial:
    """Run lesson 1 for so many learners at once.

    hub: the environment of `scripts/setup.py hub`. model: for LABKIT_MODEL; empty for a tiny one.
    python: of the learners' notebooks. own: with engines of their own; else on a class's engine.
    Raises LabError where there is no hub, or it does not start.
    """
    if not (hub / "bin" / "jupyterhub").is_file():
        raise LabError(f"There is no JupyterHub in {hub}: make it with `make hub`.")
    found, mark = Trial(), secrets.token_hex(8)
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    try:
        model = model or str(tiny_model(folder / "tiny"))
        env = {**os.environ, MARK: mark, "LABKIT_MODEL": model, "HOME": str(folder)}
        env |= {"BATCH_LAB": str(REPO), "BATCH_LAB_PYTHON": python or sys.executable}
        env |= {"LABKIT_CACHE": str(cache_dir()), "PATH": f"{hub / 'bin'}:{os.environ['PATH']}"}
        with contextlib.ExitStack() as stack:
            if not own:
                (folder / "class").mkdir()
                more = ["--port=0", f"--model={model}"]
                url, _ = stack.enter_context(opened(folder / "class", learners, *more))
                env |= {"BATCH_LAB_CLASS": url, "BATCH_LAB_CLASS_FOLDER": str(folder / "class")}
            names = [f"learner{n}" for n in range(1, learners + 1)]
            password = secrets.token_hex(8)
            url, found.confined = stack.enter_context(_hub(hub, folder, env, password))
            watch = stack.enter_context(_watched(mark, found.use))
            with ThreadPoolExecutor(learners) as pool:
                list(pool.map(lambda name: _lesson(found, Learner(url, name, password)), names))
            watch.set()
    finally:
        found.left = _ended(mark)
        shutil.rmtree(folder)
    return found


def _lesson(found: Trial, learner: Learner) -> None:
    """What one learner does, from the login to the stop of the server."""
    began = time.monotonic()
    try:
        learner.log_in()
        learner.start_server()
        replies = learner.run_notebook(LESSON)
        found.cells[learner.name] = sum(reply["status"] == "ok" for reply in replies)
        if replies[-1]["status"] != "ok":
            found.errors[learner.name] = f"{replies[-1].get('ename')}: {replies[-1].get('evalue')}"
        learner.stop_server()
    except Exception as problem:  # the others go on
        found.errors[learner.name] = f"{type(problem).__name__}: {problem}"
    found.seconds[learner.name] = time.monotonic() - began


@contextlib.contextmanager
def _hub(hub: Path, folder: Path, env: dict[str, str], password: str) -> Iterator[tuple[str, bool]]:
    """A hub of this machine: (its URL, whether it can write only in the folder)."""
    ports = _free_ports(3)
    text = CONFIG.format(
        *ports,
        learners=str(REPO / "scripts" / "hub" / "learners.py"),
        proxy=str(hub / "bin" / "configurable-http-proxy"),
        **{"folder": folder, "password": password, "mark": MARK},
    )
    (folder / "config.py").write_text(text)
    confine = ["unshare", "--mount" if os.geteuid() == 0 else "-rm", "sh", "-c", CONFINED]
    confine.append(str(folder))
    confined = subprocess.run([*confine, "true"], capture_output=True).returncode == 0
    command = [str(hub / "bin" / "jupyterhub"), "--config=config.py"]
    with (folder / "hub.log").open("w") as log:
        program = subprocess.Popen(
            [*(confine if confined else []), *command], cwd=folder, env=env, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{ports[0]}"
        _await(url, program, folder / "hub.log")
        yield url, confined
    finally:
        program.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(60)
        program.kill()


def _await(url: str, program: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + HUB_S
    while time.monotonic() < deadline and program.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/hub/login", timeout=5):
            return
        time.sleep(0.5)
    raise LabError(f"The hub did not start. Its log ends: {log.read_text()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


# --- the processes -------------------------------------------------------------------------------


def _processes(mark: str) -> Iterator[tuple[str, psutil.Process]]:
    """(whose, process) of all that belong to the trial with this mark."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            env = process.environ()
            if env.get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield env.get(OWNER, ""), process


@contextlib.contextmanager
def _watched(mark: str, use: dict[str, Use]) -> Iterator[threading.Event]:
    """Look at the processes every five seconds, in a thread, and keep the peaks."""
    end = threading.Event()
    thread = threading.Thread(target=_watch, args=(mark, use, end), daemon=True)
    thread.start()
    try:
        yield end
    finally:
        end.set()
        thread.join()


def _watch(mark: str, use: dict[str, Use], end: threading.Event) -> None:
    spent: dict[tuple[int, float], float] = {}
    last = time.monotonic()
    while not end.wait(EVERY_S):
        memory: dict[str, float] = {}
        work: dict[str, float] = {}
        for owner, process in _processes(mark):
            with contextlib.suppress(psutil.Error, OSError):
                own = process.memory_full_info().pss / GIB
                times = process.cpu_times()
                key, now = (process.pid, process.create_time()), times.user + times.system
                memory[owner] = memory.get(owner, 0.0) + own
                work[owner] = work.get(owner, 0.0) + now - spent.get(key, 0.0)
                spent[key] = now
        now = time.monotonic()
        for owner in memory:
            peak = use.setdefault(owner, Use())
            peak.memory_gib = max(peak.memory_gib, memory[owner])
            peak.cores = max(peak.cores, work[owner] / (now - last))
            peak.cpu_s += work[owner]
        last = now


def _ended(mark: str) -> list[str]:
    """The processes that have not ended by themselves after a while; they are ended here."""
    deadline = time.monotonic() + END_S
    while (left := [process for _, process in _processes(mark)]) and time.monotonic() < deadline:
        time.sleep(1)
    names = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            names.append(" ".join(process.cmdline())[:200])
            process.kill()
    return names


# --- the command ---------------------------------------------------------------------------------


def report(found: Trial, words: str) -> str:
    """What was seen, in lines."""
    lines = [words, f"{'':10} {'seconds':>8} {'cells':>6} {'GiB':>6} {'cores':>6} {'CPU s':>6}"]
    for name in sorted(found.use):
        use = found.use[name]
        lesson = f"{found.seconds.get(name, 0):8.0f} {found.cells.get(name, 0):6}" if name else ""
        numbers = f"{use.memory_gib:6.2f} {use.cores:6.1f} {use.cpu_s:6.0f}"
        lines.append(f"{name or 'the hub':10} {lesson:15} {numbers}")
    lines += [f"{name} stopped: {error}" for name, error in found.errors.items()]
    lines.append(f"processes left behind: {len(found.left)} {found.left or ''}".rstrip())
    wrote = "written nowhere but in the trial's folder" if found.confined else "not looked at"
    return "\n".join([*lines, f"files: {wrote}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hub", type=Path, default=REPO / ".venv-hub", help="its environment")
    parser.add_argument("--learners", type=int, default=4)
    parser.add_argument("--model", default="", help="a registry name or a folder (default: tiny)")
    parser.add_argument("--python", default="", help="of the notebooks, such as .seat/bin/python")
    parser.add_argument("--class-engine", action="store_true", help="a class server beside the hub")
    given = parser.parse_args()
    found = trial(
        given.hub.absolute(), given.learners, given.model, given.python, not given.class_engine
    )
    machine = detect()
    print(
        report(
            found,
            f"{given.learners} learners at once, lesson 1 ({machine.profile} profile), "
            f"{'a class’s engine' if given.class_engine else 'engines of their own'}, model "
            f"{given.model or 'tiny'}, {machine.described}, {machine.memory_gib:.0f} GiB",
        )
    )
    if found.errors or found.left:
        raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        raise SystemExit(str(error)) from None
