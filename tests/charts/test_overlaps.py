"""Every chart on a fast, a slow and a noisy machine: no text on another, on a line, a marker or an
error bar, none outside the picture, and all of it can be read on what is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import labkit
from labkit import charts, metrics, quality
from labkit.charts.labels import CONTRAST, contrast
from labkit.charts.style import SMALL
from labkit.results.recordings import recorded_limits
from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.roofline import Limits
from tests.charts import machines
from tests.charts.machines import job, sweep

LABELS = ("positive", "neutral", "negative")
GRID = [(size, flight // size) for flight in (16, 64) for size in (1, 4, 16) if size <= flight]
GUESS = {1: 1, 4: 3, 16: 10, 32: 12, 64: 15, 128: None}


def jobs(machine: str) -> dict[str, Any]:
    return {
        "one row at a time": job(machine, rows=8, batch_size=1, batches=1),
        "Ray Data LLM, built by hand, cold": job(machine),
        "labkit": job(machine, batch_size=32),
    }


def confusion(machine: str) -> charts.Chart:
    said = {"fast": 50, "slow": 95, "noisy": 25}[machine]
    truth = list(LABELS) * 50
    predicted = [label if at % 100 < said else "negative" for at, label in enumerate(truth)]
    table = quality.confusion(truth, predicted, LABELS)
    return charts.confusion(table, "A model of 0.5 billion parameters, few-shot", job(machine))


def quality_throughput(machine: str) -> charts.Chart:
    score = quality.evaluate(["a", "b"] * 20, ["a", "b", "b", "b"] * 10, ("a", "b"))
    models = {"smollm2-135m": job(machine), "qwen2.5-0.5b": job("slow", name="qwen")}
    lines = {"people": 0.8, "word list": score.macro_f1, "always the same": 0.33}
    return charts.quality_throughput(models, dict.fromkeys(models, score), lines)


def recording(kind: str) -> Callable[[str], labkit.Sweep]:
    names = {"fast": "h100-llama-3.1-8b-shape", "slow": "h100-smollm2-135m"}
    return lambda machine: labkit.recorded(f"{names.get(machine, names['slow'])}-{kind}")


CHARTS: dict[str, Callable[[str], charts.Chart]] = {
    "batch_sizes": lambda m: charts.batch_sizes(sweep(m, GRID)),
    "batch_sizes recorded": lambda m: charts.batch_sizes(
        labkit.recorded("h100-smollm2-135m-batch-size")
    ),
    "confusion": confusion,
    "engines_on_card": lambda m: charts.engines_on_card(labkit.recorded_short_rows()),
    "heat_map": lambda m: charts.heat_map(sweep(m, GRID)),
    "in_flight": lambda m: charts.in_flight(job(m)),
    "in_flight of two": lambda m: charts.in_flight(
        {f"{n} batches": job(m, batches=n) for n in (1, 4)}
    ),
    "over_time": lambda m: charts.over_time(
        metrics.over_time(job(m).timeline()), charts.provenance(job(m))
    ),
    "prediction": lambda m: charts.prediction(GUESS if m == "noisy" else dict.fromkeys(GUESS)),
    "quality_throughput": quality_throughput,
    "roof": lambda m: charts.roof(sweep(m), Shape(1e6, 0, 100, 50, 1, 1), Limits("card", 1e8, 1e9)),
    "roof recorded": lambda m: charts.roof(
        recording("in-flight")(m), Shape.of(LLAMA_8B), recorded_limits()
    ),
    "row_time": lambda m: charts.row_time(jobs(m)),
    "saturation": lambda m: charts.saturation(sweep(m)),
    "saturation with a guess": lambda m: charts.saturation(sweep(m), GUESS, rate="rows/s"),
    "saturation recorded": lambda m: charts.saturation(recording("in-flight")(m), GUESS),
    "saturation of two points": lambda m: charts.saturation(sweep(m, [(1, 1), (1, 4)])),
    "speed_ups": lambda m: charts.speed_ups({"here": sweep(m), "H100": recording("in-flight")(m)}),
    "throughput_bars": lambda m: charts.throughput_bars(jobs(m)),
    "timeline": lambda m: charts.timeline(job(m)),
    "timeline of two": lambda m: charts.timeline(
        {f"{n} batches of 16": job(m, batches=n) for n in (1, 4)}, order="start"
    ),
    "timeline recorded": lambda m: charts.timeline(labkit.recorded_timeline("h100-smollm2-135m")),
    "where_time_goes": lambda m: charts.where_time_goes(jobs(m)),
}
#: `make test` draws what is hardest to label; `make test-slow` the rest.
OTHERS = [pytest.param(name, marks=pytest.mark.endurance) for name in machines.MACHINES[:2]]


def test_every_chart_is_here() -> None:
    drawn = {name.split()[0] for name in CHARTS}
    others = {name for name in charts.__all__ if "sentence" in name}
    assert drawn == set(charts.__all__) - others - {"Chart", "png", "provenance"}


def drawn(chart: charts.Chart, monkeypatch: pytest.MonkeyPatch) -> dict[type, list[Any]]:
    """What is really drawn of each kind: an axis keeps more ticks than it shows."""
    found: dict[type, list[Any]] = {Text: [], Line2D: [], LineCollection: []}
    for kind, seen in found.items():
        draw: Any = kind.draw  # type: ignore[attr-defined]

        def note(self: Any, *given: Any, draw: Any = draw, seen: Any = seen, **more: Any) -> None:
            if self.get_visible() and not (isinstance(self, Text) and not self.get_text().strip()):
                seen.append(self)
            draw(self, *given, **more)

        monkeypatch.setattr(kind, "draw", note)
    FigureCanvasAgg(chart.figure).draw()
    monkeypatch.undo()
    return found


def points(line: Any) -> Iterator[np.ndarray]:
    """Points along what is drawn of a line, a marker or the bars of a collection, in pixels."""
    if isinstance(line, LineCollection):
        paths = [
            line.get_transform().transform(np.asarray(segment, dtype=float))
            for segment in line.get_segments()
        ]
    else:
        ends = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        paths = [ends] if line.get_linestyle() not in ("None", "none", "", " ") else []
        if line.get_marker() not in ("None", "none", "", " ", None):
            half = line.get_markersize() / 2 * line.figure.dpi / 72
            yield from (ends + half * np.array(way) for way in _around(line.get_marker()))
    for path in paths:
        for (x0, y0), (x1, y1) in zip(path[:-1], path[1:], strict=True):
            steps = np.linspace(0, 1, 2 + int(np.hypot(x1 - x0, y1 - y0) / 2))[:, None]
            yield np.array([[x0, y0]]) * (1 - steps) + np.array([[x1, y1]]) * steps


def _around(marker: Any) -> list[tuple[float, float]]:
    """The reach of a marker, in halves of its size: a bar's end and a tick are lines."""
    if isinstance(marker, int):
        return [(0, 0)]
    if marker in ("_", "|"):
        along = np.linspace(-1, 1, 9)
        return [(x, 0) if marker == "_" else (0, x) for x in along]
    angles = np.linspace(0, 2 * np.pi, 17)
    return [(0, 0), *zip(np.cos(angles), np.sin(angles), strict=True)]


