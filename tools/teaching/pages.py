"""What in docs/teaching is made: `put_into_pages` writes it anew from the lessons' saved outputs,
docs/times.md and the recordings.

A made part stands between `<!-- made: WHAT; WHAT -->` and `<!-- end -->`. WHAT is one of

- `section`: below a heading of a lesson's page, what that section needs, takes and showed;
- `said N · SOURCE`: the last line that the cell of lesson N with SOURCE in it said;
- `table N · SOURCE`: all that it showed, as a table;
- `recorded NAME`: the sentence of a recording;
- `rates NAME`: its table of rates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import times
from tools.execute_notebooks import lessons
from tools.teaching import plans, sections

FOLDER = times.ROOT / "docs" / "teaching"
MADE = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- end -->)", re.S)


def put_into_pages() -> list[str]:
    """Write the made parts of all pages anew; the names of those that changed."""
    changed = []
    for path in sorted(FOLDER.glob("*.md")):
        if (page := written(path)) != path.read_text():
            path.write_text(page)
            changed.append(f"docs/teaching/{path.name}")
    return changed


def written(path: Path) -> str:
    """The page as it should be."""
    page = path.read_text()

    def make(part: re.Match[str]) -> str:
        made = []
        for what in part[2].split("; "):
            kind, _, about = what.partition(" ")
            if kind == "section":
                heads = re.findall(r"^## (.+)$", page[: part.start()], re.M)
                about = f"{re.sub(r'[^0-9]', '', path.name)} · {heads[-1]}"
            made.append(_MAKE[kind](about))
        return "\n\n".join([part[1].rstrip(), *made, part[3]])

    return plans.written(MADE.sub(make, page))


def _lesson(about: str) -> tuple[Path, str]:
    number, _, rest = about.partition(" · ")
    return lessons()[int(number) - 1], rest


def section(about: str) -> str:
    """What a section takes, needs and showed: for a teacher's page."""
    lesson, name = _lesson(about)
    (one,) = [each for each in sections.of(lesson) if each.name == name]
    took = [f"{times.words(s)} ({kind})" for kind, s in one.seconds.items()]
    needs = []
    for at, names in one.needs.items():
        of_its_own = [f"`{name}`" for name in names if name not in one.imported]
        needs.append(f"{', '.join(of_its_own) or 'the imports'} of *{at}*")
    lines = [f"- **Machine**: {', '.join(took) or 'nothing to wait for'}."]
    lines.append(f"- **Needs**: {'; '.join(needs) or 'nothing that comes before'}.")
    if said := one.sentences():
        apart = "; what is named or was recorded elsewhere, from there" * one.plays_recordings
        where = f"{sections.machine(lesson)}, as saved in the lesson{apart}"
        lines.append(f"- **Numbers** of {where}:")
        lines += [f"  - {_plain(line)}" for line in said]
    return "\n".join(lines)


def said(about: str) -> str:
    """What one cell said last, with the machine."""
    lesson, source = _lesson(about)
    words = sections.output_of(lesson, source).splitlines()[-1]
    where = f"{sections.machine(lesson)}, as saved in lesson {int(lesson.name[:2])}"
    return f"{_plain(words)} *({where})*"


def table(about: str) -> str:
    """What one cell printed."""
    lesson, source = _lesson(about)
    return f"```\n{sections.output_of(lesson, source)}\n```"


def recorded(name: str) -> str:
    """The sentence of a recording, with its device and date."""
    import labkit

    sweep = labkit.recorded(name)
    return f"- **Recorded** ({_device(sweep)}): {_plain(sweep.sentence())}"


def rates(name: str) -> str:
    """The rates of a recording: median output tokens/s and latency by rows in flight."""
    import labkit

    sweep = labkit.recorded(name)
    lines = ["| rows in flight | output tokens/s | range | p95 of a row, s |"]
    lines.append("|---:|---:|---:|---:|")
    for row in sweep.summary().to_dict("records"):
        rate, low, high = (f"{row[k]:,.0f}" for k in ("output tokens/s", "lowest", "highest"))
        late = f"{row['row latency p95 (s)']:.2g}"
        lines.append(f"| {row['rows_in_flight']:,} | {rate} | {low} to {high} | {late} |")
    return "\n".join([*lines, "", f"*Recorded: {_device(sweep)}.*"])


def _device(sweep: Any) -> str:
    about = sweep.provenance
    return f"{about['device']}, {about['model']}, {str(about['made'])[:10]}"


def _plain(words: str) -> str:
    """Markdown that shows these words as they are."""
    return re.sub(r"([*_<\[\]|])", r"\\\1", words)


_MAKE: dict[str, Callable[[str], str]] = {
    "section": section, "said": said, "table": table, "recorded": recorded, "rates": rates,
}  # fmt: skip
