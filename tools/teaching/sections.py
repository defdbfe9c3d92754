"""The sections of a lesson: what each needs of the ones before it, what it showed when the lesson
was last executed, and how long the machine took.

It knows nothing of the pages that show it.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from tools import times
from tools.execute_notebooks import lessons

#: What plays a measurement from elsewhere.
RECORDED = re.compile(r"labkit\.(recorded\w*|replay)\(")
#: How an output begins that is no number of the lesson: an unanswered guess, a progress line.
SILENT = ("No guess was", "done: ")


@dataclass
class Section:
    """A section of a lesson. needs: names by the section that gives them; imports are `imported`,
    too."""

    lesson: Path
    name: str
    cells: list[Any] = field(default_factory=list)
    needs: dict[str, list[str]] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)

    @property
    def anchor(self) -> str:
        """Its heading's anchor, as code hosts and Sphinx make them."""
        return re.sub(r"[^\w -]", "", self.name.lower()).replace(" ", "-")

    @property
    def seconds(self) -> dict[str, float]:
        """Of the machine, by kind: docs/times.md."""
        return times.page()[self.lesson.name].get(self.name, {})

    @property
    def plays_recordings(self) -> bool:
        """Whether it shows what was measured elsewhere."""
        return any(RECORDED.search(c["source"]) for c in self.cells if c["cell_type"] == "code")

    def sentences(self) -> list[str]:
        """What its cells said in words: claims, and what they printed."""
        found: list[str] = []
        for cell in self.cells:
            if cell["cell_type"] == "code":
                claim = cell["source"].splitlines()[-1].startswith("claims.")
                told = [o for o in cell["outputs"] if claim or o["output_type"] == "stream"]
                found += [line for output in told for line in text(output).splitlines()]
        return [line for line in found if line.strip() and not line.startswith(SILENT)]


def of(lesson: Path) -> list[Section]:
    """The sections of a lesson in their order, each with what it needs of those before it."""
    sections: list[Section] = []
    home: dict[str, str] = {}  # where a name was given last
    imported: set[str] = set()
    own: set[str] = set()
    for cell in cells_of(lesson):
        if cell["cell_type"] == "markdown" and cell["source"].startswith("## "):
            sections.append(Section(lesson, times.heading(cell["source"]), imported=imported))
            own = set()
        if not sections:
            continue
        sections[-1].cells.append(cell)
        if cell["cell_type"] == "code":
            given, used, imports = _names(cell["source"])
            imported |= imports
            for name in sorted(used - given - own):
                if name in home:
                    sections[-1].needs.setdefault(home[name], []).append(name)
            own |= given
            home |= dict.fromkeys(given, sections[-1].name)
    for section in sections:
        section.needs = {at: sorted(set(names)) for at, names in section.needs.items()}
    return sections


def all_sections() -> list[Section]:
    """Of all lessons."""
    return [section for lesson in lessons() for section in of(lesson)]


def text(output: Any) -> str:
    """An output in plain text, as it was saved."""
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


def output_of(lesson: Path, source: str) -> str:
    """The text that the cell with `source` in it showed; raises LookupError without one."""
    found = [c for c in cells_of(lesson) if c["cell_type"] == "code" and source in c["source"]]
    shown = [textwrap.dedent(text(o)).rstrip() for cell in found for o in cell["outputs"]]
    shown = [one for one in shown if one and not one.startswith(SILENT)]
    if len(found) != 1 or not shown:
        raise LookupError(f"{lesson.name} has no single cell with {source!r} and an output")
    return "\n".join(shown)


def machine(lesson: Path) -> str:
    """The machine and model of a lesson's saved outputs, in words."""
    ready = output_of(lesson, "labkit.ready()").removeprefix("Ready: ").split(" · ")
    model = next(part for part in ready if part.startswith("model "))
    return f"{ready[0]}, {model.removeprefix('model ')}"


def cells_of(lesson: Path) -> list[Any]:
    """Its cells as they are on disk."""
    return _cells(lesson, lesson.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _cells(lesson: Path, changed: int) -> list[Any]:
    return list(nbformat.read(lesson, as_version=4)["cells"])


def _names(source: str) -> tuple[set[str], set[str], set[str]]:
    """(names that a cell gives, names that it uses, those given that are imports)."""
    given, used, imports = set(), set(), set()  # type: set[str], set[str], set[str]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else given).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            given.add(node.name)
        elif isinstance(node, ast.arg):
            given.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return given | imports, used, imports
