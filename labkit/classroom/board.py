"""What the class's board shows: where each learner who wants it is, their curves and guesses.

Each seat's entry is a small file in the class's folder, so that a restart loses none. What a seat
sends is looked at field by field; lessons and sections are those of the server's own outline. Knows
no HTTP, no engine and no line.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from labkit.errors import LabError
from labkit.results.curve import Curve, curve, medians, plain_text
from labkit.results.lesson_outline import lessons
from labkit.rows import wire

#: Bytes of what a seat sends, characters of a name, curves of a seat: at most.
MOST_BYTES, NAME, MOST_CURVES = 32 * 2**10, 24, 4
#: Seconds after which an entry is said to be quiet, and after which it is taken off.
QUIET_S, KEEP_S = 15 * 60.0, 12 * 3600.0
FIELDS = {"name", "lesson", "section", "curves"}


@dataclass(frozen=True)
class Entry:
    """What a seat shows. lesson: its number, 0 for none; section: a heading of it, or ''; at: Unix
    seconds of its last sign."""

    name: str
    lesson: int
    section: str
    curves: tuple[Curve, ...]
    at: float


def entry(body: bytes, at: float) -> Entry:
    """What a seat sent. Raises LabError for anything else."""
    if len(body) > MOST_BYTES:
        raise LabError(f"A seat's entry has at most {MOST_BYTES // 2**10} KiB.")
    sent = wire.loads(body)
    if not isinstance(sent, dict) or set(sent) != FIELDS:
        raise LabError(f"A seat shows exactly {', '.join(sorted(FIELDS))}.")
    name, lesson, section = sent["name"], sent["lesson"], sent["section"]
    if not isinstance(name, str) or not isinstance(section, str):
        raise LabError("A name and a section are texts.")
    known = lessons()
    if type(lesson) is not int or not 0 <= lesson <= len(known):
        raise LabError(f"A lesson is a number from 0 to {len(known)}.")
    if not isinstance(sent["curves"], list) or len(sent["curves"]) > MOST_CURVES:
        raise LabError(f"A seat shows at most {MOST_CURVES} curves.")
    there = section if lesson and section in known[lesson - 1].sections else ""
    return Entry(plain_text(name, NAME), lesson, there, tuple(map(curve, sent["curves"])), at)


class Board:
    """The entries of all seats, in files of `folder` (None: in memory alone). clock: Unix seconds.

    seats: the names of the class's seats: files of others do not count.
    """

    def __init__(
        self, folder: Path | None, seats: list[str], clock: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.clock, self.seats = folder, clock, seats
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        if folder is None:
            return
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for seat in seats:
            file = folder / f"{seat}.json"
            with contextlib.suppress(OSError, LabError):  # a damaged one is sent again
                if file.stat().st_size <= MOST_BYTES:
                    self._entries[seat] = entry(file.read_bytes(), file.stat().st_mtime)

    def put(self, seat: str, body: bytes) -> None:
        """A seat shows this from now on. Raises LabError for what is no entry."""
        one = entry(body, self.clock())
        with self._lock:
            self._entries[seat] = one
            if self.folder is None:
                return
            file = self.folder / f"{seat}.json"
            part = file.with_suffix(".part")
            with contextlib.suppress(OSError):  # a full disk: what is in memory is shown
                part.write_bytes(body)
                part.replace(file)

    def leave(self, seat: str) -> None:
        """A seat is shown no longer, and nothing of it is kept."""
        with self._lock:
            self._entries.pop(seat, None)
            if self.folder is not None:
                with contextlib.suppress(OSError):
                    (self.folder / f"{seat}.json").unlink(missing_ok=True)

    def told(self, queue: Mapping[str, Any]) -> dict[str, Any]:
        """All that the page shows, as JSON: texts are for display as texts. queue: of
        `TurnQueue.overview`."""
        now = self.clock()
        with self._lock:
            entries = {s: e for s, e in sorted(self._entries.items()) if now - e.at < KEEP_S}
        names = {seat: one.name or seat_words(seat) for seat, one in entries.items()}
        return {
            "seats": len(self.seats),
            "shown": len(entries),
            "lessons": _where(entries, names, now),
            "charts": _charts(entries, names),
            "queue": _named(queue, names),
        }


def seat_words(seat: str) -> str:
    """What a seat without a name is called."""
    return f"seat {seat}"


def _where(
    entries: Mapping[str, Entry], names: Mapping[str, str], now: float
) -> list[dict[str, Any]]:
    """The lessons that somebody is at: their sections, with who is there."""
    found = []
    for lesson in lessons():
        here = {seat: one for seat, one in entries.items() if one.lesson == lesson.number}
        if not here:
            continue
        sections = []
        for section in ("", *lesson.sections):
            people = [
                {"seat": s, "name": names[s], "quiet": now - one.at >= QUIET_S}
                for s, one in here.items()
                if one.section == section
            ]
            if section or people:
                sections.append({"title": section or "beginning", "people": people})
        found.append({"title": lesson.title, "count": len(here), "sections": sections})
    waiting = [s for s, one in entries.items() if not one.lesson]
    if waiting:
        people = [{"seat": s, "name": names[s], "quiet": False} for s in waiting]
        sections = [{"title": "no cell of a lesson yet", "people": people}]
        found.append({"title": "Here", "count": len(waiting), "sections": sections})
    return found


def _charts(entries: Mapping[str, Entry], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Curves that can be compared (one task, model and unit), the chart with the most seats first;
    in each the curves by device, with the median of each device."""
    groups: dict[tuple[str, str, str], list[tuple[str, Curve]]] = {}
    for seat, one in entries.items():
        for found in one.curves:
            if not found.recorded:
                groups.setdefault(found.what, []).append((seat, found))
    charts = []
    for (task, model, rate), curves in groups.items():
        by_device: dict[str, list[tuple[str, Curve]]] = {}
        for seat, found in curves:
            by_device.setdefault(found.device, []).append((seat, found))
        devices = [
            {
                "device": device,
                "median": medians([found for _, found in some]),
                "speed_ups": _speed_ups([found for _, found in some]),
                "curves": [
                    {"seat": seat, "name": names[seat], "points": [p[:2] for p in found.points]}
                    for seat, found in some
                ],
            }
            for device, some in sorted(by_device.items(), key=lambda one: -len(one[1]))
        ]
        guesses = [
            {"seat": seat, "name": names[seat], "rows": rows, "guess": said, "measured": true}
            for seat, found in curves
            for rows, (said, true) in found.guesses().items()
        ]
        charts.append(
            {
                "task": task,
                "model": model,
                "rate": rate,
                "count": len({seat for seat, _ in curves}),
                "devices": devices,
                "guesses": guesses,
                "sentence": guess_sentence([found for _, found in curves]),
            }
        )
    return sorted(charts, key=lambda one: (-one["count"], one["task"], one["model"], one["rate"]))


