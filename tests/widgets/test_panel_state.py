"""The panel's logic, without a widget and without an engine: states, cancel, errors kept."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from labkit.errors import Cancelled, LabError
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep
from labkit.widgets.panel_state import Experiment
from tests.results.test_sweep_result import CURVE, measured

POINTS = [Point(1, 1), Point(4, 4)]


class Measured:
    """A sweep of two runs whose steps the test lets go one by one."""

    def __init__(self, error: BaseException | None = None):
        self.error = error
        self.go = threading.Semaphore(0)
        self.asked: list[Any] = []

    def __call__(
        self, points: Any, *, repeats: int, progress: Any, cancel: Any, on_run: Any
    ) -> Sweep:
        self.asked.append((list(points), repeats))
        found = measured(CURVE)
        for runs in (0, 1, 2):
            while not self.go.acquire(timeout=0.01):
                if cancel.is_set():
                    raise Cancelled("The sweep was cancelled.")
            if self.error and runs == 1:
                raise self.error
            progress.show(f"{runs} done", runs / 2)
            on_run(Sweep(found.table.head(runs), found.provenance))
        return found

    def let(self, steps: int) -> None:
        self.go.release(steps)


def wait_for(experiment: Experiment, *states: str) -> None:
    for _ in range(2000):
        if experiment.state in states:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"still {experiment.state}")


def wait_until(done: Any) -> None:
    for _ in range(2000):
        if done():
            return
        threading.Event().wait(0.01)
    raise AssertionError("never")


def test_the_states_of_a_sweep_in_the_background() -> None:
    seen: list[str] = []
    measure = Measured()
    experiment = Experiment(measure, lambda: seen.append(experiment.state))
    assert experiment.state == "idle" and not experiment.active
    experiment.start(POINTS, 2)
    assert experiment.state == "loading" and experiment.sweep is None
    measure.let(2)
    wait_until(lambda: experiment.sweep is not None)
    assert experiment.state == "running" and len(experiment.sweep.table) == 1
    assert (experiment.text, experiment.share) == ("1 done", 0.5)
    measure.let(1)
    found = experiment.result(POINTS, 2)
    assert experiment.state == "done" and len(found.table) == 2
    assert measure.asked == [(POINTS, 2)]
    assert list(dict.fromkeys(seen)) == ["loading", "running", "done"]


def test_a_second_run_waits_for_the_first() -> None:
    measure = Measured()
    experiment = Experiment(measure)
    experiment.start(POINTS, 1)
    with pytest.raises(LabError, match="under way"):
        experiment.start(POINTS, 1)
    measure.let(3)
    experiment.result(POINTS, 1)
    measure.let(3)
    experiment.start(POINTS, 1)
    experiment.result(POINTS, 1)
    assert len(measure.asked) == 2


def test_cancel_keeps_what_is_measured_and_fails_the_result() -> None:
    measure = Measured()
    experiment = Experiment(measure)
    experiment.start(POINTS, 1)
    measure.let(2)
    wait_until(lambda: experiment.sweep is not None)
    experiment.cancel()
    wait_for(experiment, "cancelled")
    assert experiment.sweep is not None and len(experiment.sweep.table) == 1
    assert "1 runs kept" in experiment.text
    with pytest.raises(Cancelled, match="cancelled after 1 runs"):
        experiment.result(POINTS, 1)
    measure.let(3)
    experiment.start(POINTS, 1)  # and again
    assert len(experiment.result(POINTS, 1).table) == 2


@pytest.mark.parametrize("error", [LabError("the engine died"), ValueError("x"), SystemExit(3)])
def test_an_error_is_kept_and_raised_by_the_result_each_time(error: BaseException) -> None:
    measure = Measured(error)
    experiment = Experiment(measure)
    experiment.start(POINTS, 1)
    measure.let(3)
    wait_for(experiment, "failed")
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            experiment.result(POINTS, 1)
        assert raised.value is error


def test_a_result_that_nobody_started_is_measured_here() -> None:
    measure = Measured()
    measure.let(3)
    experiment = Experiment(measure)
    assert len(experiment.result(POINTS, 3).table) == 2
    assert experiment.state == "done" and measure.asked == [(POINTS, 3)]
    assert experiment.result(POINTS, 3) is experiment.sweep and len(measure.asked) == 1


def test_a_failure_here_is_raised_here() -> None:
    measure = Measured(LabError("no"))
    measure.let(3)
    experiment = Experiment(measure)
    with pytest.raises(LabError, match="no"):
        experiment.result(POINTS, 1)
    assert experiment.state == "failed"


def test_an_interrupt_here_is_a_cancel_and_goes_through() -> None:
    measure = Measured(KeyboardInterrupt())
    measure.let(3)
    experiment = Experiment(measure)
    with pytest.raises(KeyboardInterrupt):
        experiment.result(POINTS, 1)
    assert experiment.state == "cancelled"
