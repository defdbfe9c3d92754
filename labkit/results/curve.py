"""A curve as it is told to others: throughput by rows in flight, its device, and the guess before.

As JSON of known fields: what comes from elsewhere is looked at value by value, and a curve is never
more than a board or a page can show.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from labkit.errors import LabError
from labkit.results.sweep_result import RATE, RATES, Sweep

#: Points of a curve, characters of a text in it, and the largest number that a point can hold.
MOST_POINTS, TEXT, LARGEST = 24, 80, 1e9


@dataclass(frozen=True)
class Curve:
    """Throughput by rows in flight.

    points: (rows in flight, median of the runs, slowest, fastest), by rows in flight; where several
    settings share a number of rows in flight, the fastest. rate: the unit, of `sweep_result.RATES`.
    guess: rows in flight → the speed-up over its first point that was expected; may be empty.
    recorded: whether it was measured elsewhere, and played back.
    """

    task: str
    model: str
    device: str
    rate: str
    points: tuple[tuple[int, float, float, float], ...]
    guess: Mapping[int, float]
    recorded: bool = False

    @property
    def what(self) -> tuple[str, str, str]:
        """What two curves must have in common to be drawn on one chart: task, model, unit."""
        return self.task, self.model, self.rate

    def speed_ups(self) -> dict[int, float]:
        """Rows in flight → how many times the throughput of the first point."""
        first = self.points[0][1]
        return {rows: rate / first for rows, rate, _, _ in self.points} if first else {}

    def guesses(self) -> dict[int, tuple[float, float]]:
        """Rows in flight → (speed-up that was expected, speed-up measured), over the first point
        that has both; without that one, and empty where there is no guess."""
        true = self.speed_ups()
        both = sorted(rows for rows in self.guess if true.get(rows))
        if not both:
            return {}
        said, measured = self.guess[both[0]], true[both[0]]
        return {rows: (self.guess[rows] / said, true[rows] / measured) for rows in both[1:]}

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; `curve` reads them."""
        plain = asdict(self)
        plain["points"] = [list(point) for point in self.points]
        plain["guess"] = [[rows, self.guess[rows]] for rows in sorted(self.guess)]
        return plain


def of_sweep(
    sweep: Sweep, guess: Mapping[int, float | None] | None = None, rate: str = RATE
) -> Curve | None:
    """The curve of a sweep; None where none of its points has a throughput."""
    columns = ["rows_in_flight", rate, "lowest", "highest"]
    points = [
        (int(rows), float(middle), float(low), float(high))
        for rows, middle, low, high in sweep.fastest(rate)[columns].itertuples(index=False)
        if all(math.isfinite(value) for value in (middle, low, high))
    ]
    if not points:
        return None
    about = sweep.provenance
    return Curve(
        task=plain_text(about.get("task", "")),
        model=plain_text(about.get("model", "")),
        device=plain_text(about.get("device", "")),
        rate=rate,
        points=tuple(points[:MOST_POINTS]),
        guess={
            int(rows): float(ratio)
            for rows, ratio in sorted((guess or {}).items())[:MOST_POINTS]
            if ratio and 0 < ratio < LARGEST
        },
        recorded=bool(about.get("recorded")),
    )


def curve(value: Any) -> Curve:
    """The curve of `Curve.to_json`. Raises LabError for anything else."""
    fields = set(Curve.__dataclass_fields__)
    if not isinstance(value, dict) or set(value) != fields:
        raise LabError(f"A curve has exactly {', '.join(sorted(fields))}.")
    for name in ("task", "model", "device"):
        if not isinstance(value[name], str) or len(value[name]) > TEXT:
            raise LabError(f"A curve's {name} is a text of at most {TEXT} characters.")
    if not isinstance(value["rate"], str) or value["rate"] not in RATES:
        raise LabError(f"A curve's rate is one of {', '.join(RATES)}.")
    if not isinstance(value["recorded"], bool):
        raise LabError("A curve's recorded is true or false.")
    points = [_point(point) for point in _rows(value["points"], 4, "points")]
    if not points or [rows for rows, *_ in points] != sorted({rows for rows, *_ in points}):
        raise LabError("A curve has points, each with other rows in flight, in their order.")
    guess = {_count(rows): _number(ratio) for rows, ratio in _rows(value["guess"], 2, "guess")}
    if 0.0 in guess.values():
        raise LabError("A guess is a number above 0.")
    texts = {name: plain_text(value[name]) for name in ("task", "model", "device")}
    return Curve(
        **texts,
        rate=value["rate"],
        points=tuple(points),
        guess=guess,
        recorded=value["recorded"],
    )


def medians(curves: Sequence[Curve]) -> list[tuple[int, float]]:
    """(rows in flight, median throughput) over several curves, by rows in flight."""
    by_rows: dict[int, list[float]] = {}
    for one in curves:
        for rows, rate, _, _ in one.points:
            by_rows.setdefault(rows, []).append(rate)
    return [(rows, median(by_rows[rows])) for rows in sorted(by_rows)]


def plain_text(text: Any, most: int = TEXT) -> str:
    """A text for one line of a page: no control or direction characters, no stacks of accents, and
    at most `most` characters."""
    kept, marks = [], 0
    for letter in unicodedata.normalize("NFC", str(text)):
        marks = marks + 1 if unicodedata.combining(letter) else 0
        kept.append(letter if letter.isprintable() and marks <= 2 else "" if marks else " ")
    return " ".join("".join(kept).split())[:most].strip()


def _rows(value: Any, width: int, what: str) -> list[list[Any]]:
    if not isinstance(value, list) or len(value) > MOST_POINTS:
        raise LabError(f"A curve's {what} are a list of at most {MOST_POINTS}.")
    if not all(isinstance(row, list) and len(row) == width for row in value):
        raise LabError(f"Each of a curve's {what} has {width} numbers.")
    return value


def _point(point: list[Any]) -> tuple[int, float, float, float]:
    rows, (middle, low, high) = _count(point[0]), map(_number, point[1:])
    if not low <= middle <= high:
        raise LabError("A point's median lies between its slowest and its fastest run.")
    return rows, middle, low, high


def _count(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise LabError("Rows in flight are a whole number from 1.")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= LARGEST:  # NaN is not, either
        raise LabError(f"A throughput or a guess is a number from 0 to {LARGEST:,.0f}.")
    return float(value)
