"""The lessons under nbval, one after another, beside the other tests; which process is whose."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil

from tests.engine_starts import NAME

OFFLINE = ["unshare", "-rn", sys.executable, str(Path(__file__).with_name("offline.py"))]
ROOT = Path(__file__).resolve().parent.parent
#: The programs that run beside the tests, by their process ids.
PROGRAMS: set[int] = set()


def without_network(command: list[str], env: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """(command, environment) in a namespace of its own, with loopback alone; where Linux forbids
    that to a user, with proxies that refuse."""
    if subprocess.run([*OFFLINE, "true"], capture_output=True).returncode == 0:
        return [*OFFLINE, *command], env
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return command, env | dead


def below() -> list[psutil.Process]:
    """The processes below this one, less those of the lessons beside."""
    others: set[int] = set()
    for program in PROGRAMS:
        with contextlib.suppress(psutil.Error):
            others |= {program, *(p.pid for p in psutil.Process(program).children(recursive=True))}
    return [p for p in psutil.Process().children(recursive=True) if p.pid not in others]


class Lessons:
    """Runs nbval over notebooks in a thread, with this model and no network."""

    def __init__(self, paths: Sequence[Path], model: Path):
        self.results: dict[Path, Future[tuple[int, str]]] = {path: Future() for path in paths}
        self.env = {**os.environ, "QUICK": "1", "LABKIT_MODEL": str(model)}
        self.env[NAME] = "test_nbval.py::test_nbval"
        self.stopped = False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        from tests.test_nbval import nbval

        for path, result in self.results.items():
            try:
                result.set_result(self._one([sys.executable, *nbval(path)]))
            except BaseException as problem:  # the test that waits for it shall say so
                result.set_exception(problem)

    def _one(self, command: list[str]) -> tuple[int, str]:
        if self.stopped:
            raise RuntimeError("the tests have ended")
        command, env = without_network(command, self.env)
        with tempfile.TemporaryFile("w+") as said:
            program = subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said)
            PROGRAMS.add(program.pid)
            program.wait()
            PROGRAMS.discard(program.pid)
            said.seek(0)
            return program.returncode, said.read()

    def result(self, path: Path) -> tuple[int, str]:
        """(exit code, output) of a lesson, when it has ended."""
        return self.results[path].result()

    def stop(self) -> None:
        """End what still runs: the tests were interrupted."""
        self.stopped = True
        for pid in list(PROGRAMS):
            with contextlib.suppress(psutil.Error):
                program = psutil.Process(pid)
                for process in (program, *program.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        process.kill()


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a command that has no network; its output as text."""
    command, env = without_network(command, options.pop("env"))
    return subprocess.run(command, env=env, capture_output=True, text=True, **options)
