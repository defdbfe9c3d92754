"""labkit.run: what it refuses before an engine starts, and two real jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

import labkit
from labkit import metrics
from labkit.engines import dispatch
from labkit.errors import CannotSchedule, JobFailed, LabError
from labkit.results.job import collect
from labkit.rows import responses
from labkit.rows.responses import Answered
from labkit.tasks import faq
from tests.conftest import BAD_TEXTS

ROWS = [{"question": "Why?"}]


def test_the_default_machine_fits_the_ray_of_the_tests(local_ray: Any, smollm2: Any) -> None:
    assert labkit.configure(smollm2)["model_source"] == smollm2.source


# --- refused before anything starts --------------------------------------------------------------


@pytest.fixture
def no_engine(local_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job must be refused before its stages are built."""
    monkeypatch.setattr(dispatch, "answer", None)


@pytest.fixture
def spec(smollm2: Any) -> Any:
    return labkit.configure(smollm2)


@pytest.mark.parametrize("data", [[], (), pd.DataFrame(), pd.DataFrame({"question": []})])
def test_no_rows(data: Any, spec: Any, no_engine: None) -> None:
    with pytest.raises(LabError, match="no rows"):
        labkit.run(faq(), data, spec, progress=False)


@pytest.mark.parametrize(
    ("row", "kind"), [("Why?", "str"), (None, "NoneType"), (["q"], "list"), (3, "int")]
)
def test_a_row_that_is_no_dict_is_named(row: Any, kind: str, spec: Any, no_engine: None) -> None:
    with pytest.raises(LabError, match=f"Row 2 is {kind}, not a dict"):
        labkit.run(faq(), [*ROWS, *ROWS, row], spec, progress=False)


@pytest.mark.parametrize(
    ("columns", "options", "named"),
    [
        ({"answer": 1}, {}, "answer"),
        ({"error": 1}, {}, "error"),
        ({"reply": 1}, {"into": "reply"}, "reply"),
    ],
)
def test_a_column_of_the_same_name(
    columns: dict[str, Any], options: Any, named: str, spec: Any, no_engine: None
) -> None:
    rows = [*ROWS, {"question": "Who?", **columns}]  # one row that has it is enough
    for data in (rows, pd.DataFrame(rows)):
        with pytest.raises(LabError, match=f"already has a column '{named}'.*into="):
            labkit.run(faq(), data, spec, progress=False, **options)


def test_a_dataset_with_a_column_of_the_same_name(spec: Any, no_engine: None) -> None:
    import ray.data

    data = ray.data.from_items([{"question": "?", "answer": 1}])
    with pytest.raises(LabError, match="already has a column 'answer'"):
        labkit.run(faq(), data, spec, progress=False)


def test_two_columns_of_one_name(spec: Any, no_engine: None) -> None:
    data = pd.DataFrame([["Why?", "Who?"]], columns=["question", "question"])
    with pytest.raises(LabError, match="two columns.*'question'"):
        labkit.run(faq(), data, spec, progress=False)


