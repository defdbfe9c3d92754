"""The panel: an `Experiment` with a Run button. A view; a script gets the same from `sweep`."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from labkit.api.configure import configure
from labkit.api.sweep_jobs import check_points, sweep
from labkit.charts import sweep_charts
from labkit.charts.style import Chart, bundle, image
from labkit.errors import LabError, lab_errors
from labkit.hardware.classroom_seat import seated
from labkit.hardware.machine import quick
from labkit.pages.html_table import show
from labkit.ray_session import session
from labkit.results.class_work import work
from labkit.results.guess import off_by, off_by_words
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import RATE, Sweep, check_rate
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Row, Task
from labkit.widgets.drawn_later import DrawnLater
from labkit.widgets.panel_state import Experiment, Measure

FULL = {"description_width": "initial"}
MARKS = {
    "idle": "○ idle",
    "loading": "◔ loading",
    "running": "▶ running",
    "done": "✔ done",
    "failed": "✖ failed",
    "cancelled": "■ cancelled",
}


class Panel:
    """Choose points, guess, Run, Cancel; see each point come.

    Show it as the last value of a cell; `result` in the next cell gives the `Sweep`, or raises what
    went wrong. Where nobody presses Run (a script, a notebook run from end to end), `result` runs
    the sweep itself. The keyboard does it all: Tab moves, Space presses, numbers are typed.
    A saved notebook keeps a picture of it, for readers without its kernel: the guess, or what was
    measured when `result` was asked for.
    """

    def __init__(
        self,
        measure: Measure,
        points: Sequence[Point],
        *,
        repeats: int = 1,
        guess: Mapping[int, float | None] | None = None,
        title: str = "Rows in flight",
        note: str = "",
        rate: str = RATE,
    ):
        self._rate = rate
        # On a seat the class's engine stands still between two jobs of a turn; on an engine here a
        # chart beside the next job would take the processor that feeds it.
        watch = DrawnLater(self._refresh) if seated() else self._refresh
        self.experiment = Experiment(measure, watch)
        self._lock = threading.Lock()
        self._drawn: Any = None
        self._picture: Chart | None = None  # of the state in _drawn; None: nothing to draw
        self._handle: Any = None  # of the panel in the notebook's page
        self._kept: Sweep | None = None  # what the picture in the page shows
        self._points, self._title = list(points), title
        given = dict(guess or {})
        self._chosen = [
            widgets.Checkbox(True, description=str(point), indent=False, layout={"width": "9em"})
            for point in points
        ]
        self._guesses = {
            rows: widgets.Text(
                f"{given.get(rows) or ''}",
                placeholder="?",
                description="×",
                style=FULL,
                tooltip=f"your guess for {rows:,} rows in flight",
                continuous_update=False,
                layout={"width": "7em"},
            ).add_class("labkit-guess")
            for rows in sorted({point.rows_in_flight for point in points})
        }
        self._repeats = widgets.BoundedIntText(
            repeats, min=1, max=20, description="repeats", style=FULL, layout={"width": "9em"}
        )
        self._run = widgets.Button(description="Run", icon="play", button_style="primary")
        self._cancel = widgets.Button(description="Cancel", icon="stop", disabled=True)
        self._state = widgets.HTML()
        self._bar = widgets.FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "16em"})
        self._line = widgets.HTML()
        self._chart = widgets.HTML(layout={"max_width": "100%", "display": "none"})
        self._words = widgets.HTML()
        self._run.on_click(lambda _: self.run())
        self._cancel.on_click(lambda _: self.cancel())
        for widget in (*self._chosen, *self._guesses.values()):
            widget.observe(lambda _: self._refresh(), "value")
        self.box = self._layout(title, note)
        self._refresh()

    def run(self) -> None:
        """What the Run button does: start the sweep of the chosen points in the background."""
        if not self.experiment.active and self.chosen:
            self.experiment.start(self.chosen, self._repeats.value)

    def cancel(self) -> None:
        """What the Cancel button does; the points measured so far stay. It ends another panel's
        sweep, too: that of this cell before it was run again has no button any more."""
        self.experiment.cancel()

    def result(self) -> Sweep:
        """The sweep: of the Run button, or run here when it was not pressed.

        Raises what made the sweep fail, LabError when no point is chosen, Cancelled after Cancel.
        """
        if self.state == "idle" and not self.chosen:
            raise LabError("No point is chosen: tick at least one.")
        found = self.experiment.result(self.chosen, self._repeats.value)
        self._refresh()  # the last state may not be drawn yet
        work.note_sweep(found, self.guess, self._rate)
        if self._handle is not None and found is not self._kept:
            self._kept = found
            data, about = self._repr_mimebundle_()
            self._handle.update(data, raw=True, metadata=about)
        return found

    def off_by(self) -> pd.DataFrame:
        """The guess beside what was measured, by rows in flight: `you said` and `measured`
        (speed-ups), `off by` (a factor). Without a guess it has no rows.

        Raises what `result` does, and LabError when no point of the guess was measured."""
        found, guess = self.result(), self.guess
        if not guess:
            columns = ["you said", "measured", "off by"]
            return pd.DataFrame(columns=columns, dtype=float).rename_axis("rows in flight")
        return off_by(found.summary(), guess)

    @property
    def state(self) -> str:
        """idle, loading, running, done, failed or cancelled."""
        return self.experiment.state

    @property
    def chosen(self) -> list[Point]:
        """The ticked points."""
        return [p for p, box in zip(self._points, self._chosen, strict=True) if box.value]

    @property
    def guess(self) -> dict[int, float]:
        """Rows in flight → the speed-up you expect over the first point; without empty boxes."""
        typed = {rows: _number(box.value) for rows, box in self._guesses.items()}
        return {rows: number for rows, number in typed.items() if number is not None}

    def _layout(self, title: str, note: str) -> widgets.Box:
        head = ["batch size × batches", "rows in flight", "your guess: how many times faster?"]
        cells: list[Any] = [widgets.HTML(f"<b>{words}</b>") for words in head]
        shown = set()
        for point, box in zip(self._points, self._chosen, strict=True):
            rows = point.rows_in_flight
            first = self._guesses[rows] if rows not in shown else widgets.HTML("")
            shown.add(rows)
            cells += [box, widgets.HTML(f"{rows:,}"), first]
        grid = widgets.GridBox(
            cells, layout={"grid_template_columns": "max-content max-content auto"}
        )
        grid.layout.grid_gap = "0 2em"
        buttons = widgets.HBox([self._run, self._cancel, self._repeats, self._state])
        top = widgets.HTML(f"<h3 style='margin: 0'>{escape(title)}</h3>{note}")
        parts = [top, grid, buttons, widgets.HBox([self._bar, self._line])]
        box = widgets.VBox([*parts, self._chart, self._words])
        box.layout.border = "1px solid #c9dcec"
        box.layout.padding = "0.8em"
        box.add_class("labkit-panel")
        return box

    def _refresh(self) -> None:
        with self._lock:
            now = self.experiment
            try:
                self._draw()
            except Exception as problem:  # a chart that fails must not end the sweep
                self._words.value = f"<p>The chart failed: {escape(str(problem))}</p>"
            self._run.disabled = now.active or not self.chosen
            other = now.other if not now.active else None
            self._cancel.disabled = not (now.active or other)
            for widget in (*self._chosen, self._repeats):
                widget.disabled = now.active
            self._state.value = (
                f'<span role="status" aria-live="polite" class="labkit-state">{MARKS[now.state]}'
                "</span>"
            )
            self._bar.value = now.share
            text = "the sweep of another panel is under way: Cancel ends it" if other else now.text
            self._line.value = f'<span class="labkit-line">{escape(text)}</span>'

    def _draw(self) -> None:
        now, guess = self.experiment, self.guess
        seen = (now.state, id(now.sweep), *(box.value for box in self._guesses.values()))
        if seen == self._drawn:
            return
        self._drawn = seen
        self._picture = self._chart_of_state() if now.sweep is not None or guess else None
        if self._picture is not None:
            self._chart.value = image(self._picture.png(), self._picture.alt)
        words = ""
        if now.sweep is not None:
            words = f"<p>{escape(now.sweep.sentence(self._rate))}</p>"
            if now.state == "done" and len(guess) > 1:
                words += f"<p><b>{escape(_verdict(now.sweep, guess))}</b></p>"
            table = show(now.sweep.summary().set_index("rows_in_flight"))._repr_html_()
            words += f"<details><summary>The numbers as a table</summary>{table}</details>"
        elif guess:
            words = "<p>Your guess. Press Run to see what is measured.</p>"
        if odd := [
            box.value for box in self._guesses.values() if box.value and not _number(box.value)
        ]:
            words += f"<p>No number above 0, and left out: {escape(', '.join(odd))}</p>"
        if now.state == "failed":
            kind = "" if isinstance(now.error, LabError) else f"{type(now.error).__name__}: "
            words = f'<p role="alert"><b>Failed.</b> {escape(kind + str(now.error))}</p>{words}'
        self._words.value = words
        self._chart.layout.display = "" if self._picture is not None else "none"

    def _chart_of_state(self) -> Chart:
        """What was measured, else the guess or its empty boxes."""
        if self.experiment.sweep is not None:
            return sweep_charts.saturation(self.experiment.sweep, self.guess, rate=self._rate)
        return sweep_charts.prediction({rows: self.guess.get(rows) for rows in self._guesses})

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and a picture of it with its words where no kernel is."""
        with self._lock:
            picture = self._picture or self._chart_of_state()
            said = f"{self!r}, as it was when this page was saved. {picture.alt}"
            note = (
                f"<p><b>{escape(self._title)}</b>: a panel, {self.state} when this page was saved. "
                "Run this cell for its boxes and its Run button.</p>"
            )
            data, about = bundle(picture.png(), said, note)
        return {**self.box._repr_mimebundle_(**options), **data}, about

    def _ipython_display_(self) -> None:
        from IPython.display import display

        data, about = self._repr_mimebundle_()
        self._handle = display(data, metadata=about, raw=True, display_id=True)
        self._kept = self.experiment.sweep

    def __repr__(self) -> str:
        return f"Panel({self._title!r}, {self.state}, {len(self._points)} points)"


