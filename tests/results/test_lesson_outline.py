"""The lessons' outline, and where a cell stands in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit import exercises
from labkit.results import lesson_minutes, lesson_outline
from labkit.results.lesson_outline import Place, lessons, place
from tests.api.test_checkup import CPU_ONLY


def test_each_lesson_has_its_title_and_sections() -> None:
    assert [lesson.name[:2] for lesson in lessons()] == ["01", "02", "03"]
    for number, lesson in enumerate(lessons(), 1):
        assert lesson.title.startswith(f"{number} · ") and lesson.sections[-1] == "Recap"


def test_each_cell_is_found_by_its_code() -> None:
    for number, lesson in enumerate(lessons(), 1):
        for _, code, section in lesson.cells:
            assert place(f"{code}\n", None, Place(number, "")) == Place(number, section)


def test_a_changed_cell_is_found_by_its_id_in_the_same_lesson() -> None:
    cell_id, code, section = lessons()[1].cells[-1]
    assert place(code + " # mine", cell_id, Place(2, "")) == Place(2, section)
    assert place("1 + 1", "no such id", Place(2, "x")) == Place(2, "x")
    assert place("1 + 1", cell_id) is None, "ids are alike in all lessons"


def test_every_exercise_of_the_lessons_has_its_place() -> None:
    found = lesson_outline.exercises()
    names = {
        name
        for name, value in vars(exercises).items()
        if isinstance(value, exercises.Question) or hasattr(value, "__wrapped__")
    }
    assert set(found) == names and len(names) >= 18
    assert [place.lesson for place in found.values()] == sorted(p.lesson for p in found.values())


def test_copies_and_a_learner_s_own_notebooks_move_no_lesson(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lesson in lessons():
        shutil.copy(lesson_outline.lessons_folder("notebooks") / lesson.name, tmp_path)
    first, second, _ = (tmp_path / lesson.name for lesson in lessons())
    shutil.copy(first, tmp_path / f"{first.stem}-Copy1.ipynb")
    shutil.copy(second, tmp_path / "0_mine.ipynb")
    known, minutes = lessons(), lesson_minutes.lesson_minutes(CPU_ONLY, 1.0, 1.0)
    monkeypatch.setattr(lesson_outline, "lessons_folder", lambda name: tmp_path)
    lessons.cache_clear()
    try:
        assert [one for one in lessons() if one.number] == list(known)
        assert lesson_minutes.lesson_minutes(CPU_ONLY, 1.0, 1.0) == minutes
        first.write_text("cut off")
        lessons.cache_clear()
        (tmp_path / f"{first.stem}-Copy1.ipynb").unlink()
        assert lesson_minutes.lesson_minutes(CPU_ONLY, 1.0, 1.0) == minutes[1:]
    finally:
        monkeypatch.undo()
        lessons.cache_clear()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cells": [1]}', '{"cells": [{}]}'])
def test_a_file_that_is_no_notebook_is_no_lesson(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: list[Any] = [new_markdown_cell("# T"), new_markdown_cell("## S"), new_code_cell("a")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "2.ipynb")
    (tmp_path / "1.ipynb").write_text(content)
    monkeypatch.setattr(lesson_outline, "lessons_folder", lambda name: tmp_path)
    lessons.cache_clear()
    try:
        assert [lesson.title for lesson in lessons()] == ["T"] and place("a") == Place(2, "S")
    finally:
        monkeypatch.undo()
        lessons.cache_clear()
