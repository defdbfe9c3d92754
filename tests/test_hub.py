"""JupyterHub: the recipe's files agree; lesson 1 runs for four learners at once on a real hub."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from benchmarks import hub
from benchmarks.hub import Trial, Use
from labkit.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "scripts" / "hub"
PAGE = (ROOT / "docs" / "hub.md").read_text()


class Settings(SimpleNamespace):
    """A hub's `c`: groups of settings that come as they are named."""

    def __getattr__(self, name: str) -> Any:
        setattr(self, name, SimpleNamespace())
        return self.__dict__[name]


def settings(monkeypatch: pytest.MonkeyPatch, **env: str) -> Any:
    """What `learners.py` sets, in this environment."""
    for name in ("BATCH_LAB", "BATCH_LAB_PYTHON", "BATCH_LAB_CLASS", "BATCH_LAB_LESSONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LABKIT_CACHE", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    c = Settings()
    code = compile((FILES / "learners.py").read_text(), "learners.py", "exec")
    exec(code, {"get_config": lambda: c})
    return c


def test_every_learner_has_the_lab_s_environment_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    c = settings(monkeypatch)
    env = c.Spawner.environment
    assert env["BATCH_LAB_PYTHON"] == "/opt/batch-lab/.venv/bin/python"
    assert env["LABKIT_CACHE"] == "/opt/batch-lab/cache"
    assert "LABKIT_CLASS" not in env and env["BATCH_LAB_LESSONS"] == ""
    assert c.Spawner.cmd == ["/bin/sh", "/opt/batch-lab/scripts/hub/server.sh"]
    assert c.SystemdSpawner.isolate_tmp is True


def test_a_class_s_engine_gives_each_learner_a_seat(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from labkit.classroom.seats import Seats

    c = settings(
        monkeypatch, BATCH_LAB_CLASS="http://127.0.0.1:8899", BATCH_LAB_CLASS_FOLDER=str(tmp_path)
    )
    link = c.Spawner.environment["LABKIT_CLASS"]
    links = [link(SimpleNamespace(user=SimpleNamespace(id=number))) for number in (1, 2, 30)]
    tokens = [url.removeprefix("http://127.0.0.1:8899/") for url in links]
    assert [Seats(tmp_path, 30).seat(token) for token in tokens] == ["01", "02", "30"]
    alone = settings(monkeypatch)
    assert c.Spawner.mem_limit != alone.Spawner.mem_limit, "no engine runs in their notebooks"


def gib(limit: str) -> float:
    """JupyterHub's G is 1,024 M, also in the chart's values."""
    return float(limit.removesuffix("G"))


def test_the_limits_are_one_and_above_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    c = settings(monkeypatch)
    values = yaml.safe_load((FILES / "values.yaml").read_text())["singleuser"]
    assert (values["memory"]["limit"], values["cpu"]["limit"]) == (
        c.Spawner.mem_limit,
        c.Spawner.cpu_limit,
    )
    measured = re.findall(r"^\| [^|]*engines of their own[^|]* \|.*?([\d.]+) GiB", PAGE, re.M)
    assert measured and max(map(float, measured)) < gib(c.Spawner.mem_limit)


def test_the_container_starts_what_the_values_name() -> None:
    values = yaml.safe_load((FILES / "values.yaml").read_text())["singleuser"]
    file = (FILES / "Dockerfile").read_text()
    assert f"CMD {values['cmd']}".replace("'", '"') in file
    assert f"WORKDIR {values['storage']['homeMountPath']}" in file
    done = subprocess.run(["sh", "-n", FILES / "server.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("more", ["", "--without-solutions"])
def test_a_learner_s_first_server_copies_the_lessons(tmp_path: Path, more: str) -> None:
    """And none after it. `echo` stands in for the lab's Python, and for the server."""
    command = tmp_path / "jupyterhub-singleuser"
    command.write_text('#!/bin/sh\necho server "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = {"PATH": path, "BATCH_LAB_PYTHON": "echo", "BATCH_LAB_LESSONS": more}
    for first in (True, False):
        server = ["sh", str(FILES / "server.sh"), "--port=1"]
        done = subprocess.run(server, cwd=tmp_path, env=env, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        copied = f"-m labkit lessons lessons {more}".rstrip()
        assert (copied in lines, lines[-1]) == (first, "server --port=1"), done.stderr
        (tmp_path / "lessons").mkdir(exist_ok=True)


def test_the_lock_of_the_hub_is_whole() -> None:
    from tests.test_seat_setup import pins

    own, lab = pins("hub.txt"), pins("cpu.txt")
    assert {"jupyterhub", "configurable-http-proxy", "jupyterlab", "ipywidgets"} <= own.keys()
    both = own.keys() & lab.keys()
    assert len(both) > 50 and all(own[name] <= lab[name] for name in both)


def test_make_hub_takes_an_environment_of_its_own() -> None:
    command = ["make", "-n", "hub", "ARGS=--learners 2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "scripts/setup.py hub" in done and "-m benchmarks.hub --learners 2" in done


def test_a_hub_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="make hub"):
        hub.trial(tmp_path, 1)


def test_the_report_has_a_line_for_each_learner_and_says_what_is_left() -> None:
    found = Trial(
        seconds={"learner1": 61.0, "learner2": 5.0},
        cells={"learner1": 30},
        use={"": Use(0.2, 0.1, 3), "learner1": Use(1.5, 2.0, 99)},
        errors={"learner2": "OSError: no"},
        left=["ray"],
    )
    said = hub.report(found, "Two learners")
    assert re.search(r"learner1 +61 +30 +1\.50 +2\.0 +99", said)
    assert "learner2 stopped: OSError: no" in said
    assert "left behind: 1 ['ray']" in said and "files: not looked at" in said


@pytest.mark.engine
@pytest.mark.endurance
@pytest.mark.stops_ray
def test_four_learners_at_once_run_lesson_1_and_leave_nothing(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = Path(os.environ.get("HUB_VENV") or ROOT / ".venv-hub")
    if not (venv / "bin" / "jupyterhub").is_file():
        pytest.skip("no JupyterHub here: `python scripts/setup.py hub` makes .venv-hub")
    from labkit.ray_session import session

    session.stop()  # its engine would take the learners' memory
    monkeypatch.setenv("QUICK", "1")
    found = hub.trial(venv, 4, tiny.source)
    assert found.errors == {} and found.left == []
    assert len(found.cells) == 4 and min(found.cells.values()) > 30
    limit = gib(settings(monkeypatch).Spawner.mem_limit)
    own = {name: use.memory_gib for name, use in found.use.items() if name}
    assert len(own) == 4 and max(own.values()) < limit
