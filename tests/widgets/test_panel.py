"""The panel as a view: what is enabled, shown and said in each state. The browser test has a real
one; here the sweep is `tests.test_experiment.Measured`."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit.charts import sweep_charts
from labkit.errors import Cancelled, LabError
from labkit.ray_session import job_lock
from labkit.results.guess import off_by_words
from labkit.results.sweep_point import Point
from labkit.tasks import faq
from labkit.widgets import panel as panels
from labkit.widgets.panel import Panel
from tests.widgets.test_panel_state import Measured, wait_for, wait_until

POINTS = [Point(1, 1), Point(1, 4), Point(4, 1), Point(4, 4)]


def make(measure: Any = None, **options: Any) -> Panel:
    return Panel(measure or Measured(), POINTS, **options)


def text(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def test_at_first_it_is_idle_with_all_points_chosen() -> None:
    panel = make(title="A <title>")
    assert panel.state == "idle" and panel.chosen == POINTS
    assert text(panel._state.value) == "○ idle" and 'role="status"' in panel._state.value
    assert not panel._run.disabled and panel._cancel.disabled
    assert panel._chart.layout.display == "none" and panel.guess == {}
    assert "A &lt;title&gt;" in panel.box.children[0].value
    assert repr(panel) == "Panel('A <title>', idle, 4 points)"
    shown, about = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["text/plain"].startswith(repr(panel))
    assert "none for 4" in shown["text/plain"] and about["image/png"]["alt"] == shown["text/plain"]
    assert "A &lt;title&gt;</b>: a panel, idle" in shown["text/html"]


@pytest.mark.slow
def test_short_answers_are_shown_in_rows_a_second() -> None:
    measure = Measured()
    measure.let(3)
    panel = make(measure, rate="rows/s")
    panel.result()
    words = text(panel._words.value)
    assert "rows/s with" in words and "output tokens/s with" not in words
    assert "rows/s" in panel._chart.value


def test_another_rate_is_refused() -> None:
    with pytest.raises(LabError, match="rate must be one of"):
        labkit.panel(faq(), [], POINTS, rate="tokens/h")


def test_points_with_the_same_rows_in_flight_share_a_guess() -> None:
    assert list(make()._guesses) == [1, 4, 16]


def test_a_guess_is_drawn_as_soon_as_it_is_typed() -> None:
    panel = make(guess={1: 1})
    assert panel._chart.layout.display == "" and 'alt="Your guess' in panel._chart.value
    before = panel._chart.value
    panel._guesses[16].value = "12"
    assert panel.guess == {1: 1, 16: 12} and panel._chart.value != before


@pytest.mark.slow
def test_a_guess_starts_empty_and_takes_numbers_as_they_are_typed() -> None:
    panel = make(guess={1: 1, 4: None, 16: None})
    assert [box.value for box in panel._guesses.values()] == ["1", "", ""]
    for text_typed, number in (("2,5", 2.5), (" 3× ", 3.0)):
        panel._guesses[4].value = text_typed
        assert panel.guess == {1: 1, 4: number}
    for odd in ("many", "-1", "0", "inf", "nan"):
        panel._guesses[4].value = odd
        assert panel.guess == {1: 1} and f"left out: {odd}" in text(panel._words.value)
    panel._guesses[4].value = ""
    assert "left out" not in panel._words.value


@pytest.mark.slow
def test_without_a_guess_there_is_nothing_to_be_off_by() -> None:
    measure = Measured()
    measure.let(3)
    panel = make(measure, guess={1: None, 4: None})
    table = panel.off_by()
    assert len(table) == 0 and list(table) == ["you said", "measured", "off by"]
    assert off_by_words(table).startswith("One point alone")
    assert panels.show(table)._repr_html_() and sweep_charts.saturation(panel.result(), panel.guess)


@pytest.mark.slow
def test_a_page_keeps_a_picture_of_the_guess_and_then_of_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages: list[dict[str, Any]] = []

    def display(data: Any, metadata: Any, raw: bool, display_id: bool) -> Any:
        assert raw and display_id and metadata["image/png"]["alt"] == data["text/plain"]
        pages.append(data)
        return SimpleNamespace(update=lambda data, raw, metadata: pages.append(data))

    monkeypatch.setattr("IPython.display.display", display)
    measure = Measured()
    measure.let(3)
    panel = make(measure, guess={1: 1, 4: 3})
    panel._ipython_display_()
    assert "3× with 4" in pages[0]["text/plain"] and len(pages) == 1
    panel.result()
    panel.result()
    view = "application/vnd.jupyter.widget-view+json"
    assert len(pages) == 2 and pages[0][view] == pages[1][view]
    assert "done" in pages[1]["text/plain"] and "with 1 in flight" in pages[1]["text/plain"]


def test_without_a_point_there_is_nothing_to_run() -> None:
    panel = make()
    for box in panel._chosen:
        box.value = False
    assert panel._run.disabled
    panel.run()
    assert panel.state == "idle"


def test_a_run_from_button_to_chart() -> None:
    measure = Measured()
    panel = make(measure, guess={1: 1, 4: 9}, repeats=2)
    panel._chosen[2].value = False
    panel._run.click()
    assert panel._run.disabled and not panel._cancel.disabled and panel._chosen[0].disabled
    assert text(panel._state.value) == "◔ loading"
    measure.let(2)
    wait_until(lambda: "output tokens/s with" in text(panel._words.value))
    assert text(panel._state.value) == "▶ running"
    assert text(panel._line.value) == "1 done" and panel._bar.value == 0.5
    assert "You were off" not in panel._words.value
    measure.let(1)
    found = panel.result()
    wait_until(lambda: text(panel._state.value) == "✔ done")
    assert measure.asked == [([Point(1, 1), Point(1, 4), Point(4, 4)], 2)]
    assert not panel._run.disabled and panel._cancel.disabled and not panel._chosen[0].disabled
    assert "<table" in panel._words.value and "<details>" in panel._words.value
    assert len(found.table) == 2


@pytest.mark.slow
def test_the_verdict_on_a_guess_comes_at_the_end() -> None:
    measure = Measured()
    measure.let(3)
    panel = make(measure, guess={1: 1, 4: 9})
    panel.result()
    assert "only one" not in panel._words.value
    assert "no point that was measured" in panels._verdict(panel.result(), {99: 1})
    assert panel.off_by().index.tolist() == [1]


@pytest.mark.slow
def test_cancel_says_so_and_the_next_cell_fails() -> None:
    measure = Measured()
    panel = make(measure)
    panel.run()
    measure.let(2)
    wait_until(lambda: panel.experiment.sweep is not None)
    panel._cancel.click()
    wait_until(lambda: text(panel._state.value) == "■ cancelled")
    assert "1 runs kept" in panel._line.value and not panel._run.disabled
    with pytest.raises(Cancelled):
        panel.result()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["made before", "made meanwhile"])
def test_any_panel_can_cancel_the_sweep_that_is_under_way(order: str) -> None:
    """A cell that is run again shows a new panel, and the old one's buttons are gone."""
    measure = Measured()

    def one_at_a_time(*given: Any, **options: Any) -> Any:
        with job_lock.one_job():
            return measure(*given, **options)

    old = make(one_at_a_time)
    new = make(one_at_a_time) if order == "made before" else None
    old.run()
    measure.let(2)
    wait_until(lambda: old.experiment.sweep is not None)
    new = new or make(one_at_a_time)
    assert new.state == "idle" and not new._cancel.disabled and not new._run.disabled
    assert "another panel is under way" in new._line.value
    new._run.click()
    wait_for(new.experiment, "failed")
    wait_until(lambda: "or press Cancel" in new._words.value and not new._cancel.disabled)
    new._cancel.click()
    wait_for(old.experiment, "cancelled")
    wait_until(lambda: new._cancel.disabled and "another panel" not in new._line.value)
    assert len(old.experiment.sweep.table) == 1
    measure.let(3)
    new._run.click()
    assert len(new.result().table) == 2 and new.state == "done"
    assert old.state == "cancelled"


