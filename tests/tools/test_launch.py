"""Launch badges and the first cell elsewhere: there where an address is set, and only there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.errors import LabError
from tests.test_setup import setup
from tools import launch
from tools.execute_notebooks import lessons

ADDRESS = "https://github.com/owner/lab"


def test_the_readme_and_the_lessons_are_as_the_address_says() -> None:
    assert launch.README.read_text() == launch.with_badges(
        launch.README.read_text(), launch.address()
    )
    for path in lessons():
        notebook = json.loads(path.read_text())
        assert launch.with_cell(notebook, launch.address()) == notebook, "python -m tools.launch"


def test_badges_are_off_without_an_address_and_say_what_is_untried() -> None:
    assert launch.badges("") == ""
    text = launch.badges(ADDRESS)
    assert "github/owner/lab/blob/HEAD/notebooks/01_faq_answers.ipynb" in text
    assert text.count("(not tried yet)") == len(launch.PLACES) - len(launch.TRIED)


@pytest.mark.parametrize("stated", ["github.com/a/b", "https://elsewhere.org/a/b", "x"])
def test_an_address_that_no_badge_can_use_is_refused(
    stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.labkit]\naddress = "{stated}"\n')
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    with pytest.raises(LabError, match="https://github.com/OWNER/NAME"):
        launch.address()


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_the_cell_comes_first_and_goes_again(path: Path) -> None:
    notebook = json.loads(path.read_text())
    made = launch.with_cell(notebook, ADDRESS)
    nbformat.validate(nbformat.from_dict(made))
    codes = [c for c in made["cells"] if c["cell_type"] == "code"]
    assert codes[0]["id"] == launch.TAG and ADDRESS in "".join(codes[0]["source"])
    assert launch.with_cell(made, ADDRESS) == made
    assert launch.with_cell(made, "") == notebook


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the cell runs, in a folder of its own; `git clone` makes a checkout."""
    found: list[list[str]] = []

    def run(command: list[str], **options: Any) -> None:
        assert options == {"check": True}
        found.append(command)
        if command[0] == "git":
            checkout(Path(command[-1]))

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "any where").mkdir()
    monkeypatch.chdir(tmp_path / "any where")
    return found


def checkout(folder: Path) -> None:
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "setup.py").touch()


def run_cell(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if there else None)
    exec(launch.CELL.format(address=ADDRESS), {})


def test_the_cell_does_nothing_where_the_lab_is(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cell(monkeypatch, there=True)
    assert ran == []


def test_the_cell_clones_installs_and_asks_for_a_restart(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has loaded other versions of what the lock brings."""
    clone = ["git", "clone", "--depth=1", ADDRESS, "lab"]
    install = [sys.executable, "lab/scripts/setup.py", "here"]
    for commands in ([clone, install], [install]):  # a second try goes on with what is there
        ran.clear()
        with pytest.raises(SystemExit, match="Restart the kernel"):
            run_cell(monkeypatch, there=False)
        assert ran == commands


def test_the_cell_takes_the_checkout_around_the_notebook(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an editor: nothing is cloned."""
    checkout(Path(".."))
    with pytest.raises(SystemExit, match="Restart the kernel"):
        run_cell(monkeypatch, there=False)
    assert ran == [[sys.executable, "../scripts/setup.py", "here"]]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_here_installs_the_lock_into_the_python_that_runs(
    device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setenv("DEVICE", device)
    monkeypatch.setattr(setup, "LOG", tmp_path / "setup.log")
    monkeypatch.setattr(setup, "run", lambda name, command, env: ran.append(command))
    monkeypatch.setattr(setup, "by_uv", lambda device, python, env: False)  # nothing is installed
    monkeypatch.chdir(Path.cwd())  # `here` goes to the checkout: back again afterwards
    setup.here()
    assert all(c[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in c for c in ran)
    assert [f"locks/{device}.txt" in c for c in ran].count(True) == 1
    assert ran[-1][-2:] == ["-e", "."]
