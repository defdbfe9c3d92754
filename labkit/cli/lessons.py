"""The command `labkit lessons`: copy the lessons into a folder, to work in."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.errors import LabError

#: The folder of the docs that learners are not given: it holds the answers of quizzes and exam.
TEACHERS = "teaching"
#: Answers to a lesson's last questions, folded: what is asked, in italics, then what to say.
FOLDED = re.compile(r"<details><summary><b>([^<]+)</b>[^\n]*</summary>(.*?)</details>", re.S)


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    copy = commands.add_parser("lessons", help="copy the lessons into a folder, to work in")
    copy.add_argument("folder", type=Path, help="a new folder")
    words = "for a class: exercises and questions without their answers, cells without outputs"
    copy.add_argument("--without-solutions", action="store_true", help=words)
    copy.set_defaults(call=run)


def run(given: argparse.Namespace) -> int:
    """Copy them, with the pages that they link to."""
    if given.folder.is_file():
        raise LabError(f"{given.folder} is a file: name a new folder.")
    if given.folder.exists() and any(given.folder.iterdir()):
        raise LabError(f"{given.folder} is not empty, and nothing is overwritten: name a new one.")
    given.folder.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a copy that was cut would be taken for one, with its solutions.
    with tempfile.TemporaryDirectory(dir=given.folder.parent, prefix=".lessons-") as scratch:
        made = Path(scratch) / "made"
        _copy(made, given.without_solutions)
        if given.folder.exists():
            given.folder.rmdir()  # it is empty
        made.replace(given.folder)
    print(f"{given.folder}: open {given.folder / 'notebooks' / '01_faq_answers.ipynb'}")
    return 0


def _copy(to: Path, bare: bool) -> None:
    for name in ("notebooks", "docs"):
        files = shutil.ignore_patterns("__init__.py", "__pycache__", ".ipynb_checkpoints", TEACHERS)
        shutil.copytree(paths.lessons_folder(name), to / name, ignore=files)
    for path in (to / "notebooks").glob("*.ipynb") if bare else ():
        notebook = without_solutions(json.loads(path.read_text(encoding="utf-8")))
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def without_solutions(notebook: dict[str, Any]) -> dict[str, Any]:
    """A lesson as a class gets it: no cell tagged `solution`, the questions of the recap without
    their answers, and no outputs, which would answer what is to be guessed first."""
    cells = [c for c in notebook["cells"] if "solution" not in c["metadata"].get("tags", [])]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        else:
            cell["source"] = FOLDED.sub(_questions, "".join(cell["source"]))
    return {**notebook, "cells": cells}


def _questions(folded: re.Match[str]) -> str:
    asked = re.findall(r"^\*[^*\n]+\*", folded[2], re.M)
    return "\n".join([f"**{folded[1]}**", "", *(f"- {question}" for question in asked)])
