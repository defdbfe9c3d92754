"""The lessons: executed, tidy, their exercises and solutions right (test_nbval runs them)."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

import labkit
from labkit import exercises, metrics
from tools.execute_notebooks import NOTEBOOKS, lessons

ROOT = NOTEBOOKS.parent
NAMES = [path.name for path in lessons()]


def code_cells(path: Path) -> list:
    cells = nbformat.read(path, as_version=4)["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and cell["source"].strip()]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_the_first_lesson_is_there() -> None:
    assert "01_faq_answers.ipynb" in NAMES


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_every_cell_was_executed_in_order_without_an_error(path: Path) -> None:
    counts = [cell["execution_count"] for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "stripped or run out of order: make notebooks"
    errors = [
        o for cell in code_cells(path) for o in cell["outputs"] if o["output_type"] == "error"
    ]
    assert not errors


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_saved_outputs_are_clean(path: Path) -> None:
    text = path.read_text()
    assert not [top for top in (str(Path.home()), "/home", "/tmp") if f"{top}/" in text]
    streams = [o for cell in code_cells(path) for o in cell["outputs"] if "name" in o]
    assert [o["text"] for o in streams if o["name"] == "stderr"] == []
    assert not [o["text"] for o in streams if "Warning" in o["text"]]


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_cells_are_short(path: Path) -> None:
    lines = sorted(
        sum(1 for line in cell["source"].splitlines() if line.strip()) for cell in code_cells(path)
    )
    assert statistics.median(lines) <= 6
    assert lines[int(0.9 * (len(lines) - 1))] <= 15


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_objectives_are_mirrored_by_the_recap(path: Path) -> None:
    cells = nbformat.read(path, as_version=4)["cells"]
    texts = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    goals = next(text for text in texts if "In this notebook we will" in text)
    recap = next(text for text in texts if text.startswith("## Recap"))
    bullets = re.compile(r"^- ", re.M)
    assert len(bullets.findall(goals)) == len(bullets.findall(recap)) >= 4


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_strict_cells_remain(path: Path) -> None:
    """nbval must have something to compare: not every output may be ignored."""
    strict = [c for c in code_cells(path) if c["outputs"] and "nbval-ignore-output" not in tags(c)]
    assert len(strict) >= 5


def exercise_cells(path: Path) -> list[tuple[str, str]]:
    """(the exercise's code, the solution's code) of a lesson, in order."""
    cells = nbformat.read(path, as_version=4)["cells"]
    found = []
    for at, cell in enumerate(cells):
        if "exercise" in tags(cell):
            folded = cells[at + 1]
            assert "solution" in tags(folded), f"no solution after cell {at} of {path.name}"
            (solution,) = re.findall(r"```python\n(.*?)```", folded["source"], re.S)
            found.append((cell["source"], solution))
    return found


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_a_lesson_has_exercises(path: Path) -> None:
    assert len(exercise_cells(path)) >= 3


def verdict(code: str, names: dict) -> exercises.Verdict:
    """Run an exercise cell; its last line is the check."""
    *before, last = code.strip().splitlines()
    exec("\n".join(before), names)
    return eval(last, names)


def names_of_the_lessons() -> dict:
    """What the exercises of all lessons refer to, made without an engine."""
    rows = pd.DataFrame(
        {
            "arrival_time": [1000.0] * 4,
            "queued_ts": [0.0, 0.0, 1.0, 1.0],
            "scheduled_ts": [0.1, 0.1, 1.1, 1.1],
            "first_token_ts": [0.5, 0.5, 1.5, 1.5],
            "last_token_ts": [2.0, 4.0, 3.0, 6.0],
            "num_input_tokens": [20] * 4,
            "num_generated_tokens": [10, 20, 30, 48],
            "batch_uuid": ["a", "a", "b", "b"],
        }
    )
    answers = pd.DataFrame({"label": ["a", "b", "b", "a"], "says": ["a", "b", "a", "a"]})
    job = SimpleNamespace(
        timeline=lambda: metrics.timeline(rows, 970.0),
        metrics=metrics.compute(rows, 970.0, 1010.0),
        answers=answers,
    )
    spec = labkit.configure(labkit.get_model("smollm2-135m"))
    return {"exercises": exercises, "job": job, "few": job, "spec": spec, "price_per_hour": 2.5}


ALL = [(path, at) for path in lessons() for at in range(len(exercise_cells(path)))]


@pytest.mark.parametrize(("path", "at"), ALL, ids=[f"{path.stem}-{at + 1}" for path, at in ALL])
def test_exercises_and_solutions(path: Path, at: int) -> None:
    code, solution = exercise_cells(path)[at]
    names = names_of_the_lessons()
    assert verdict(code, names).state == exercises.OPEN
    solved = code.replace("answer = None", solution)
    assert solved != code
    assert verdict(solved, names).state == exercises.RIGHT
    wrong = code.replace("answer = None", "answer = 1e9")
    assert verdict(wrong, names).state == exercises.WRONG
