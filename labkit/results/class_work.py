"""What was done in the lessons by this program: exercises that were tried, curves and guesses.

Kept in memory alone, and told to nobody, unless the learner asks for it: `labkit.hand_in` puts it
into a file, `labkit.share` onto the class's board.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from labkit.results.curve import Curve, of_sweep
from labkit.results.sweep_result import RATE, Sweep

#: The states of an exercise, from nothing done to done (see `labkit.exercises`).
STATES = ("open", "not yet", "right")
#: So many curves are kept: the last ones.
MOST_CURVES = 8


@dataclass(frozen=True)
class Tried:
    """An exercise: the best state that it has had, and how many answers it was given."""

    state: str
    tries: int


@dataclass
class Work:
    """exercises: by the name of their check. curves: of sweeps, the last one of each task, model,
    device and unit. watchers: called after each change, in the thread that made it."""

    exercises: dict[str, Tried] = field(default_factory=dict)
    curves: dict[tuple[str, ...], Curve] = field(default_factory=dict)
    watchers: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_exercise(self, name: str, state: str) -> None:
        """An exercise was asked for a verdict. One that is right stays right."""
        with self._lock:
            before = self.exercises.get(name, Tried(STATES[0], 0))
            best = max(before.state, state, key=STATES.index)
            self.exercises[name] = Tried(best, before.tries + (state != STATES[0]))
        self._changed()

    def note_sweep(
        self, sweep: Sweep, guess: Mapping[int, float | None] | None = None, rate: str = RATE
    ) -> None:
        """A sweep has ended; guess: what was expected, once it is known."""
        try:
            one = of_sweep(sweep, guess, rate)
        except (LookupError, TypeError, ValueError, AttributeError):
            return  # what was measured is not lost because it can't be noted
        if one is None:
            return
        key = (*one.what, one.device)
        with self._lock:
            before = self.curves.pop(key, None)
            if before is not None and guess is None:
                one = replace(one, guess=before.guess)
            self.curves[key] = one
            while len(self.curves) > MOST_CURVES:
                del self.curves[next(iter(self.curves))]
        self._changed()

    def all_curves(self) -> list[Curve]:
        """The curves, the last one at the end."""
        with self._lock:
            return list(self.curves.values())

    def all_exercises(self) -> dict[str, Tried]:
        """The exercises that were asked for a verdict."""
        with self._lock:
            return dict(self.exercises)

    def _changed(self) -> None:
        for watch in list(self.watchers):
            watch()


#: Of this program.
work = Work()
