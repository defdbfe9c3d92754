"""The charts of sweeps show the numbers of the sweep, and say on what they were measured."""

from __future__ import annotations

from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest

from labkit.charts import style, sweep_charts
from labkit.results.sweep_result import Sweep
from tests.charts.test_job_charts import words
from tests.results.test_sweep_result import CURVE, measured

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures() -> Any:
    yield
    plt.close("all")


def test_saturation_shows_the_rates_the_choice_and_the_limit() -> None:
    figure = sweep_charts.saturation(measured(CURVE | {(16, 4): [104, 104]}))
    text = words(figure)
    assert all(number in text for number in ("11", "40", "95", "104"))
    assert "our choice: 16 × 4" in text and "95% of the best" in text
    assert "max_num_seqs 64" in text and "Measured on 2 CPU cores · tiny" in text
    assert "guess" not in text
    bars = figure.axes[0].containers[0]
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (10, 12)  # the range of the first point's runs


def test_the_guess_is_drawn_at_the_scale_of_its_first_point() -> None:
    axes = sweep_charts.saturation(measured(CURVE), {1: 2, 4: 4, 64: 20}).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "guess"]
    assert list(line.get_xdata()) == [1, 4, 64]
    assert list(line.get_ydata()) == [11, 22, 110]


def test_a_guess_whose_first_point_is_not_measured_meets_the_curve_at_the_next() -> None:
    axes = sweep_charts.saturation(measured(CURVE), {2: 1, 4: 2, 64: 8}).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "guess"]
    assert list(line.get_ydata()) == [20, 40, 160]


@pytest.mark.parametrize("guess", [{}, {4: 0}, {1: 1}, {999: 5}])
def test_odd_guesses_are_drawn_without_an_error(guess: dict[int, float]) -> None:
    assert sweep_charts.saturation(measured({(1, 4): [40]}), guess).axes


def test_points_with_the_same_rows_in_flight_are_one_the_fastest() -> None:
    text = words(sweep_charts.saturation(measured({(1, 4): [40], (4, 1): [55], (2, 2): [50]})))
    assert "55" in text and "40" not in text.replace("max_num", "")


def test_batch_sizes_has_a_line_a_product() -> None:
    sweep = measured({(1, 16): [90], (4, 4): [95], (16, 1): [70], (1, 4): [40], (4, 1): [38]})
    figure = sweep_charts.batch_sizes(sweep)
    assert "16 in flight" in words(figure) and "4 in flight" in words(figure)
    tails = [list(line.get_ydata()) for line in figure.axes[1].lines]
    assert tails == [[0.1, 0.4], [0.1, 0.4, 1.6]]
    said = sweep_charts.batch_sizes_sentence(sweep)
    assert "With 16 rows in flight: 70 output tokens/s at batch size 16, 95 at 4" in said
    assert "tail 0.1 s at 1, 0.4 s at 4, 1.6 s at 16" in said


def test_no_chart_claims_a_choice_that_one_run_can_not_tell() -> None:
    for draw in (sweep_charts.saturation, sweep_charts.heat_map):
        text = words(draw(measured({(1, 1): [10], (4, 4): [100], (4, 8): [104]})))
        assert "fewest within noise" in text and "our choice" not in text
        assert "4 × 4" in text or "100 ◀" in text
        assert "our choice" in words(draw(measured({(1, 1): [10], (4, 4): [100]})))


def test_the_heat_map_has_a_field_a_pair_and_marks_the_choice() -> None:
    text = words(sweep_charts.heat_map(measured({(1, 1): [10], (4, 1): [40], (4, 4): [100]})))
    assert "10\n1 in flight" in text and "100 ◀\n16 in flight" in text
    assert "–" in text  # the pair that was not measured


def test_a_prediction_alone_says_that_nothing_is_measured() -> None:
    text = words(sweep_charts.prediction({4: 2, 16: 6}))
    assert "1×" in text and "3×" in text and "nothing is measured yet" in text


def test_a_sweep_without_a_limit_is_drawn() -> None:
    sweep = measured(CURVE)
    bare = Sweep(sweep.table, {**sweep.provenance, "settings": {}})
    assert "max_num_seqs" not in words(sweep_charts.saturation(bare))


def test_a_picture_is_drawn_apart_from_pyplot() -> None:
    before = plt.get_fignums()
    picture = style.png(sweep_charts.saturation, measured(CURVE), {})
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000
    assert plt.get_fignums() == before
