"""The README and the docs: every code block runs, every link and picture is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import labkit
from tools.execute_notebooks import first_picture, lessons

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "datasets" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
#: Its block needs no engine: tests/tools/test_teaching.py runs it.
SOLUTIONS = "docs/teaching/answers.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for kind, code in BLOCK.findall(page.read_text()):
            if kind == language:
                found.append((str(page.relative_to(ROOT)), code))
    return found


def workflow() -> dict[str, Any]:
    """The job of the workflow in docs/ci.md, with its paths as they are here."""
    ((_, text),) = blocks("yaml")
    text = text.replace("${{ github.workspace }}", str(ROOT))
    job: dict[str, Any] = yaml.safe_load(text)["jobs"]["nbval"]
    return job


def ci_commands() -> list[list[str]]:
    """What the workflow runs, in the environment of the tests."""
    lines = [step["run"] for step in workflow()["steps"] if "run" in step]
    return [shlex.split(line.replace(".venv/bin/python", sys.executable)) for line in lines]


def test_every_block_is_of_a_kind_that_is_run() -> None:
    kinds = {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())}
    assert kinds <= {"python", "bash", "yaml"}, "a block of another language is run by no test"
    assert [page for page, _ in blocks("yaml")] == ["docs/ci.md"]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), blocks("bash"))
def test_bash_blocks_name_what_exists(page: str, code: str) -> None:
    """Make resolves each target, and each module answers to --help (a real run is make's own)."""
    for line in code.splitlines():
        command = shlex.split(line, comments=True)
        if not command:
            continue
        if command[0] == ".":  # in the folder that `make setup` makes
            assert command[1:] == [".venv/bin/activate"]
            assert (Path(sys.executable).parent / "activate").is_file()
            continue
        if command[0] == "make":
            check = ["make", "-n", *command[1:]]
        else:
            assert command[:2] == ["python", "-m"], f"{page}: no test knows how to run {line!r}"
            check = [sys.executable, *command[1:3], "--help"]
        done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def on_the_engine() -> list[Any]:
    """The Python blocks; those that stop an engine come when no other test needs it."""
    return [
        pytest.param(page, code, marks=[pytest.mark.stops_ray] if ".stop(" in code else [])
        for page, code in blocks("python")
        if page != SOLUTIONS
    ]


@pytest.mark.engine
@pytest.mark.parametrize(("page", "code"), on_the_engine())
def test_python_blocks_run(
    page: str,
    code: str,
    warm_spec: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """On the engine of the tests, also where a block asks for one of its own (`test_run` has such
    a job): only `warm` is added to its `configure`."""
    monkeypatch.setenv("LABKIT_MODEL", warm_spec.model.source)
    monkeypatch.chdir(tmp_path)
    configure = labkit.configure
    monkeypatch.setattr(labkit, "configure", lambda **given: configure(**{"warm": True, **given}))
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
    assert "output tokens/s" in capsys.readouterr().out


@pytest.mark.slow
def test_the_workflow_s_commands_run() -> None:
    """All but the last, which test_nbval runs for each lesson."""
    *before, last = ci_commands()
    env = {**os.environ, "VENV": sys.prefix}
    for command in before:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    assert Path(workflow()["env"]["LABKIT_MODEL"], "config.json").is_file()
    assert workflow()["env"]["QUICK"] == "1"
    assert last[-1] == "notebooks/" and "--nbval" in last


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_and_pictures_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


def test_every_test_that_is_named_exists() -> None:
    """A promise in docs/reliability.md is worth its test; those marked slow are in test-slow."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(named) > 40
    for file, name in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert f"\ndef {name}(" in path.read_text(), f"{file}::{name}"


def test_the_readme_picture_is_the_first_chart_of_lesson_1() -> None:
    assert (ROOT / "docs" / "batching.png").read_bytes() == first_picture(lessons()[0])
