"""rows.responses: what an engine says of a row, and the answer that is read from it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labkit.metrics import ROW_COLUMNS
from labkit.rows.responses import COUNTS, NO_ANSWER, RESPONSE, TIMES, answered, of_engine, table
from labkit.tasks import Row, Task, ask

GOOD: dict[str, Any] = {
    "text": " hello ",
    "times": {name: 10.0 + at for at, name in enumerate(TIMES)} | {"first_token_latency": 2.0},
    "counts": (5, 6),
    "finish_reason": "stop",
    "batch_uuid": "b",
}


def said(row_id: int = 0, error: str | None = None, **changes: Any) -> Row:
    return of_engine(row_id, error, **{**GOOD, **changes})


def test_the_columns_are_those_of_the_metrics() -> None:
    assert set(ROW_COLUMNS) <= set(RESPONSE.names) and (*TIMES, *COUNTS) == ROW_COLUMNS[:7]


def test_good_and_failed_rows_share_a_schema() -> None:
    for some in ([], [said()], [said(error="bad")], [said(), said(1, error="bad")]):
        assert table(some).schema == RESPONSE


def test_a_failed_row_keeps_its_reason_and_has_no_times() -> None:
    good, failed = table([said(), said(1, error="ValueError: too long \ud83d")]).to_pylist()
    assert (good["error"], failed["error"]) == (None, r"ValueError: too long \ud83d")
    assert all(failed[name] is None for name in RESPONSE.names if name not in ("row_id", "error"))


@pytest.mark.parametrize(
    "times", [None, {}, dict.fromkeys(TIMES), dict.fromkeys(TIMES, 0.0)], ids=repr
)
def test_an_answer_without_its_times_is_none(times: Any) -> None:
    """Ray's stage gives such a row an empty text when vLLM refuses it without a word."""
    assert said(times=times)["error"] == NO_ANSWER


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0.0} for name in TIMES if name != "first_token_ts"),
        *({name: None} for name in TIMES if name != "first_token_ts"),
        {"last_token_ts": 1.0},
        {"scheduled_ts": 99.0},
        {"first_token_ts": 99.0},
        {"queued_ts": -1.0},
    ],
    ids=repr,
)
def test_an_answer_whose_times_make_no_sense_is_none(wrong: Any) -> None:
    assert said(times=GOOD["times"] | wrong)["error"] == NO_ANSWER
    assert said(times=GOOD["times"] | {"first_token_ts": None}).get("error") is None  # a server's


def of(text: str, sampling: Any = None, finish: str | None = "stop", **more: Any) -> str | None:
    """The error of a row with this text."""
    task = Task("t", ask("q"), sampling or {}, **more)
    (row,) = answered(
        task, table([said(text=text, finish_reason=finish)]), [{}], aligned=True
    ).table.to_pylist()
    return row["error"]


CHOICES = {"structured_outputs": {"choice": ["yes", "no way"]}}
JSON = {"structured_outputs": {"json": {"type": "object"}}}


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0"])
def test_no_text_is_an_answer_only_where_the_task_says_so(text: str) -> None:
    assert of(text) == "the model wrote no text"
    assert of(text, finish="length") == "the model wrote no text (cut at max_tokens)"
    assert of(text, allow_empty=True) is None


@pytest.mark.parametrize(
    ("text", "sampling", "good"),
    [
        ("yes", CHOICES, True),
        (" no way\n", CHOICES, True),
        ("no", CHOICES, False),
        ("Yes", CHOICES, False),
        ("I think yes", CHOICES, False),
        ('{"a": 1}', JSON, True),
        ('{"a": 1', JSON, False),
        ("Sure! {}", JSON, False),
        ("half", {"structured_outputs": {"json_object": True}}, False),
        ("anything", {"structured_outputs": {"regex": ".*"}}, True),
        ("anything", {"structured_outputs": None}, True),
        ("anything", {}, True),
    ],
)
def test_an_answer_of_another_form_than_was_asked_for_is_none(
    text: str, sampling: Any, good: bool
) -> None:
    """As from a server that passes over `structured_outputs`, or where `max_tokens` cut it."""
    error = of(text, sampling, "length")
    assert (error is None) == good
    assert good or ("none of the 2 choices" in error or "no JSON" in error)
    assert good or "cut at max_tokens" in error and "max_tokens" not in of(text, sampling)


def test_the_form_may_be_a_row_s_own() -> None:
    task = Task("t", ask("q"), sampling_columns={"structured_outputs": "form"})
    rows = [{"form": {"choice": ["a"]}}, {"form": {"choice": ["b"]}}, {"form": None}]
    texts = table([said(at, text="a") for at in range(3)])
    done = answered(task, texts, rows, aligned=False)
    assert done.answers == ["a", None, "a"]


def test_answers_are_read_by_the_place_of_their_rows() -> None:
    task = Task("t", ask("q"), parse=lambda text, row: (text, row["n"]))
    responses = table([said(2), said(0), said(1, error="bad")])
    done = answered(task, responses, [{"n": n} for n in range(3)], aligned=False)
    assert done.answers == [(" hello ", 2), (" hello ", 0), None] and done.rows is None
    there = answered(task, responses, [{"n": n} for n in "xyz"], aligned=True)
    assert [answer and answer[1] for answer in there.answers] == ["x", "y", None]
    assert there.rows == [{"n": n} for n in "xyz"]


def test_an_answer_that_can_not_be_read_is_an_error_of_the_row() -> None:
    def parse(text: str, row: Row) -> Any:
        raise ValueError(f"{text} is no number\nat all")

    done = answered(
        Task("t", ask("q"), parse=parse), table([said(text="five")]), [{}], aligned=True
    )
    (row,) = done.table.to_pylist()
    assert row["error"] == "the answer could not be read: ValueError: five is no number"
    assert done.answers == [None] and row["last_token_ts"] == 14  # the engine did its work
    assert done.table.schema == RESPONSE


def test_other_columns_are_left_behind() -> None:
    more = table([said()]).append_column("row", pa.array([{"n": 1}]))
    assert answered(Task("t", ask("q")), more, [{"n": 1}], aligned=True).table.schema == RESPONSE


def test_a_stop_by_the_user_is_no_error_of_the_row() -> None:
    def stopped(text: str, row: Row) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answered(Task("t", ask("q"), parse=stopped), table([said()]), [{}], aligned=True)
