"""The lessons' outline: which sections they have, and in which one a cell or an exercise stands.

Read from the notebooks that come with the package. Knows nothing of who reads them.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass

from labkit.paths import lessons_folder


@dataclass(frozen=True)
class Place:
    """A section of a lesson: the lesson's number (1, 2, …), and the section's heading."""

    lesson: int
    section: str


@dataclass(frozen=True)
class Lesson:
    """A lesson: its number and its file's name, its title, its sections' headings, and its code
    cells as (id, code, section)."""

    number: int
    name: str
    title: str
    sections: tuple[str, ...]
    cells: tuple[tuple[str, str, str], ...]


@functools.cache
def lessons() -> tuple[Lesson, ...]:
    """The lessons that can be read, in their order. A number has one: a copy beside it, whose name
    is longer, is none."""
    read: dict[int, Lesson] = {}
    files = lessons_folder("notebooks").glob("[0-9]*.ipynb")
    for path in sorted(files, key=lambda path: (len(path.name), path.name)):
        if lesson := _read(path.name, path.read_text(encoding="utf-8")):
            read.setdefault(lesson.number, lesson)
    return tuple(read[number] for number in sorted(read))


def _read(name: str, text: str) -> Lesson | None:
    title, sections, cells = "", list[str](), list[tuple[str, str, str]]()
    try:
        for cell in json.loads(text)["cells"]:
            source = "".join(cell["source"]).strip()
            first = source.partition("\n")[0]
            if cell["cell_type"] == "code":
                cells.append((cell.get("id", ""), source, sections[-1] if sections else ""))
            elif first.startswith("# ") and not title:
                title = first[2:].strip()
            elif first.startswith("## "):
                sections.append(first[3:].strip())
    except (ValueError, LookupError, TypeError):
        return None
    number = int(re.split(r"\D", name)[0])
    return Lesson(number, name, title or name, tuple(sections), tuple(cells))


def place(code: str, cell_id: str | None = None, now: Place | None = None) -> Place | None:
    """Where a cell stands, by its code, else by its id in the lesson of `now` (a learner changes
    cells); `now` where neither is known.

    cell_id: as the front end tells it; ids are of one lesson, and lessons have the same ones.
    """
    for lesson in sorted(lessons(), key=lambda one: now is None or one.number != now.lesson):
        for _, source, section in lesson.cells:
            if source == code.strip():
                return Place(lesson.number, section)
    for lesson in lessons():
        for known, _, section in lesson.cells:
            if now is not None and cell_id and cell_id == known and lesson.number == now.lesson:
                return Place(lesson.number, section)
    return now


@functools.cache
def exercises() -> dict[str, Place]:
    """The lessons' exercises, in their order: the name of the check in `labkit.exercises` → where
    it stands."""
    found: dict[str, Place] = {}
    for lesson in lessons():
        for _, code, section in lesson.cells:
            for name in re.findall(r"\bexercises\.(\w+)\(", code):
                found.setdefault(name, Place(lesson.number, section))
    return found
