"""nbval: every lesson in a fresh kernel, its strict cells compared; lessons that are broken fail.

The engine is real and the model has random weights: no cell that is compared depends on it.
`make test-slow` does the same with real weights.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests import programs
from tests.test_docs import ci_commands
from tests.tools.test_execute_notebooks import code_cells
from tools.execute_notebooks import NOTEBOOKS, lessons

ROOT = NOTEBOOKS.parent
NAMES = [path.name for path in lessons()]
#: What breaks a cell on purpose.
Change = Callable[[dict], None]


def nbval(path: Path, cell_s: int | None = None) -> list[str]:
    """Python's arguments to run a notebook in a fresh kernel and compare its outputs: those of the
    workflow in docs/ci.md, with another limit for a cell where one is given.

    To be called with QUICK=1: nothing that is compared depends on the number of rows.
    """
    _, *arguments, notebooks = ci_commands()[-1]
    if cell_s is not None:
        arguments.append(f"--nbval-cell-timeout={cell_s}")
    return [*arguments, "-p", "no:cacheprovider", "--override-ini=addopts=", str(path)]


def check(path: Path, code: int, said: str) -> None:
    """Every cell of the lesson passed."""
    assert code == 0, said[-5000:]
    assert f"{len(code_cells(path))} passed" in said


@pytest.mark.engine
@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_nbval(path: Path, tiny: Any) -> None:
    """With no network."""
    env = {**os.environ, "QUICK": "1", "LABKIT_MODEL": tiny.source}
    done = programs.run([sys.executable, *nbval(path)], cwd=ROOT, env=env)
    check(path, done.returncode, done.stdout + done.stderr)


@pytest.mark.engine
@pytest.mark.endurance
@pytest.mark.parametrize("path", lessons()[1:], ids=NAMES[1:])
def test_nbval_with_real_weights(path: Path, smollm2: Any) -> None:
    """The first lesson runs so in test_bundle, from a bundle."""
    env = {**os.environ, "QUICK": "1", "LABKIT_MODEL": smollm2.source}
    done = programs.run([sys.executable, *nbval(path, 900)], cwd=ROOT, env=env)
    check(path, done.returncode, done.stdout + done.stderr)


# --- lessons that are broken on purpose ----------------------------------------------------------


def broken(tmp_path: Path, lesson: int, cells: Mapping[str, Change | None]) -> Path:
    """A copy of a lesson, cut to the code cells that hold these texts, some of them changed.

    A change takes a cell and mends nothing: the saved outputs stay as they are, unless it says so.
    """
    notebook = nbformat.read(lessons()[lesson - 1], as_version=4)
    kept = []
    for text, change in cells.items():
        (cell,) = [c for c in notebook["cells"] if c["cell_type"] == "code" and text in c["source"]]
        if change is not None:
            change(cell)
        kept.append(cell)
    notebook["cells"] = kept
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    return tmp_path / "broken.ipynb"


def verdict(path: Path, cell_s: int = 60) -> str:
    """What nbval prints of a lesson, within two minutes; the tests below demand that it fails."""
    env = {**os.environ, "QUICK": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, *nbval(path, cell_s)],
        cwd=path.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return re.sub("\x1b\\[[0-9;]*m", "", done.stdout)


def write(code: str) -> Change:
    """Replace the code of a cell."""
    return lambda cell: cell.update(source=code)


def replace(old: str, new: str) -> Change:
    """Replace a text in the code of a cell."""
    return lambda cell: cell.update(source=cell["source"].replace(old, new))


def answer(old: str, new: str) -> Change:
    """Replace a text in the saved output of a cell."""

    def change(cell: dict) -> None:
        (output,) = cell["outputs"]
        assert old in output["data"]["text/plain"]
        output["data"]["text/plain"] = output["data"]["text/plain"].replace(old, new)

    return change


CALLBACK = "import ipywidgets\nb = ipywidgets.Button()\nb.on_click(lambda _: 1 / 0)\nb.click()"
#: Cells of lesson 1 that need no engine, and what is to be caught in each.
CELLS = {
    "labkit.ready()": None,
    "machine = labkit.this_machine()": replace("this_machine(", "that_machine("),
    "questions = labkit.load_faq()": answer("2+2", "2+3"),
    "guess = {1: 1": write(CALLBACK),
}


@pytest.mark.slow
def test_what_is_cut_out_of_a_lesson_passes_unbroken(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    assert "4 passed" in verdict(broken(tmp_path, 1, dict.fromkeys(CELLS)))


@pytest.mark.slow
def test_a_renamed_function_a_changed_output_and_a_callback_that_raises_are_caught(
    tmp_path: Path,
) -> None:
    said = verdict(broken(tmp_path, 1, CELLS))
    assert "3 failed, 1 passed" in said
    assert "has no attribute 'that_machine'" in said
    assert "mismatch 'text/plain'" in said
    assert "ZeroDivisionError" in said


PRESSED = """
def fail(*_, **__):
    raise RuntimeError("broken on purpose")

replayed.experiment.measure = fail
replayed._run.click()
"""


@pytest.mark.slow
def test_a_panel_whose_run_button_raises_is_caught(tmp_path: Path) -> None:
    """Its error stays in the panel, where no test would see it: the next cell raises it."""
    cells = {
        "labkit.ready()": None,
        "replayed = labkit.replay": lambda cell: cell.update(source=cell["source"] + PRESSED),
        "gpu = replayed.result()": None,
    }
    said = verdict(broken(tmp_path, 2, cells))
    assert "RuntimeError: broken on purpose" in said and "1 failed, 2 passed" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import time\ntime.sleep(3600)", id="hangs"),
        pytest.param("import os\nos._exit(1)", id="dies", marks=pytest.mark.endurance),
    ],
)
def test_a_cell_that_never_ends_is_caught(code: str, tmp_path: Path) -> None:
    cut = broken(tmp_path, 1, {"FOUR = [": None, "guess = {1: 1": write(code)})
    said = verdict(cut, cell_s=15)  # enough for the kernel, also beside other work
    assert "Timeout of 15 seconds exceeded" in said and "1 failed, 1 passed" in said
