"""Charts of rows over time: what is marked, and the numbers behind them."""

from __future__ import annotations

import numpy as np
import pytest

from labkit import charts, metrics
from labkit.charts import row_charts, style
from tests.charts import machines
from tests.charts.test_job_charts import a_job, words

pytestmark = pytest.mark.slow  # drawing takes a quarter of a second a picture


def test_in_flight_marks_the_limit() -> None:
    assert "limit 32" in words(charts.in_flight(a_job()))


@pytest.mark.parametrize("seqs", [8, 32])
def test_a_line_at_max_num_seqs_has_its_name(seqs: int) -> None:
    """In the legend, or beside the limit where both are one line."""
    chart = charts.in_flight(machines.job("fast", batch_size=8, seqs=seqs))
    assert f"max_num_seqs {seqs}" in words(chart)
    assert ("limit 32, max_num_seqs 32" in words(chart)) == (seqs == 32)


def test_next_to_no_wait_is_none() -> None:
    assert [row_charts._seconds(s) for s in (4.74e-05, 0.0, 0.115, 3.2)] == [
        "0 s", "0 s", "0.115 s", "3.20 s",
    ]  # fmt: skip


def test_the_parts_of_a_row_in_the_middle_add_up() -> None:
    job = machines.job("fast")
    times = job.timeline()
    parts = metrics.middle_row(times)
    latency = times["last_token_s"] - times["queued_s"]
    assert parts.sum() == pytest.approx(latency.median(), rel=0.1)
    chart = charts.row_time({"here": job})
    first = parts["waiting"] + parts["prefill"]
    assert f"TTFT {first:.3g} s" in chart.alt and "TTFT" in words(chart)
    (line,) = [line for line in chart.axes[0].lines if line.get_color() == style.ACCENT]
    assert line.get_xdata()[0] == pytest.approx(first)


def test_a_server_tells_no_first_token() -> None:
    job = machines.job("fast")
    times = job.timeline().assign(first_token_s=np.nan)
    job.timeline = lambda: times
    assert "prefill and decode" in charts.row_time({"a server": job}).alt
    assert charts.in_flight(job).axes and charts.timeline(job).axes