def _speed_ups(curves: list[Curve]) -> list[tuple[int, float]]:
    """(rows in flight, median speed-up over each curve's own first point)."""
    by_rows: dict[int, list[float]] = {}
    for one in curves:
        for rows, ratio in one.speed_ups().items():
            by_rows.setdefault(rows, []).append(ratio)
    return [(rows, median(by_rows[rows])) for rows in sorted(by_rows)]


def guess_sentence(curves: list[Curve]) -> str:
    """What the class expected at the most rows in flight, and what was measured: medians."""
    both = [found for one in curves if (found := one.guesses())]
    if not both:
        return "No guess is in yet: type one into the panel, then press Run."
    most = max(rows for found in both for rows in found)
    said, true = zip(*(found[most] for found in both if most in found), strict=True)
    many = "1 guess" if len(said) == 1 else f"{len(said)} guesses"
    return (
        f"With {most:,} rows in flight the class expected {_times(median(said))} ({many}, median); "
        f"measured: {_times(median(true))}."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 20 else f"{ratio:.1f}×"


def _named(queue: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The line, with the names of those who show one."""

    def named(one: Mapping[str, Any]) -> dict[str, Any]:
        return {**one, "name": names.get(one["seat"], seat_words(one["seat"]))}

    turn = queue.get("turn")
    return {
        "turn": named(turn) if turn else None,
        "waiting": [named(one) for one in queue.get("waiting", ())],
    }


def body(name: str, lesson: int, section: str, curves: list[Curve]) -> bytes:
    """What a seat sends."""
    sent = {"name": name, "lesson": lesson, "section": section}
    shown = [one.to_json() for one in curves if not one.recorded][-MOST_CURVES:]
    return json.dumps({**sent, "curves": shown}).encode()
