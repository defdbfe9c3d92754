"""What a learner handed in: exercises, machine, guesses, curves and a job of their own, as one page
and as plain JSON. Nothing is in it that the learner can't read on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit import __version__
from labkit.charts.compare_charts import curves as draw_curves
from labkit.pages.page import Page
from labkit.results.class_work import STATES, Tried
from labkit.results.curve import Curve
from labkit.results.lesson_outline import exercises as places
from labkit.results.lesson_outline import lessons

KIND = "labkit hand-in"


@dataclass(frozen=True)
class HandIn:
    """What was handed in. A notebook shows its page.

    exercises: by the name of their check. curves: of the learner's sweeps. machine: facts by name.
    capstone: numbers and first rows of the learner's own job; None where there is none.
    """

    name: str
    made: str
    machine: Mapping[str, str]
    exercises: Mapping[str, Tried]
    curves: tuple[Curve, ...]
    capstone: Mapping[str, Any] | None

    @property
    def right(self) -> int:
        """How many exercises are right: points, for nbgrader."""
        return sum(one.state == STATES[-1] for one in self.exercises.values())

    @property
    def of(self) -> int:
        """How many exercises the lessons have."""
        return len({*places(), *self.exercises})

    def by_lesson(self) -> dict[str, tuple[int, int]]:
        """The title of each lesson → how many of its exercises are right, and how many it has."""
        found = {}
        for lesson in lessons():
            names = [name for name, at in places().items() if at.lesson == lesson.number]
            right = sum(self.exercises.get(n, Tried("", 0)).state == STATES[-1] for n in names)
            found[" ".join(lesson.title.split(":")[0].split())] = (right, len(names))
        return found

    def table(self) -> pd.DataFrame:
        """A row an exercise of the lessons: lesson, state, answers that were given, section."""
        rows = []
        for name in dict.fromkeys([*places(), *self.exercises]):
            one, at = self.exercises.get(name, Tried(STATES[0], 0)), places().get(name)
            lesson, section = (at.lesson, at.section) if at else ("–", "–")
            rows.append((lesson, name.replace("_", " "), one.state, one.tries, section))
        columns = ["lesson", "exercise", "state", "answers", "section"]
        return pd.DataFrame(rows, columns=columns)

    def guesses(self) -> pd.DataFrame:
        """A row a guess: rows in flight, what was expected and what was measured (speed-ups), and
        the factor between the two."""
        rows = [
            (one.task, n, said, true, max(said / true, true / said) if said and true else math.nan)
            for one in self.curves
            for n, (said, true) in one.guesses().items()
        ]
        columns = ["task", "rows in flight", "expected (×)", "measured (×)", "off by"]
        return pd.DataFrame(rows, columns=columns)

    def page(self) -> Page:
        """The page that is handed in."""
        done = self.right
        page = Page(f"Handed in by {self.name}" if self.name else "Handed in", self._lead())
        facts = {"exercises right": f"{done} of {self.of}"}
        facts |= {title: f"{right} of {of}" for title, (right, of) in self.by_lesson().items()}
        page.facts(facts)
        page.section("Exercises").table(self.table())
        page.section("Guesses against what was measured")
        guesses = self.guesses()
        page.table(guesses.round(2)) if len(guesses) else page.text("No guess was written down.")
        page.section("Curves")
        if not self.curves:
            page.text("No curve was measured.")
        for what in dict.fromkeys(one.what for one in self.curves):
            some = [one for one in self.curves if one.what == what]
            small = "\n".join(
                f"{'recorded' if one.recorded else 'measured'} on {one.device} · {one.model} · "
                f"task {one.task}"
                for one in some
            )
            page.chart(draw_curves([(one.device, one) for one in some], small))
        page.section("A job of their own")
        if self.capstone is None:
            page.text("None was handed in (capstone=…).")
        else:
            page.facts(self.capstone["numbers"])
            page.table(pd.DataFrame(self.capstone["rows"], columns=self.capstone["columns"]))
        page.section("Machine")
        page.table(pd.DataFrame(list(self.machine.items()), columns=["what", "value"]))
        return page.text(
            "Exercises, guesses and curves are as the learner's own notebooks noted them: a record "
            "of work, not a proof.",
            kind="small",
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain lists, numbers and texts."""
        return {
            "kind": KIND,
            "labkit": __version__,
            "made": self.made,
            "name": self.name,
            "right": self.right,
            "of": self.of,
            "machine": dict(self.machine),
            "exercises": [
                {"name": name, "state": one.state, "tries": one.tries}
                for name, one in self.exercises.items()
            ],
            "curves": [one.to_json() for one in self.curves],
            "capstone": None if self.capstone is None else dict(self.capstone),
        }

    def _lead(self) -> str:
        return f"{self.right} of {self.of} exercises are right. Made on {self.made}."

    def _repr_html_(self) -> str:
        return self.page()._repr_html_()

    def __repr__(self) -> str:
        return self._lead()
