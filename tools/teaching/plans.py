"""The plans of docs/teaching/plans.md: the clock and the machine's minutes of each row are written
here, the teacher's and the class's minutes are people's.

A plan is a table whose first columns are `at` and `what`; each other column is minutes of `talk` or
`think`, or of the machine: `compute (KIND)`, with a kind of docs/times.md. A row's machine minutes
are those of the sections that it links to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tools.teaching import sections

PEOPLE = ("talk", "think")
COMPUTE = re.compile(r"compute \((.+)\)")
LINK = re.compile(r"\]\(lesson-(\d)\.md#([^)]+)\)")
ALL = "**all of it**"


@dataclass
class Row:
    """A row of a plan. minutes: by column; None where nothing was measured. number: of its line."""

    number: int
    at: float
    what: str
    minutes: dict[str, float | None]

    @property
    def length(self) -> float:
        """People's minutes, and the machine's of the slowest kind that was measured."""
        people = sum(self.minutes.get(name) or 0 for name in PEOPLE)
        machine = [m for name, m in self.minutes.items() if COMPUTE.fullmatch(name) and m]
        return people + max(machine, default=0)


Known = dict[tuple[int, str], sections.Section]


def known_sections() -> Known:
    """All sections by the number of their lesson and their anchor."""
    return {
        (number, section.anchor): section
        for number, lesson in enumerate(sections.lessons(), start=1)
        for section in sections.of(lesson)
    }


def linked(text: str, known: Known) -> list[sections.Section]:
    """The sections that a text links to, in its order; raises LookupError for one that is none."""
    found = []
    for number, anchor in LINK.findall(text):
        if (int(number), anchor) not in known:
            raise LookupError(f"lesson-{number}.md#{anchor} is no section of a lesson")
        found.append(known[int(number), anchor])
    return found


def tables(page: str) -> Iterator[tuple[str, list[Row], Row]]:
    """(heading, rows, the row of sums) of each plan on a page, with its minutes as they should be;
    people's are read from it."""
    heading, columns, rows, at = "", [], [], 0.0  # type: str, list[str], list[Row], float
    known = known_sections()
    for number, line in enumerate(page.splitlines()):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            columns, rows, at = [], [], 0.0
        elif cells[:2] == ["at", "what"]:
            columns = cells[2:]
        elif columns and cells[1] == ALL:
            sums = {name: sum(row.minutes[name] or 0 for row in rows) for name in columns}  # type: dict[str, float | None]
            yield heading, rows, Row(number, at, ALL, sums)
        elif columns and not re.fullmatch(r"[|\s:-]+", line):
            of_row = linked(cells[1], known)
            minutes: dict[str, float | None] = {}
            for name, cell in zip(columns, cells[2:], strict=True):
                kind = COMPUTE.fullmatch(name)
                minutes[name] = _machine(of_row, kind[1]) if kind else float(cell or 0)
            rows.append(Row(number, at, cells[1], minutes))
            at += rows[-1].length


def _machine(of_row: list[sections.Section], kind: str) -> float | None:
    """Minutes of sections on a kind of machine; None where none of them was measured there."""
    known = [s.seconds[kind] for s in of_row if kind in s.seconds]
    unknown = [s for s in of_row if s.seconds and kind not in s.seconds]
    return None if unknown else sum(known) / 60


def clock(minutes: float) -> str:
    """Minutes as hours and minutes."""
    whole = round(minutes)
    return f"{whole // 60}:{whole % 60:02}"


def written(page: str) -> str:
    """The page with the clock and the machine's minutes of all its plans."""
    lines = page.splitlines()
    for _, rows, total in tables(page):
        for row in [*rows, total]:
            bold = "**" if row is total else ""
            cells = [f"{bold}{clock(row.at)}{bold}", row.what]
            for name, minutes in row.minutes.items():
                number = "–" if minutes is None else f"{minutes:.1f}"
                number = f"{minutes:.0f}" if name in PEOPLE else number
                cells.append(f"{bold}{number}{bold}")
            lines[row.number] = f"| {' | '.join(cells)} |"
    return "\n".join(lines) + "\n"
