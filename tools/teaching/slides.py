"""Slides, cheat sheet, quizzes and exam as pages of their own: no network, nothing to fetch.

Each is made of a page in docs/teaching that can be read as it is. Slides: every `##` is one, with
the picture beside its text; quoted paragraphs are the speaker's notes (key `n`).
"""

from __future__ import annotations

import base64
import re
import struct
from html import escape
from pathlib import Path

import mistune

from tools.teaching.pages import FOLDER

COMMENT = re.compile(r"<!--.*?-->\n?", re.S)
PICTURE = re.compile(r"^!\[([^\]]*)\]\(([^)]+)\)$", re.M)
#: What a picture of the lessons looks like in the dark; slides are white.
DARK = re.compile(r"^@media \(prefers-color-scheme:dark\)\{.*\}(?=</style>)", re.M)

_HERE = Path(__file__).resolve().parent
_markdown = mistune.create_markdown(escape=False, plugins=["table"])


def every() -> dict[str, str]:
    """All pages by their names: slides, cheat sheet, quizzes and exam."""
    made = {"slides": slides(), "cheat-sheet": cheat_sheet(), "exam": exam()}
    return made | {f"quiz-{lesson}": quiz(lesson) for lesson in (1, 2, 3)}


def slides() -> str:
    """The page of slides, of docs/teaching/slides.md."""
    page = FOLDER / "slides.md"
    _, *parts = re.split(r"^## ", COMMENT.sub("", page.read_text()), flags=re.M)
    made = []
    for number, part in enumerate(parts, start=1):
        pictures = PICTURE.findall(part)
        body = _html(PICTURE.sub("", f"## {part}"))
        images = "".join(_image(page.parent / file, alt) for alt, file in pictures)
        kind = _layout([page.parent / file for _, file in pictures])
        made.append(
            f'<section class="{kind}" id="{number}"><div>{body}</div>{images}'
            f'<span class="number">{number} / {len(parts)}</span></section>'
        )
    return _page(_title(page), "slides", "\n".join(made))


def cheat_sheet() -> str:
    """The page to print, of docs/teaching/cheat-sheet.md."""
    page = FOLDER / "cheat-sheet.md"
    head, *parts = re.split(r"^## ", COMMENT.sub("", page.read_text()), flags=re.M)
    body = "".join(f"<section>{_html(f'## {part}')}</section>" for part in parts)
    return _page(_title(page), "cheat-sheet", f"{_html(head)}\n{body}")


def quiz(lesson: int) -> str:
    """The quiz of a lesson, to print: without the way to its answers."""
    part = next(
        part
        for part in (FOLDER / "quiz.md").read_text().split("\n## ")
        if part.startswith(f"Lesson {lesson}\n")
    )
    return _paper(f"Quiz of lesson {lesson}", re.split(r"^### ", part, flags=re.M)[1:])


def exam() -> str:
    """The exam, to print: without the way to its solutions."""
    head, *tasks = re.split(r"^## ", (FOLDER / "exam.md").read_text(), flags=re.M)
    rules = re.sub(r" Solutions with points are in the \[answers\]\(.*?\)\.", "", head)
    title, _, rules = rules.lstrip("# ").partition("\n")
    return _paper(title, tasks, rules)


def _paper(title: str, questions: list[str], rules: str = "") -> str:
    """A page with a place for a name; each question begins with its heading."""
    questions = [COMMENT.sub("", one) for one in questions]
    body = "".join(f"<section>{_html(f'## {one}')}</section>" for one in questions)
    head = f"<h1>{title}</h1><p>Name:</p>{_html(rules)}"
    return _page(title, "cheat-sheet", f"{head}{body}")


def _title(page: Path) -> str:
    return page.read_text().splitlines()[0].lstrip("# ")


def _html(text: str) -> str:
    """Markdown as HTML; links are words here, since the pages they lead to do not come along."""
    made = str(_markdown(text))
    return re.sub(r"<a href=\"(?!https)[^\"]*\">(.*?)</a>", r"\1", made)


def _image(file: Path, alt: str) -> str:
    """A picture inside the page."""
    data = file.read_bytes()
    kind = "image/png"
    if file.suffix == ".svg":
        data, kind = DARK.sub("", data.decode()).encode(), "image/svg+xml"
    code = base64.b64encode(data).decode()
    return f'<img src="data:{kind};base64,{code}" alt="{escape(alt)}">'


def _layout(pictures: list[Path]) -> str:
    """Where a slide has its picture: a chart twice as wide as high below the text, else beside it;
    a picture of a screen with more room than a diagram."""
    if not pictures:
        return "plain"
    if pictures[0].suffix != ".png":
        return "pictured"
    width, height = struct.unpack(">II", pictures[0].read_bytes()[16:24])  # PNG, section 11.2.2
    return "wide" if width > 2 * height else "shot"


def _page(title: str, look: str, body: str) -> str:
    style = "".join((_HERE / f"{name}.css").read_text() for name in ("common", look))
    keys = _HERE / f"{look}.js"
    script = f"<script>{keys.read_text()}</script>" if keys.is_file() else ""
    # Nothing may be fetched.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    policy += "; script-src 'unsafe-inline'" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n{script}\n</body>\n</html>\n"
    )
