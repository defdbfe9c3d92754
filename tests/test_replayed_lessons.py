"""Whole lessons with LABKIT_REPLAY=1: every job comes from the recording, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labkit.hardware.recorded_machine import REPLAY
from labkit.paths import REPO
from tests.test_nbval import broken
from tests.tools.test_execute_notebooks import code_cells
from tools.execute_notebooks import execute, lessons

NAMES = [path.name for path in lessons()]


@pytest.mark.endurance
def test_the_first_job_of_a_lesson_is_played_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning of lesson 1, as a reader has it; in `make test` a seat plays it back, below."""
    monkeypatch.setenv(REPLAY, "1")
    path = broken(tmp_path, 1, dict.fromkeys(["labkit.ready()", "FOUR = [", "first = labkit.run("]))
    execute([path], tmp_path / "played")
    ready, _, first = code_cells(tmp_path / "played" / path.name)
    assert "REPLAY, no engine runs here" in str(ready["outputs"])
    assert "replay: done" in str(first["outputs"]) and "2+2" in str(first["outputs"])


@pytest.mark.endurance
@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_a_lesson_is_played_back(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rows of a small machine, whatever QUICK and FULL say; no vLLM engine is started."""
    monkeypatch.setenv(REPLAY, "1")
    monkeypatch.setenv("QUICK", "1")
    execute([path], tmp_path)
    played = nbformat.read(tmp_path / path.name, as_version=4)
    text = str([cell.get("outputs") for cell in played["cells"]])
    assert "REPLAY, no engine runs here" in text and text.count("replay: done") >= 3
    assert "played back, recorded" in text and "starting the engine" not in text
    strict = [
        c for c in code_cells(path) if "nbval-ignore-output" not in c["metadata"].get("tags", [])
    ]
    again = [
        c
        for c in code_cells(tmp_path / path.name)
        if "nbval-ignore-output" not in c["metadata"].get("tags", [])
    ]
    assert [plain(cell) for cell in strict] == [plain(cell) for cell in again]


def plain(cell: dict) -> list[str]:
    return [output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]


#: Runs a lesson's first cells (all, where no number is given) where neither Ray nor an engine is
#: installed, and no model and no network can be had.
SEAT = """
import sys
for name in ("ray", "vllm", "torch", "transformers"):
    sys.modules[name] = None
import matplotlib, nbformat
matplotlib.use("agg")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "labkit.widgets.seat_cells")
cells = [c for c in nbformat.read(sys.argv[1], 4)["cells"] if c["cell_type"] == "code"]
for cell in cells[: int(sys.argv[2]) or None]:
    shell.run_cell(cell["source"]).raise_error()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lesson", "cells"),
    [
        (1, 4),
        pytest.param(1, 0, marks=pytest.mark.endurance),
        pytest.param(2, 0, marks=pytest.mark.endurance),
    ],
)
def test_a_seat_without_an_engine_plays_a_lesson_back(
    tmp_path: Path, lesson: int, cells: int
) -> None:
    env = {**os.environ, REPLAY: "1", "QUICK": "1", "LABKIT_CACHE": str(tmp_path)}
    env |= {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SEAT, str(lessons()[lesson - 1]), str(cells)]
    done = subprocess.run(command, env=env, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "REPLAY, no engine runs here" in done.stdout and "played back" in done.stdout
