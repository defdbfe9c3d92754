"""`python -m tools.teaching`: write what docs/teaching takes from lessons, times and recordings,
and make the slides, the cheat sheet, the quizzes and the lessons without solutions in
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
    (OUT / "slides.html").write_text(slides.slides(), encoding="utf-8")
    (OUT / "cheat-sheet.html").write_text(slides.cheat_sheet(), encoding="utf-8")
    for lesson in (1, 2, 3):
        (OUT / f"quiz-{lesson}.html").write_text(slides.quiz(lesson), encoding="utf-8")
    print(f"{OUT}: slides.html, cheat-sheet.html, quiz-1.html, quiz-2.html, quiz-3.html")
    shutil.rmtree(OUT / "lessons", ignore_errors=True)
    return labkit(["lessons", str(OUT / "lessons"), "--without-solutions"])


if __name__ == "__main__":
    raise SystemExit(main())
