"""The timeline: a bar for each row, its stragglers, and who takes whose place."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib
import pytest

from labkit import charts, metrics
from labkit.charts import style
from labkit.errors import LabError
from tests.charts import machines
from tests.charts.test_job_charts import a_job, words

pytestmark = pytest.mark.slow  # drawing takes a quarter of a second a picture


def test_timeline_has_a_bar_a_row_and_marks_the_stragglers() -> None:
    job = a_job(rows=32)
    figure = charts.timeline(job, rows=16)
    decode = figure.axes[0].containers[2]
    assert len(decode) == 16
    red = [bar for bar in decode if matplotlib.colors.to_hex(bar.get_facecolor()) == style.ACCENT]
    assert len(red) == 2  # one long row in each of the first two batches
    assert "16 rows, 2 batches" in words(figure) and "2 of 16 rows hold" in words(figure)
    assert "last quarter of its batch's time" in words(figure)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 4, 8, 12, 16, 20, 64])
def test_stragglers_are_those_of_whole_batches_however_many_rows_are_shown(rows: int) -> None:
    """The fourth row of every first batch is late beside those before it, but half come later."""
    job = a_job(rows=64)
    times = job.timeline().sort_index()
    times["last_token_s"] = times["queued_s"] + [1, 1, 1, 4, 10, 10, 10, 10, *[1] * 7, 10] * 4
    shown = SimpleNamespace(metrics=job.metrics, spec=job.spec, timeline=lambda: times)
    bars = charts.timeline(shown, rows=rows).axes[0].containers[2]
    red = [matplotlib.colors.to_hex(bar.get_facecolor()) == style.ACCENT for bar in bars]
    assert red == ([False] * 15 + [True]) * (rows // 16) + [False] * (rows % 16)


def test_rows_are_waiting_in_prefill_or_decoding() -> None:
    job = machines.job("noisy")
    counts, m = metrics.in_phases(job.timeline()), job.metrics
    assert counts.sum(axis=1).max() == m.peak_rows_in_flight and (counts >= 0).all().all()
    assert counts[["decoding", "in prefill"]].sum(axis=1).max() == job.spec["max_num_seqs"]
    assert counts.iloc[-1].sum() == 0
    chart = charts.in_flight({"a": job, "b": machines.job("noisy", batches=2)})
    text = words(chart)
    assert "a: rows in flight" in text and "b: output tokens/s" in text and "limit 32" in text
    one, other = chart.axes[0], chart.axes[2]
    assert one.get_xlim() == other.get_xlim() and one.get_ylim() == other.get_ylim()


def test_a_row_takes_a_place_only_where_others_go_on() -> None:
    times = machines.job("slow", rows=64, batch_size=32, batches=1, seqs=32).timeline()
    assert not metrics.takes_a_place(times).any()
    times = machines.job("slow", rows=64, batch_size=1, batches=32, seqs=32).timeline()
    assert metrics.takes_a_place(times).sum() == 32


def test_timelines_of_two_jobs_have_one_axis() -> None:
    jobs = {name: machines.job("slow", batches=n) for name, n in (("one", 1), ("two", 2))}
    chart = charts.timeline(jobs, rows=32, order="start")
    first, second = chart.axes
    assert first.get_xlim() == second.get_xlim()
    assert "one" in words(chart) and "two: 32 rows" in chart.alt
    assert "None of 64 rows takes the place of one that has ended" in words(chart)
    with pytest.raises(LabError, match="order must be one of 'batch', 'start'"):
        charts.timeline(jobs, order="end")
    with pytest.raises(LabError, match="no job"):
        charts.timeline({})


def test_batches_and_stragglers() -> None:
    times = a_job(rows=16).timeline()
    table = metrics.batches(times)
    assert table["rows"].tolist() == [8, 8]
    assert table["span_s"].tolist() == pytest.approx([10.0, 10.0])
    assert (table["waiting"] > 0.5).all()
    assert metrics.stragglers(times).sum() == 2
