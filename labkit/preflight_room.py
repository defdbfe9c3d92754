"""Thirty pre-flights summed up: who is ready, what is to be mended, how many seats it takes.

Reads the pages of `preflight_check`, and takes nothing else for one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.api.report import FAIL, Check
from labkit.errors import LabError, lab_errors
from labkit.pages.page import Page
from labkit.preflight_check import KIND, NAME, RUNS, TEXT, Preflight, minutes
from labkit.results.curve import plain_text
from labkit.results.lesson_minutes import LessonMinutes

#: Bytes of a file, at most.
MOST_BYTES = 2**20


@dataclass(frozen=True)
class Room:
    """Many pre-flights. found: by the name of their file. bad: files that are none, with why."""

    found: tuple[tuple[str, Preflight], ...]
    bad: tuple[tuple[str, str], ...]

    def table(self) -> pd.DataFrame:
        """A row a machine, those that need something first."""
        rows = []
        for file, one in self.found:
            wrong = [check.name for check in one.checks if check.state == FAIL]
            if one.problem and not wrong:
                wrong = ["engine"]
            row = {
                "who": one.name or file,
                "ready": "yes" if one.ready else "in part" if one.works else "no",
                "to mend": ", ".join(wrong),
            }
            for at, lesson in enumerate(one.lessons, 1):
                mark = "" if one.advice(lesson) == RUNS else " ✘"
                row[f"lesson {at}, min"] = f"{minutes(lesson.minutes)}{mark}"
            rate = f"{one.tokens_per_s:,.0f}" if math.isfinite(one.tokens_per_s) else "–"
            rows.append({**row, "output tokens/s": rate, "machine": one.machine})
        order = ["no", "in part", "yes"]
        rows.sort(key=lambda row: (order.index(row["ready"]), row["who"]))
        return pd.DataFrame(rows)

    def counts(self) -> dict[str, int]:
        """Machines by what they can do."""
        ready = sum(one.ready for _, one in self.found)
        works = sum(one.works for _, one in self.found)
        return {
            "all lessons": ready,
            "some lessons": works - ready,
            "need a seat or the replay": len(self.found) - works,
            "files that are none": len(self.bad),
        }

    def sentence(self) -> str:
        """The result in words."""
        counts, of = self.counts(), len(self.found)
        said = f"{counts['all lessons']} of {of} machines are ready for all lessons"
        if rest := of - counts["all lessons"]:
            said += (
                f"; {rest} {'needs' if rest == 1 else 'need'} a seat of the class (labkit "
                f"classroom --seats {rest}) or the replay, at least for some"
            )
        return f"{said}."

    def page(self) -> Page:
        """One page about the room."""
        page = Page("Pre-flight of the room", self.sentence())
        page.facts({name: number for name, number in self.counts().items() if number or self.found})
        page.section("Machines")
        page.table(self.table()) if self.found else page.text("None.")
        failed: dict[str, list[str]] = {}
        for file, one in self.found:
            wrong = [f"{c.name}: {c.fix or c.found}" for c in one.checks if c.state == FAIL]
            for what in wrong or ([f"engine: {one.problem}"] if one.problem else []):
                failed.setdefault(what, []).append(one.name or file)
        page.section("What is to be mended")
        if failed:
            rows = [(what, len(who), ", ".join(who)) for what, who in failed.items()]
            page.table(pd.DataFrame(rows, columns=["what", "machines", "whose"]))
        else:
            page.text("Nothing.")
        if self.bad:
            page.section("Files that are no pre-flight")
            page.table(pd.DataFrame(list(self.bad), columns=["file", "why"]))
        return page

    def _repr_html_(self) -> str:
        return self.page()._repr_html_()

    def __str__(self) -> str:
        lines = [self.table().to_string(index=False)] if self.found else []
        lines += [f"left out: {why}" for _, why in self.bad]
        return "\n".join([*lines, self.sentence()])

    __repr__ = __str__


@lab_errors("The pre-flights could not be summed up")
def room(files: Sequence[str | Path]) -> Room:
    """Sum up the pages that learners sent. Files that are none are listed, and the others count.

    Raises LabError where no file is given.
    """
    if not files:
        raise LabError("Give the pages that labkit preflight --out wrote.")
    found, bad = list[tuple[str, Preflight]](), list[tuple[str, str]]()
    for file in files:
        try:
            found.append((Path(file).name, read(file)))
        except LabError as problem:
            bad.append((Path(file).name, str(problem)))
    return Room(tuple(found), tuple(bad))


def read(file: str | Path) -> Preflight:
    """A page of `Preflight.page`, or its JSON. Raises LabError for any other file."""
    try:
        path = Path(file)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        text = path.read_text(encoding="utf-8")
        return _preflight(json.loads(text if text.lstrip().startswith("{") else _folded(text)))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as problem:
        raise LabError(
            f"{file} is not a page of labkit preflight ({problem}): ask for another one."
        ) from problem


class _Code(HTMLParser):
    """Collects what stands in the `pre` of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre":
            self.inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def _folded(text: str) -> str:
    page = _Code()
    page.feed(text)
    if not page.texts:
        raise ValueError("it holds no numbers of one")
    return page.texts[-1]


def _preflight(held: Any) -> Preflight:
    if held["kind"] != KIND:
        raise ValueError("it is of another kind")
    checks = [
        Check(*(plain_text(one[part], TEXT) for part in ("name", "state", "found", "fix")))
        for one in list(held["checks"])[:50]
    ]
    lessons = [
        LessonMinutes(plain_text(one["title"]), _number(one["minutes"]), plain_text(one["basis"]))
        for one in list(held["lessons"])[:20]
    ]
    return Preflight(
        name=plain_text(held["name"], NAME),
        made=plain_text(held["made"], NAME),
        machine=plain_text(held["machine"], TEXT),
        model=plain_text(held["model"], TEXT),
        checks=tuple(checks),
        start_s=_number(held["start_s"]),
        rows_per_s=_number(held["rows_per_s"]),
        tokens_per_s=_number(held["tokens_per_s"]),
        problem=plain_text(held["problem"], TEXT),
        lessons=tuple(lessons),
        limit_min=_limit(held["limit_min"]),
    )


def _limit(value: Any) -> float:
    found = _number(value)
    if not found > 0:
        raise ValueError(f"{value!r:.40} is no limit in minutes")
    return found


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise ValueError(f"{value!r:.40} is no number of a pre-flight")
    return float(value)
