"""labkit.partial: what a stopped job has finished, and nothing else."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import labkit
from labkit import charts
from labkit.datasets.csv_table import frame, series
from labkit.errors import LabError
from labkit.results import job as jobs
from labkit.rows.responses import Answered
from tests.api.test_run_job import engine_rows


@pytest.fixture
def spec(smollm2: Any) -> Any:
    return labkit.configure(smollm2)


def stop(tables: list[Any], inputs: Any, frame: Any, spec: Any) -> Any:
    jobs.keep(tables, inputs, frame, "answer", spec, 100.0)
    return labkit.partial()


def test_a_job_that_was_not_stopped_has_none(spec: Any) -> None:
    stop([], [{"n": 1}], None, spec)
    jobs.forget()
    with pytest.raises(LabError, match="no partial result"):
        labkit.partial()


def test_finished_rows_and_only_these(spec: Any) -> None:
    """An index with repeats, rows that came in another order, a row that failed."""
    frame = pd.DataFrame({"n": range(10, 16)}, index=list("aabbcc"))
    some = engine_rows(6, [4, 1, 3], [None, "bad", None])
    job = stop([some], frame.to_dict("records"), frame, spec)
    assert list(job.answers["n"]) == [13, 14] and list(job.answers.index) == ["b", "c"]
    assert list(job.answers["answer"]) == ["a3", "a4"]
    assert job.failed.to_dict("records") == [{"n": 11, "error": "bad"}]
    assert (job.missing, len(job.rows), job.metrics.rows, job.metrics.failed) == (3, 3, 2, 1)
    assert list(job.rows.index) == [1, 3, 4]
    assert "partial: 3 of 6 rows" in job._repr_html_()
    assert list(frame.columns) == ["n"] and len(frame) == 6


def test_a_job_stopped_before_its_first_row(spec: Any) -> None:
    job = stop([], [{"n": n} for n in range(1000)], None, spec)
    assert (len(job.answers), len(job.failed), job.missing) == (0, 0, 1000)
    assert list(job.answers.columns) == ["n", "answer"] and list(job.failed) == ["n", "error"]
    assert "partial: 0 of 1,000 rows" in job._repr_html_()


def test_a_dataset_of_unknown_length(spec: Any) -> None:
    rows = [{"n": n} for n in range(3)]
    some = engine_rows(3)
    tables = [engine_rows(0), Answered(some.table, some.answers, rows)]
    jobs.keep(tables, None, None, "answer", spec, 100.0)
    job = labkit.partial()
    assert list(job.answers["n"]) == [0, 1, 2] and job.missing is None
    assert "partial: 3 rows" in job._repr_html_()


def test_rows_that_came_twice_are_never_passed_on(spec: Any) -> None:
    with pytest.raises(labkit.JobFailed, match="came out"):
        stop([engine_rows(2), engine_rows(1)], [{"n": n} for n in range(5)], None, spec)


def test_answers_that_can_not_be_read_are_no_answers_in_any_rate(spec: Any) -> None:
    table = engine_rows(10, errors=[None, "unreadable"] * 5)
    job = jobs.collect([table], [{"n": n} for n in range(10)], None, "answer", spec, 0.0, 99.0)
    found = job.metrics
    assert (found.rows, found.failed, found.output_tokens) == (5, 5, 10)
    assert found.rows_per_s == pytest.approx(5 / found.engine_span_s)
    assert "mean 1 input and 1 output tokens a row" in charts.provenance(job)


def test_a_whole_job_says_nothing_of_parts(spec: Any) -> None:
    job = jobs.collect([engine_rows(2)], [{"n": 1}] * 2, None, "answer", spec, 0.0, 9.0)
    assert job.missing == 0 and "partial" not in job._repr_html_()


def test_rows_keep_the_names_of_their_columns() -> None:
    """pandas would make NaN of None."""
    found = frame([{None: 1, "a": 2}, {"a": 3, ("b", 4): 5}])
    assert [*found.columns] == [None, "a", ("b", 4)] and list(found["a"]) == [2, 3]


numbers = st.integers(-(2**65), 2**65) | st.integers(-9, 9) | st.floats() | st.complex_numbers()


@given(st.lists(st.none() | st.booleans() | numbers, min_size=1, max_size=5))
@example([9007199254740993, None])
@example([9007199254740993, float("nan")])
@example([9007199254740993, 0.5])
@example([2**63 + 1, None, -1])
def test_no_number_is_changed_by_what_stands_beside_it(values: list[Any]) -> None:
    """pandas makes floats of whole numbers beside a null, and these hold 53 bits."""
    rows = [{"other": 1} if value is None else {"n": value, "other": 1} for value in values]
    found = frame(rows)
    for back in (series(values), frame([{"n": value} for value in values])["n"], found.get("n")):
        for one, value in zip([] if back is None else back, values, strict=back is not None):
            assert pd.isna(one) if value is None or value != value else one == value
    whole = [value for value in values if type(value) is int and abs(value) < 2**63]
    if 0 < len(whole) == len(values) - values.count(None) < len(values):
        assert series(values).dtype == "Int64"


def test_answers_of_64_bits_are_exact_when_some_are_null(spec: Any) -> None:
    some = engine_rows(3, errors=[None, "bad", None])
    some = Answered(some.table, [2**53 + 1, None, None])
    inputs = [{"id": 2**62 + 1}, {"id": None}, {"id": 3}]
    job = jobs.collect([some], inputs, None, "answer", spec, 0.0, 9.0)
    assert job.answers["id"].tolist() == [2**62 + 1, 3]
    assert job.answers["answer"].tolist()[0] == 2**53 + 1