def _number(text: str) -> float | None:
    """A guess as it was typed, 2.5 or 2,5; None for what is no number above 0."""
    try:
        number = float(text.strip().rstrip("×x").replace(",", "."))
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _verdict(found: Sweep, guess: Mapping[int, float]) -> str:
    try:
        return off_by_words(off_by(found.summary(), guess))
    except LabError as problem:
        return str(problem)


@lab_errors("The panel could not be made")
def panel(
    task: Task,
    data: pd.DataFrame | Sequence[Row],
    points: Iterable[tuple[int, int]],
    spec: ProcessorSpec | None = None,
    *,
    repeats: int = 1,
    path: str | Path | None = None,
    guess: Mapping[int, float | None] | None = None,
    title: str = "Rows in flight",
    rate: str = RATE,
) -> Panel:
    """A panel for `labkit.sweep` over `points`, with its arguments.

    guess: rows in flight → the speed-up you expect over the first point (None: no guess yet); can
    be typed, too. rate: what the chart shows, "output tokens/s" or "rows/s" (for short answers).
    Raises LabError for points that can't be used, and for another rate.
    """
    check_rate(rate)
    spec = (spec or configure()).with_(warm=True)
    session.start()  # here and not in the sweep's thread: Ray ends with the thread that started it
    measure: Any = functools.partial(_sweep, task, data, spec, path)
    most = "at most " if quick() else ""  # a sweep then takes as many as the point needs
    note = f"{spec.model.name} on {spec.machine.name}, {most}{len(data):,} rows a run."
    shown = check_points(points)
    return Panel(measure, shown, repeats=repeats, guess=guess, title=title, note=note, rate=rate)


def _sweep(
    task: Task, data: Any, spec: ProcessorSpec, path: Any, points: Any, **options: Any
) -> Sweep:
    return sweep(task, data, points, spec, path=path, **options)
