"""`labkit bundle`, `notebooks` and `times`: what the repository does for itself, by its `tools`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """The commands and their options."""
    pack = commands.add_parser("bundle", help="pack the lab for a host without Internet")
    pack.add_argument("--out", type=Path, default=Path("build/bundle"), help="folder to write")
    pack.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="of that host")
    pack.add_argument("--python", help="that host's Python, such as 3.12 (default: this one's)")
    pack.add_argument("--have", type=Path, help="its packages: pip list --format=freeze")
    pack.add_argument("--model", nargs="+", default=["smollm2-135m"], help="registry names")
    pack.add_argument("--part-mib", type=int, help="split into parts of at most so many MiB")
    pack.add_argument("--hopper", action="store_true", help="leave out kernels of other cards")
    pack.set_defaults(call=_bundle)
    books = commands.add_parser("notebooks", help="execute the lessons")
    books.add_argument("names", nargs="*", type=Path, help="notebooks (default: all lessons)")
    books.add_argument("--out", type=Path, default=Path("build/notebooks"), help="output folder")
    books.add_argument("--in-place", action="store_true", help="write the outputs into the lessons")
    books.set_defaults(call=_notebooks)
    times = commands.add_parser(
        "times", help="put measured minutes into docs/times.md, lessons and plans"
    )
    times.set_defaults(call=_times)


def _bundle(given: argparse.Namespace) -> int:
    from tools.bundle import SLIM_HOPPER, bundle

    bundle(
        given.out,
        device=given.device,
        python=given.python,
        have=given.have,
        models=given.model,
        slim=SLIM_HOPPER if given.hopper else (),
        part_mib=given.part_mib,
    )
    for file in sorted(given.out.iterdir()):
        print(f"{file}: {file.stat().st_size / 2**20:,.1f} MiB")
    print(f"There: python install.py FOLDER  (Python {given.python or 'as here'}, no network)")
    return 0


def _notebooks(given: argparse.Namespace) -> int:
    from tools.execute_notebooks import NOTEBOOKS, execute, first_picture, lessons

    books = given.names or lessons()
    execute(books, None if given.in_place else given.out)
    if given.in_place and lessons()[0].name in [book.name for book in books]:
        (NOTEBOOKS.parent / "docs" / "batching.png").write_bytes(first_picture(lessons()[0]))
    return 0


def _times(given: argparse.Namespace) -> int:
    from tools.teaching.pages import put_into_pages
    from tools.times import put_into_lessons, put_into_page

    changed = put_into_page() + put_into_lessons() + put_into_pages()
    print("\n".join(changed) or "docs/times.md, the lessons and docs/teaching are up to date.")
    return 0
