"""Charts over batch sizes: a line a limit, and a map."""

from __future__ import annotations

import pytest

from labkit.charts import batch_size_charts
from tests.charts.test_job_charts import words
from tests.results.test_sweep_result import measured

pytestmark = pytest.mark.slow  # drawing takes a quarter of a second a picture


def test_batch_sizes_has_a_line_a_product() -> None:
    sweep = measured({(1, 16): [90], (4, 4): [95], (16, 1): [70], (1, 4): [40], (4, 1): [38]})
    figure = batch_size_charts.batch_sizes(sweep)
    assert "16 in flight" in words(figure) and "4 in flight" in words(figure)
    means = [list(line.get_ydata()) for line in figure.axes[1].lines]
    assert means == [pytest.approx(y) for y in ([3.6] * 2, [4, 4], [14.4] * 3, [16, 16])]
    said = batch_size_charts.batch_sizes_sentence(sweep)
    assert "With at most 16 rows in flight: 70 output tokens/s at batch size 16, 95 at 4" in said
    assert "mean rows in flight 14 at 1, 14 at 4, 14 at 16" in said and said in figure.alt
    assert "7 rows/s at batch size 16, 9.50 at 4" in batch_size_charts.batch_sizes_sentence(
        sweep, rate="rows/s"
    )


def test_the_heat_map_has_a_field_a_pair_and_marks_the_choice() -> None:
    sweep = measured({(1, 1): [10], (4, 1): [40], (4, 4): [100]})
    text = words(batch_size_charts.heat_map(sweep))
    assert "10\n1 in flight" in text and "100 ◀\n16 in flight" in text
    assert "–" in text  # the pair that was not measured
