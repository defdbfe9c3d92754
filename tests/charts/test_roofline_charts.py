"""Sweeps side by side, and under the limits of their device."""

from __future__ import annotations

import pytest

import labkit
from labkit.charts import roofline_charts
from labkit.results.recordings import recorded_limits
from labkit.results.sweep_result import Sweep
from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.roofline import Limits, bound
from tests.charts.test_job_charts import words
from tests.results.test_sweep_result import CURVE, measured

SHAPE = Shape(1e6, 0, 100, 50, 1, 1)
LIMITS = Limits("card", 1e8, 1e9)


def test_speed_ups_start_at_one_and_name_each_machine() -> None:
    recorded = labkit.recorded("h100-smollm2-135m-in-flight")
    figure = roofline_charts.speed_ups({"here": measured(CURVE), "there": recorded})
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert lines["here"] == pytest.approx([1, 40 / 11, 95 / 11, 104 / 11])
    assert lines["there"][0] == 1 and lines["perfect scaling"] == [1, 1024]
    text = words(figure)
    assert "Measured on 2 CPU cores" in text and "Recorded" in text
    assert "9.5×" in text and "82×" in text and "here: best 9.5× with 64 in flight" in figure.alt
    assert "mean 41 input and 128 output tokens a row" in " ".join(text.split())


def test_the_roof_is_drawn_over_the_measurement() -> None:
    figure = roofline_charts.roof(measured(CURVE), SHAPE, LIMITS)
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    context = 20 + 10 / 2  # the prompt and half of the answer
    for at, rows in enumerate((1, 4, 16, 64)):
        low = min(lines["limit of reading"][at], lines["limit of multiplying"][at])
        assert low == pytest.approx(bound(SHAPE, LIMITS, rows, context))
    assert "limits measured on card" in words(figure)
    assert f"{11 / lines['limit of reading'][0]:.0%}" in words(figure)


@pytest.mark.parametrize("limit", [1, 4, 48, 64, 1000])
def test_rows_that_wait_do_not_raise_the_roof(limit: int) -> None:
    sweep = measured({(1, 1): [1], (4, 1): [1], (16, 4): [1], (256, 4): [1]})
    about = {**sweep.provenance, "settings": {"vllm max_num_seqs": limit}}
    _, bounds = roofline_charts._bounds(Sweep(sweep.table, about), SHAPE, LIMITS)
    expected = [bound(SHAPE, LIMITS, min(rows, limit), 25) for rows in (1, 4, 64, 1024)]
    assert bounds[["read", "work"]].min(axis=1).tolist() == pytest.approx(expected)


def test_the_sentence_names_the_limit_that_counts() -> None:
    text = roofline_charts.roof_sentence(measured({(1, 1): [50], (16, 4): [400]}), SHAPE, LIMITS)
    assert "With 1 in flight the limit is reading" in text
    assert "With 64 in flight the limit is multiplying" in text


def test_no_recorded_run_is_faster_than_its_device_allows() -> None:
    sweep = labkit.recorded("h100-llama-3.1-8b-shape-in-flight")
    points, bounds = roofline_charts._bounds(sweep, Shape.of(LLAMA_8B), recorded_limits())
    assert bounds["share"].between(0.2, 1).all()
    assert points["rows_in_flight"].tolist() == [1, 4, 16, 64, 256, 1024]
