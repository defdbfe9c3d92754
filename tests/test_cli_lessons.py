"""`labkit lessons`: the lessons in a folder, for a class without their solutions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nbformat
import pytest

from labkit.cli import main
from labkit.cli.lessons import without_solutions
from tools.execute_notebooks import lessons

NAMES = [path.name for path in lessons()]


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class") / "course"
    assert main(["lessons", str(folder), "--without-solutions"]) == 0
    return folder


def tagged(cells: list[Any], tag: str) -> list[str]:
    return [cell["source"] for cell in cells if tag in cell["metadata"].get("tags", [])]


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_a_class_gets_every_exercise_and_no_solution(path: Path, handed_out: Path) -> None:
    whole = nbformat.read(path, as_version=4)["cells"]
    made = nbformat.read(handed_out / "notebooks" / path.name, as_version=4)
    nbformat.validate(made)
    cells = made["cells"]
    solutions = tagged(whole, "solution")
    assert solutions and not tagged(cells, "solution")
    assert tagged(cells, "exercise") == tagged(whole, "exercise")
    code = [cell for cell in whole if cell["cell_type"] == "code"]
    assert [c["source"] for c in cells if c["cell_type"] == "code"] == [c["source"] for c in code]
    text = "\n".join(cell["source"] for cell in cells)
    answers = [line for s in solutions for line in re.findall(r"^answer = .+$", s, re.M)]
    assert answers and not [line for line in answers if line in text]
    assert "<details>" not in text
    assert not [c for c in cells if c.get("outputs") or c.get("execution_count")]


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_the_last_questions_stay_and_their_answers_go(path: Path, handed_out: Path) -> None:
    whole = "\n".join(c["source"] for c in nbformat.read(path, as_version=4)["cells"])
    (folded,) = re.findall(
        r"Questions to take along</b>, and answers</summary>(.*?)</det", whole, re.S
    )
    asked = re.findall(r"^(\*[^*]+\*) (.+)$", folded, re.M)
    made = nbformat.read(handed_out / "notebooks" / path.name, as_version=4)
    text = "\n".join(cell["source"] for cell in made["cells"])
    assert len(asked) == 3
    for question, answer in asked:
        assert f"- {question}\n" in text + "\n" and answer not in text


def test_links_of_what_is_handed_out_hold_and_no_answers_lie_beside_it(handed_out: Path) -> None:
    assert not (handed_out / "docs" / "teaching").exists()
    for path in (handed_out / "notebooks").glob("*.ipynb"):
        text = "\n".join(c["source"] for c in nbformat.read(path, as_version=4)["cells"])
        local = [t for t in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in t]
        assert local and not [t for t in local if not (path.parent / t).exists()]


def test_a_notebook_saved_in_lines_or_in_one_text_is_the_same() -> None:
    """nbformat allows both."""
    source = "<details><summary><b>Ask</b>, and answers</summary>\n\n*Why?* So.\n\n</details>\n"
    made = []
    for form in (source, source.splitlines(keepends=True)):
        cells = [{"cell_type": "markdown", "metadata": {}, "source": form}]
        made.append(without_solutions(json.loads(json.dumps({"cells": cells}))))
    assert made[0] == made[1]
    assert made[0]["cells"][0]["source"] == "**Ask**\n\n- *Why?*\n"


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_that_was_cut_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """It would be taken for one, with the solutions in it."""
    course = tmp_path / "course"
    if there:
        course.mkdir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("labkit.cli.lessons.without_solutions", Mock(side_effect=KeyboardInterrupt))
        main(["lessons", str(course), "--without-solutions"])
    assert not course.exists() or not list(course.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["course"] * there
    assert main(["lessons", str(course), "--without-solutions"]) == 0
    assert len(list((course / "notebooks").glob("*.ipynb"))) == len(lessons())