def test_an_error_is_shown_escaped_and_raised_by_the_next_cell() -> None:
    measure = Measured(LabError("no <b>GPU</b>"))
    measure.let(3)
    panel = make(measure)
    panel.run()
    wait_for(panel.experiment, "failed")
    wait_until(lambda: text(panel._state.value) == "✖ failed")
    assert "no &lt;b&gt;GPU&lt;/b&gt;" in panel._words.value
    assert 'role="alert"' in panel._words.value
    with pytest.raises(LabError, match="no <b>GPU"):
        panel.result()


def test_an_unexpected_error_is_shown_with_its_type() -> None:
    measure = Measured(ZeroDivisionError("x"))
    measure.let(3)
    panel = make(measure)
    with pytest.raises(ZeroDivisionError):
        panel.result()
    assert "ZeroDivisionError: x" in panel._words.value


def test_every_control_says_what_it_is() -> None:
    panel = make()
    for control in (*panel._chosen, *panel._guesses.values(), panel._repeats, panel._run):
        assert control.description
    for control in (*panel._guesses.values(), panel._repeats):
        assert control.style.description_width == "initial"


@pytest.mark.parametrize(("quick", "words"), [("", "1 rows a run"), ("1", "at most 1 rows")])
def test_the_panel_of_the_package_checks_its_points_and_says_how_many_rows(
    quick: str, words: str, monkeypatch: pytest.MonkeyPatch, local_ray: Any, smollm2: Any
) -> None:
    monkeypatch.setenv("QUICK", quick)
    spec = labkit.configure(smollm2)
    made = labkit.panel(labkit.Task("t", lambda row: []), [{"a": 1}], [(2, 3), (2, 3)], spec)
    assert made.chosen == [Point(2, 3)]
    assert f", {words}" in made.box.children[0].value
    for points in ([], [(0, 1)], [(1, -4)]):
        with pytest.raises(LabError, match="Give points"):
            labkit.panel(labkit.Task("t", lambda row: []), [{"a": 1}], points, spec)
