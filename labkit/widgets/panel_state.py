"""A sweep that is started, watched and cancelled: the panel's logic, without a widget."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from labkit.errors import Cancelled, LabError
from labkit.progress import View
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep

#: In words, and in this order; the last three are ends, and Run begins again from each.
STATES = ("idle", "loading", "running", "done", "failed", "cancelled")


class Measure(Protocol):
    """`labkit.sweep` with its task, data and spec given."""

    def __call__(
        self,
        points: Sequence[Point],
        *,
        repeats: int,
        progress: View,
        cancel: threading.Event,
        on_run: Callable[[Sweep], None],
    ) -> Sweep: ...


class Experiment:
    """One sweep at a time, in a thread of its own or in the caller's.

    state: one of STATES. sweep: what is measured so far, None before the first run. text, share:
    the line of progress. error: what made the last sweep fail. `watch` is called after each change,
    and when the sweep of another experiment begins or ends.
    """

    _all: ClassVar[weakref.WeakSet[Experiment]] = weakref.WeakSet()
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, measure: Measure, watch: Callable[[], None] = lambda: None):
        self.measure = measure
        self.watch = watch
        self.state = "idle"
        self.text = ""
        self.share = 0.0
        self.sweep: Sweep | None = None
        self.error: BaseException | None = None
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        with self._all_lock:
            self._all.add(self)

    @property
    def active(self) -> bool:
        """Whether a sweep is under way."""
        return self.state in ("loading", "running")

    @property
    def other(self) -> Experiment | None:
        """Another experiment with a sweep under way: of a panel whose cell was run again, say."""
        return next((one for one in self._others() if one.active), None)

    def _others(self) -> list[Experiment]:
        with self._all_lock:
            return [one for one in self._all if one is not self]

    def start(self, points: Sequence[Point], repeats: int) -> None:
        """Begin in a thread. Raises LabError while a sweep is under way."""
        self._begin()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work, points, repeats), daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Ask the sweep to stop; what is measured stays. With none under way here it is that of
        another experiment, whose button may be gone."""
        if not self.active and (other := self.other):
            return other.cancel()
        self._cancel.set()
        if self.active:
            self._say("stopping …", self.share)

    def result(self, points: Sequence[Point], repeats: int) -> Sweep:
        """The finished sweep: waits for one under way, runs one here when none was started.

        Raises what made it fail, or Cancelled: so that a cell after the panel can't pass over it.
        """
        if self.state == "idle":
            self._begin()
            self._work(points, repeats)
        try:
            while self._thread is not None and self._thread.is_alive():
                self._thread.join(0.2)
        except KeyboardInterrupt:
            self.cancel()
            raise
        if self.state == "failed" and self.error is not None:
            raise self.error
        if self.state == "cancelled" or self.sweep is None:
            runs = 0 if self.sweep is None else len(self.sweep.table)
            raise Cancelled(f"The sweep was cancelled after {runs} runs: press Run again.")
        return self.sweep

    def show(self, text: str, share: float | None) -> None:
        """The sweep's progress (`progress.View`)."""
        if not self._cancel.is_set():
            self._say(text, share or 0.0)

    def close(self) -> None:
        """The sweep's last word was shown (`progress.View`)."""

    def _say(self, text: str, share: float) -> None:
        self.text, self.share = text, share
        self.watch()

    def _begin(self) -> None:
        if self.active:
            raise LabError("A sweep is under way: wait for it, or cancel it.")
        self.sweep = self.error = self._thread = None
        self._cancel.clear()
        self.state = "loading"
        self._say("getting ready …", 0.0)
        for one in self._others():
            one.watch()

    def _work(self, points: Sequence[Point], repeats: int) -> None:
        try:
            self.measure(
                points, repeats=repeats, progress=self, cancel=self._cancel, on_run=self._take
            )
            if self._cancel.is_set():  # too late: all was measured
                self.text = "done"
            self.state = "done"
        except (Cancelled, KeyboardInterrupt) as problem:
            self.state = "cancelled"
            self.text = f"cancelled: {0 if self.sweep is None else len(self.sweep.table)} runs kept"
            if isinstance(problem, KeyboardInterrupt):
                raise
        except BaseException as problem:  # kept for `result`, in whatever thread it came
            self.state, self.error = "failed", problem
        finally:
            for one in (self, *self._others()):
                one.watch()

    def _take(self, sweep: Sweep) -> None:
        self.state = "running"
        self.sweep = sweep if len(sweep.table) else self.sweep
        self.watch()
