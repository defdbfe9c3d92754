"""`python -m tools.teaching`: write what docs/teaching takes from lessons, times and recordings,
and make the slides, the cheat sheet, the quizzes, the exam and the lessons without solutions in
build/teaching."""

from __future__ import annotations

import shutil

from labkit.cli import main as labkit
from tools import times
from tools.teaching import pages, slides

OUT = times.ROOT / "build" / "teaching"


def main() -> int:
    """Write and make all of it."""
    print("\n".join(pages.put_into_pages()) or "docs/teaching is up to date.")
    OUT.mkdir(parents=True, exist_ok=True)
    made = slides.every()
    for name, page in made.items():
        (OUT / f"{name}.html").write_text(page, encoding="utf-8")
    print(f"{OUT}: {', '.join(f'{name}.html' for name in made)}")
    shutil.rmtree(OUT / "lessons", ignore_errors=True)
    return labkit(["lessons", str(OUT / "lessons"), "--without-solutions"])


if __name__ == "__main__":
    raise SystemExit(main())
