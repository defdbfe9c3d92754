"""The charts of sweeps show the numbers of the sweep, and say on what they were measured."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pytest

from labkit import charts
from labkit.charts import style, sweep_charts
from labkit.errors import LabError
from labkit.results.sweep_result import Sweep
from tests.charts.test_job_charts import words
from tests.results.test_sweep_result import CURVE, measured

pytestmark = pytest.mark.slow  # drawing takes a quarter of a second a picture


def test_saturation_shows_the_rates_the_choice_and_the_limit() -> None:
    figure = sweep_charts.saturation(measured(CURVE | {(16, 4): [104, 104]}))
    text = words(figure)
    assert all(number in text for number in ("11", "40", "95", "104"))
    assert "our choice: 16 × 4" in text and "95% of the best" in text
    assert "max_num_seqs 64" in text and "Measured on 2 CPU cores · tiny" in text
    assert "your guess" not in text
    bars = figure.axes[0].containers[0]
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (10, 12)  # the range of the first point's runs


def test_the_guess_is_drawn_at_the_scale_of_its_first_point() -> None:
    axes = sweep_charts.saturation(measured(CURVE), {1: 2, 4: 4, 64: 20}).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "your guess"]
    assert list(line.get_xdata()) == [1, 4, 64]
    assert list(line.get_ydata()) == [11, 22, 110]


def test_a_guess_whose_first_point_is_not_measured_meets_the_curve_at_the_next() -> None:
    axes = sweep_charts.saturation(measured(CURVE), {2: 1, 4: 2, 64: 8}).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "your guess"]
    assert list(line.get_ydata()) == [20, 40, 160]


@pytest.mark.slow
@pytest.mark.parametrize("guess", [{}, {4: 0}, {1: 1}, {999: 5}, {1: 1, 4: None}])
def test_odd_guesses_are_drawn_without_an_error(guess: dict[int, Any]) -> None:
    assert sweep_charts.saturation(measured({(1, 4): [40]}), guess).axes


def test_points_with_the_same_rows_in_flight_are_one_the_fastest() -> None:
    axes = sweep_charts.saturation(measured({(1, 4): [40], (4, 1): [55], (2, 2): [50]})).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "measured"]
    assert list(line.get_ydata()) == [55]


def test_perfect_scaling_is_n_times_the_first_point_up_to_max_num_seqs() -> None:
    sweep = measured({(1, 1): [10], (4, 4): [100], (64, 4): [200]})
    chart = sweep_charts.saturation(sweep)
    (line,) = [one for one in chart.axes[0].lines if "perfect" in one.get_label()]
    ideal = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert ideal[1] == pytest.approx(10) and max(ideal.values()) == pytest.approx(640)
    assert "100 with 16 in flight (62% of perfect scaling" in chart.alt
    assert "200 with 256 in flight (31% of perfect scaling" in chart.alt
    assert chart.axes[0].get_ylim()[1] == pytest.approx(1.3 * 200)


def test_short_answers_are_drawn_in_rows_a_second() -> None:
    chart = sweep_charts.saturation(measured(CURVE), rate="rows/s")
    (line,) = [one for one in chart.axes[0].lines if one.get_label() == "measured"]
    assert list(line.get_ydata()) == pytest.approx([1.1, 4, 9.5, 10.4])
    assert "rows/s: 1.10 with 1 in flight" in chart.alt and "tokens/s" not in words(chart)
    for draw in (
        sweep_charts.saturation,
        charts.batch_sizes,
        charts.heat_map,
    ):
        with pytest.raises(LabError, match="rate must be one of 'output tokens/s', 'rows/s'"):
            draw(measured(CURVE), rate="tokens")


def test_a_point_with_one_run_has_no_bar() -> None:
    axes = sweep_charts.saturation(measured({(1, 1): [10], (4, 4): [90, 100]})).axes[0]
    (bars,) = axes.containers
    assert [len(lines.get_segments()) for lines in bars.lines[2]] == [1]
    assert not sweep_charts.saturation(measured({(1, 1): [10], (4, 4): [90]})).axes[0].containers


def test_the_type_that_it_computed_in_is_in_the_small_print() -> None:
    sweep = measured(CURVE)
    settings = {"vllm max_num_seqs": 64, "vllm dtype": "float32"}
    typed = Sweep(sweep.table, {**sweep.provenance, "settings": settings})
    assert "ray 2.60.0 · float32" in words(sweep_charts.saturation(typed))


def test_no_chart_claims_a_choice_that_one_run_can_not_tell() -> None:
    for draw in (sweep_charts.saturation, charts.heat_map):
        text = words(draw(measured({(1, 1): [10], (4, 4): [100], (4, 8): [104]})))
        assert "fewest within noise" in text and "our choice" not in text
        assert "4 × 4" in text or "100 ◀" in text
        assert "our choice" in words(draw(measured({(1, 1): [10], (4, 4): [100]})))


def test_a_guess_that_is_not_made_yet_is_a_question_mark() -> None:
    chart = sweep_charts.prediction({1: 1, 4: None, 16: 0})
    assert words(chart).split("\n").count("?") == 2 and "none for 4, none for 16" in chart.alt
    empty = sweep_charts.prediction({1: None, 4: None})
    assert words(empty).split("\n").count("?") == 2 and "No guess yet" in words(empty)


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
