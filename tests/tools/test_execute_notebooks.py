"""The lessons: executed, tidy, their exercises and solutions right (test_nbval runs them)."""

from __future__ import annotations

import re
import statistics
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

import labkit
from labkit import exercises, tasks
from labkit.cli import main
from labkit.results.job import Job
from labkit.results.sweep_result import Point
from labkit.tasks import Task
from tests.exercises.test_exercises import QUESTIONS, job_of
from tests.test_claims import a_job, a_sweep
from tools import execute_notebooks
from tools.draw import ALT
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


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_is_found_by_its_name(name: str) -> None:
    assert execute_notebooks._found(Path(name)) == NOTEBOOKS / name


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"cells": 3}', '{"nbformat": 4}', "PK\x03"])
def test_what_is_no_notebook_is_named_before_any_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        (tmp_path / "mine.ipynb").write_text(text)
    given = [str(lessons()[0]), str(tmp_path / "mine.ipynb"), f"--out={tmp_path / 'out'}"]
    assert main(["notebooks", *given]) == 1
    said = capsys.readouterr()
    assert "mine.ipynb" in said.err and "otebook" in said.err and not said.out
    assert not (tmp_path / "out").exists()


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
    """At least five, spread over the page: none of its parts is without something to do."""
    assert len(exercise_cells(path)) >= 5
    cells = nbformat.read(path, as_version=4)["cells"]
    at = [number for number, cell in enumerate(cells) if "exercise" in tags(cell)]
    assert max(b - a for a, b in pairwise([0, *at, len(cells)])) <= 30
    kinds = " ".join(code + solution for code, solution in exercise_cells(path))
    assert "labkit.run(" in kinds, "no exercise runs a job"
    assert any(f"exercises.{name}(" in kinds for name in QUESTIONS), "no exercise asks why"


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_pictures_are_there_with_their_words(path: Path) -> None:
    cells = nbformat.read(path, as_version=4)["cells"]
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    shown = re.findall(r"!\[([^]]*)\]\(pictures/([a-z-]+)\.svg\)", text)
    assert shown and text.count("](pictures/") == len(shown)
    for words, name in shown:
        assert words == ALT[name].replace("[", "(").replace("]", ")"), name


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_every_chart_has_its_words(path: Path) -> None:
    """For those who can't see it, or have no picture."""
    for cell in code_cells(path):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                assert len(output["data"]["text/plain"]) > 60, cell["source"]


def test_words_are_in_the_glossary() -> None:
    """Each link of a lesson, and each word once."""
    page = (ROOT / "docs" / "glossary.md").read_text()
    heads = re.findall(r"^## (.+)$", page, re.M)
    anchors = [head.lower().replace(" ", "-") for head in heads]
    assert heads == sorted(heads, key=str.lower) and len(set(anchors)) == len(anchors)
    linked = set()
    for path in lessons():
        linked |= set(re.findall(r"docs/glossary\.md#([\w-]+)", path.read_text()))
    assert linked <= set(anchors) and len(linked) > 15


def verdict(code: str, names: dict) -> exercises.Verdict:
    """Run an exercise cell; its last line is the check."""
    *before, last = code.strip().splitlines()
    exec("\n".join(before), names)
    return eval(last, names)


def names_of_the_lessons() -> dict:
    """What the exercises of all lessons refer to, made without an engine: a job that is run here
    has the numbers that it would have where it reaches its goal."""
    posts = pd.DataFrame({"label": ["neutral", "positive"] * 30, "text": "a post"})
    prompts = pd.DataFrame({"prompt": ["a", "b", "c"], "max_tokens": [1, 3, 2]})

    def run(task: Task, rows: pd.DataFrame, spec: object, into: str = "answer") -> Job:
        said = rows.get("label", "text")
        return job_of(rows.assign(**{into: said}).to_dict("list"), mean=26)

    spec = labkit.configure(labkit.get_model("smollm2-135m"))
    return {
        "exercises": exercises,
        "tasks": tasks,
        "labkit": SimpleNamespace(run=run),
        "pd": pd,
        "spec": spec,
        "price_per_hour": 2.5,
        "first": a_job(startup=25.0),
        "job": a_job(),
        "curve": a_sweep({4: 40, 16: 85, 64: 100}),
        "tried": a_sweep({4: 40, 16: [85, 90, 99]}),
        "choice": Point(16, 1),
        "zero": job_of({**posts.to_dict("list"), "says": ["neutral", "positive", "negative"] * 20}),
        "large": job_of(prompts.to_dict("list"), mean=10),
        "questions": pd.DataFrame({"question": ["?"] * 96}),
        "few_words": None,
        "mixed": prompts,
        "exact": None,
        "held_out": posts,
    }


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
