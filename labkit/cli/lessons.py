"""The command `labkit lessons`: copy the lessons into a folder, to work in."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.errors import LabError


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    copy = commands.add_parser("lessons", help="copy the lessons into a folder, to work in")
    copy.add_argument("folder", type=Path, help="a new folder")


def run(given: argparse.Namespace) -> int:
    """Copy them, with the pages that they link to."""
    if given.folder.is_file():
        raise LabError(f"{given.folder} is a file: name a new folder.")
    if given.folder.exists() and any(given.folder.iterdir()):
        raise LabError(f"{given.folder} is not empty, and nothing is overwritten: name a new one.")
    for name in ("notebooks", "docs"):
        files = shutil.ignore_patterns("__init__.py", "__pycache__", ".ipynb_checkpoints")
        shutil.copytree(paths.lessons_folder(name), given.folder / name, ignore=files)
    print(f"{given.folder}: open {given.folder / 'notebooks' / '01_faq_answers.ipynb'}")
    return 0