def inner(text: Text, by: float = 1) -> Bbox:
    return text.get_window_extent().padded(-by)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [*OTHERS, machines.MACHINES[2]])
@pytest.mark.parametrize("name", CHARTS)
def test_no_text_lies_on_anything(name: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = CHARTS[name](machine)
    seen = drawn(chart, monkeypatch)
    texts, picture = seen[Text], chart.figure.bbox
    assert min(text.get_fontsize() for text in texts) >= SMALL
    for text in texts:
        box = text.get_window_extent()
        assert picture.x0 <= box.x0 and box.x1 <= picture.x1, text
        assert picture.y0 <= box.y0 and box.y1 <= picture.y1, text
    for at, one in enumerate(texts):
        for other in texts[at + 1 :]:
            assert not inner(one).overlaps(inner(other)), (one, other)
    boxes = [inner(text) for text in texts]
    for line in (*seen[Line2D], *seen[LineCollection]):
        inside = line.axes.bbox if line.axes is not None and line.get_clip_on() else picture
        for some in points(line):
            some = some[inside.x0 <= some[:, 0]]
            for text, box in zip(texts, boxes, strict=True):
                x, y = some[:, 0], some[:, 1]
                on = (box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)
                on &= (y <= inside.y1) & (x <= inside.x1) & (inside.y0 <= y)
                assert not on.any(), (text, line, line.get_label())
    for text in texts:
        text.set_alpha(0)
    canvas = FigureCanvasAgg(chart.figure)
    canvas.draw()
    behind = np.asarray(canvas.buffer_rgba())[..., :3]
    for text, box in zip(texts, boxes, strict=True):
        rows = slice(int(behind.shape[0] - box.y1), int(behind.shape[0] - box.y0))
        part = behind[rows, int(box.x0) : int(box.x1)].reshape(-1, 3)
        for color in np.unique(part, axis=0):
            assert contrast(to_rgb(text.get_color()), color / 255) >= CONTRAST, (text, color)


@pytest.mark.parametrize("machine", [*OTHERS, machines.MACHINES[2]])
def test_the_best_point_and_the_first_are_labelled(machine: str) -> None:
    for draw in (sweep, recording("in-flight")):
        rates = draw(machine).summary().groupby("rows_in_flight")["output tokens/s"].max()
        texts = [text.get_text() for text in charts.saturation(draw(machine)).axes[0].texts]
        for rate in (rates.max(), rates.iloc[0]):
            assert any(text.startswith(charts.sweep_charts.shown(rate)) for text in texts), texts