def test_a_job_that_does_not_fit_the_cluster_is_refused_at_once(
    local_ray: Any, smollm2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit.ray_session import capacity

    monkeypatch.setattr(capacity, "_busy", lambda bundles: pytest.fail("it waits for room"))
    small = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    many = labkit.configure(smollm2, replicas=9, environment=small)
    with pytest.raises(CannotSchedule, match="1 CPU on one node"):
        labkit.run(faq(), ROWS, many, progress=False)


def test_a_refused_job_leaves_ray_data_as_it_was(local_ray: Any, spec: Any) -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    before = (context.enable_progress_bars, list(context.issue_detectors_config.detectors))
    for data in ([], [1]):
        with pytest.raises(LabError):
            labkit.run(faq(), data, spec, progress=False)
    after = (context.enable_progress_bars, list(context.issue_detectors_config.detectors))
    assert after == before
    assert logging.root.manager.disable == logging.NOTSET


def test_no_engine_is_started_for_rows_that_can_not_be_asked(spec: Any, no_engine: None) -> None:
    job = labkit.run(faq(), [{"question": None}, {"question": " "}], spec, progress=False)
    assert job.answers.empty and list(job.failed.index) == [0, 1]
    assert (job.metrics.rows, job.metrics.failed) == (0, 2)
    assert "rows failed" in job._repr_html_()


# --- parts ---------------------------------------------------------------------------------------


def engine_rows(count: int, at: Sequence[int] | None = None, errors: Any = None) -> Answered:
    """Finished rows: those with the numbers `at`, or all of `count`."""
    at = list(range(count)) if at is None else list(at)
    errors = errors or [None] * len(at)
    made = [
        {
            **{"row_id": n, "text": f"a{n}", "error": error, "batch_uuid": "b"},
            **dict.fromkeys(responses.TIMES, float(n)),
            **{"last_token_ts": n + 1.0, "num_input_tokens": 1, "num_generated_tokens": 1},
        }
        for n, error in zip(at, errors, strict=True)
    ]
    return Answered(responses.table(made), [f"a{n}" for n in at])


@pytest.mark.parametrize("keep", [[0, 1], [0, 1, 1], [0, 1, 2, 2]])
def test_rows_that_are_lost_or_doubled_are_never_passed_on(keep: list[int], spec: Any) -> None:
    table = engine_rows(3, keep)
    data = [{"n": n} for n in range(3)]
    with pytest.raises(JobFailed, match=f"3 rows went in, {len(keep)} came out"):
        collect([table], data, None, "answer", spec, 0.0, 100.0)


@pytest.mark.parametrize("tables", [[], [engine_rows(0)]])
def test_an_empty_dataset_is_said_to_be_empty(tables: list[Any], spec: Any) -> None:
    with pytest.raises(LabError, match="no rows"):
        collect(tables, None, None, "answer", spec, 0.0, 100.0)


def test_answers_keep_any_index(spec: Any) -> None:
    """An index with repeats, as after a concat, must neither mix nor multiply rows."""
    frame = pd.DataFrame({"n": [10, 11, 12]}, index=["a", "a", "b"])
    rows = frame.to_dict("records")
    job = collect([engine_rows(3)], rows, frame, "answer", spec, 0.0, 100.0)
    assert list(job.answers.index) == ["a", "a", "b"]
    assert list(job.answers["n"]) == [10, 11, 12]
    assert list(job.answers["answer"]) == ["a0", "a1", "a2"]
    assert list(frame.columns) == ["n"]


# --- a real job over hard rows -------------------------------------------------------------------


@pytest.mark.engine
def test_every_row_comes_back_once(faq_job: Any) -> None:
    job, rows = faq_job.job, faq_job.before
    good, failed = set(job.answers["id"]), set(job.failed["id"])
    assert len(job.answers) + len(job.failed) == len(rows) == 40
    assert good | failed == set(rows["id"])
    assert not good & failed


@pytest.mark.engine
def test_answers_are_in_input_order_with_the_index_kept(faq_job: Any) -> None:
    job, rows = faq_job.job, faq_job.before
    assert list(job.answers["id"]) == sorted(job.answers["id"])
    assert list(job.failed["id"]) == sorted(job.failed["id"])
    for frame in (job.answers, job.failed):
        assert frame.index.name == "ticket"
        assert list(rows.loc[frame.index, "id"]) == list(frame["id"])


@pytest.mark.engine
def test_just_the_bad_rows_failed_each_with_its_reason(faq_job: Any) -> None:
    failed = faq_job.job.failed.set_index("kind")["error"]
    assert set(failed.index) == BAD_TEXTS
    assert "is missing" in failed["none"] and "int, not text" in failed["number"]
    assert failed["empty"] == failed["blank"] == "ValueError: column 'question' is empty"
    assert "maximum" in failed["too long"] and "2048" in failed["too long"]
    assert not failed.str.contains("\n").any()


@pytest.mark.engine
def test_answers_are_text(faq_job: Any) -> None:
    replies = faq_job.job.answers["reply"]
    assert all(isinstance(reply, str) and reply == reply.strip() for reply in replies)
    assert (replies.str.len() > 0).mean() > 0.9
    assert list(faq_job.job.answers.columns) == [*faq_job.before.columns, "reply"]
    assert list(faq_job.job.failed.columns) == [*faq_job.before.columns, "error"]


@pytest.mark.engine
def test_columns_of_the_user_come_back_as_they_were(faq_job: Any) -> None:
    """Names that Ray uses itself, lists, categories, small integers, times: values and types."""
    job, rows = faq_job.job, faq_job.before
    for frame, added in ((job.answers, "reply"), (job.failed, "error")):
        pd.testing.assert_frame_equal(frame.drop(columns=added), rows.loc[frame.index])
    messages = job.answers["messages"].iloc[3]
    assert type(messages) is list and type(job.answers["metrics"].iloc[3]) is tuple


@pytest.mark.engine
def test_the_frame_given_is_not_changed(faq_job: Any) -> None:
    pd.testing.assert_frame_equal(faq_job.frame, faq_job.before)


@pytest.mark.engine
def test_metrics_agree_with_the_rows(faq_job: Any) -> None:
    job = faq_job.job
    found, good = job.metrics, job.rows.dropna(subset=["last_token_ts"])
    assert (found.rows, found.failed) == (len(job.answers), len(job.failed))
    assert found.output_tokens == good["num_generated_tokens"].sum() <= 12 * found.rows
    assert found.input_tokens == good["num_input_tokens"].sum()
    again = metrics.compute(job.rows, job.started, job.started + found.wall_s).as_dict()
    assert found.as_dict() == pytest.approx(again, nan_ok=True, rel=1e-12)
    assert 0 < found.startup_s < found.wall_s and 0 < found.engine_span_s < found.wall_s
    assert 0 <= found.shutdown_s < found.wall_s
    assert 0 < found.ttft_p50_s <= found.latency_p50_s <= found.latency_p95_s
    assert list(job.rows.columns) == [*metrics.ROW_COLUMNS, "finish_reason", "num_cached_tokens"]
    assert list(job.rows.index) == list(range(40))
    bad = faq_job.before["kind"].isin(BAD_TEXTS).to_numpy()
    assert list(job.rows["last_token_ts"].isna()) == list(bad)


@pytest.mark.engine
def test_timestamps_of_a_row_are_in_order(faq_job: Any) -> None:
    times = faq_job.job.timeline()
    assert len(times) == len(faq_job.job.answers)
    order = ["queued_s", "scheduled_s", "first_token_s", "last_token_s"]
    assert (times[order].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert times["queued_s"].min() > 0
    assert times["last_token_s"].max() <= faq_job.job.metrics.wall_s


@pytest.mark.engine
def test_rows_in_flight_keep_to_the_specification(faq_job: Any) -> None:
    assert faq_job.spec.rows_in_flight == 12
    assert 1 < faq_job.job.metrics.peak_rows_in_flight <= 12
    assert faq_job.job.rows["batch_uuid"].value_counts().max() <= 4


@pytest.mark.engine
def test_settings_of_ray_data_and_logging_are_restored(faq_job: Any) -> None:
    assert faq_job.settings_after == faq_job.settings_before


@pytest.mark.engine
def test_a_job_remembers_its_specification_and_shows_its_numbers(faq_job: Any) -> None:
    assert faq_job.job.spec is faq_job.spec
    html = faq_job.job._repr_html_()
    assert "output tokens/s" in html and "engine span" in html


@pytest.mark.engine
def test_the_cluster_is_free_again(faq_job: Any, local_ray: Any) -> None:
    deadline = time.monotonic() + 30
    while local_ray.available_resources().get("CPU", 0) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert local_ray.available_resources()["CPU"] == 4


# --- a real job over a Ray Dataset ---------------------------------------------------------------


@pytest.mark.engine
def test_a_dataset_comes_back_in_order(dataset_job: Any) -> None:
    job = dataset_job.job
    assert list(job.answers["n"]) == [n for n in range(24) if n != 7]
    assert list(job.answers.columns) == ["n", "text", "length", "answer"]
    assert list(job.answers["text"]) == [f"Say {n}." for n in job.answers["n"]]


@pytest.mark.engine
def test_each_row_of_a_dataset_has_its_own_answer(dataset_job: Any) -> None:
    answers = dataset_job.job.answers
    assert [answer["n"] for answer in answers["answer"]] == list(answers["n"])
    assert all(isinstance(answer["text"], str) for answer in answers["answer"])


@pytest.mark.engine
def test_an_answer_that_can_not_be_read_is_a_failed_row(dataset_job: Any) -> None:
    (failed,) = dataset_job.job.failed.to_dict("records")
    assert failed["n"] == 7
    assert failed["error"] == "the answer could not be read: ValueError: seven is not"
    found = dataset_job.job.metrics
    assert (found.rows, found.failed) == (23, 1)


@pytest.mark.engine
def test_each_row_of_a_dataset_has_its_own_sampling(dataset_job: Any) -> None:
    """`max_tokens` comes from a column, another number in each row."""
    made = list(dataset_job.job.rows["num_generated_tokens"])
    assert made == [2 + n % 5 for n in range(24)]
    assert set(dataset_job.job.rows["finish_reason"]) == {"length"}, "each was cut at its limit"
    assert dataset_job.job.metrics.cut == 24


# --- an engine that can't start ------------------------------------------------------------------


@pytest.mark.engine
@pytest.mark.endurance
def test_an_engine_that_can_not_start_fails_with_its_reason(local_ray: Any, tiny: Any) -> None:
    spec = labkit.configure(tiny, engine={"max_model_len": 999_999})
    began = time.monotonic()
    with pytest.raises(JobFailed, match="max_model_len|999999") as caught:
        labkit.run(faq(), ROWS, spec, progress=False)
    assert time.monotonic() - began < 120
    assert "labkit doctor" in str(caught.value) and "\n" not in str(caught.value)
