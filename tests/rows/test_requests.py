"""rows.requests: what goes out for a row, and which rows can't be asked."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError, reason
from labkit.rows.requests import CHUNK, PLACEHOLDER, REQUEST, Batches, check_task, make, read
from labkit.rows.sampling_values import for_vllm, number, plain
from labkit.tasks import Row, Task, ask

HOSTILE = {
    "prompt": "mine",
    "messages": [{"role": "user", "content": "mine"}],
    "model": "mine",
    "__inference_error__": "mine",
    "sampling_params": {"max_tokens": -1},
    "row": b"mine",
    "row_id": "mine",
    "__data": [1, "two", None],
    "metrics": {"arrival_time": "mine"},
    "error": "mine",
    "": "no name",
    7: "a number for a name",
}
TASK = Task(
    name="t",
    messages=ask("q"),
    sampling={"max_tokens": 8, "temperature": 0.0},
    sampling_columns={"seed": "seed"},
)


def asked(row: Row, task: Task = TASK, parameter: Any = for_vllm) -> tuple[Any, Any, str | None]:
    """(messages, sampling, error) of one row."""
    (request,) = make(task, [row], parameter).to_pylist()
    return *read(request), request["error"]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
rows = st.dictionaries(st.sampled_from(sorted(map(str, HOSTILE))) | st.text(), anything, max_size=6)


@given(st.lists(rows, max_size=5))
def test_any_rows_make_requests_of_one_schema(some: list[Row]) -> None:
    table = make(Task("t", ask("q"), {"max_tokens": 8}), some, for_vllm)
    assert table.schema == REQUEST
    assert table["row_id"].to_pylist() == list(range(len(some)))
    for request, row in zip(table.to_pylist(), some, strict=True):
        asks = isinstance(row.get("q"), str) and bool(row["q"].strip())
        assert (request["error"] is None) == asks


def test_a_row_is_asked() -> None:
    messages, sampling, error = asked({"q": "Why?", "seed": 3})
    assert messages == [{"role": "user", "content": "Why?"}]
    assert sampling == {"max_tokens": 8, "temperature": 0.0, "seed": 3} and error is None


def test_hostile_columns_do_not_disturb_the_question() -> None:
    messages, sampling, error = asked({**HOSTILE, "q": "Why?", "seed": 3})
    assert messages[0]["content"] == "Why?" and sampling["max_tokens"] == 8 and error is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"seed": 3}, "ValueError: column 'q' is missing"),
        ({"q": " ", "seed": 3}, "ValueError: column 'q' is empty"),
        ({"q": "Why?"}, "KeyError: 'seed'"),
    ],
)
def test_a_row_that_can_not_be_asked_has_its_reason(row: Row, words: str) -> None:
    (request,) = make(TASK, [row], for_vllm).to_pylist()
    assert request["error"] == words
    assert (request["messages"], request["sampling"]) == PLACEHOLDER


def test_good_rows_are_split_into_batches_and_the_others_have_their_responses() -> None:
    some = [{"q": f"{n}?" if n % 3 else None, "seed": n} for n in range(10)]
    batches = Batches(TASK, some, for_vllm, 4)
    assert [batch["row_id"].to_pylist() for batch in batches] == [[1, 2, 4, 5], [7, 8]]
    refused = batches.refused
    assert refused["row_id"].to_pylist() == [0, 3, 6, 9]
    assert set(refused["error"].to_pylist()) == {"ValueError: column 'q' is missing"}
    assert refused["last_token_ts"].null_count == 4


def test_a_batch_is_sent_without_the_rows_of_the_others() -> None:
    rows = [{"q": "word " * 100, "seed": n} for n in range(200)]
    batches = list(Batches(TASK, rows, for_vllm, 10))
    assert len(pickle.dumps(batches[3])) < 2 * 10 * 500 + 5000


@pytest.mark.parametrize("more", [{}, {"name": "x", "tool_calls": [{"id": 1}]}])
def test_messages_come_back_as_they_were(more: Row) -> None:
    said = [{"content": 'a "b"\n\\ ü \0 🙂', "role": "user", **more}, {"role": "s", "content": ""}]
    made = make(Task("t", lambda row: said), [{}], number)
    assert read(made.to_pylist()[0])[0] == said


@pytest.mark.parametrize("messages", [None, 5, ["text"], [("a", "b", "c")], lambda: 0])
def test_messages_of_a_wrong_shape_are_an_error_of_the_row(messages: Any) -> None:
    assert asked({}, Task("t", lambda row: messages, {"max_tokens": 1}))[2]


def test_any_exception_of_the_users_function_is_the_rows() -> None:
    def failing(row: Row) -> Any:
        raise RuntimeError("first line\nsecond line")

    assert asked({}, Task("t", failing))[2] == "RuntimeError: first line"


def test_a_stop_by_the_user_is_no_error_of_the_row() -> None:
    def stopped(row: Row) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked({}, Task("t", stopped))


def test_sampling_from_columns_becomes_python_numbers() -> None:
    task = Task("t", ask("q"), sampling_columns={name: name for name in "abcdef"})
    row = {
        "q": "Why?",
        "a": np.int64(3),
        "b": np.float32(0.5),
        "c": np.bool_(True),
        "d": "text",
        "e": ["x", "y"],
        "f": None,
    }
    sampling = asked(row, task)[1]
    assert sampling == {"a": 3, "b": 0.5, "c": True, "d": "text", "e": ["x", "y"], "f": None}
    assert [type(sampling[name]) for name in "abcdef"] == [int, float, bool, str, list, type(None)]


def test_the_tokens_of_a_bias_are_numbers_again() -> None:
    """JSON has text for keys, and vLLM wants numbers."""
    task = Task("t", ask("q"), {"logit_bias": {5: 1, "6": 2.0}})
    assert asked({"q": "?"}, task)[1] == {"logit_bias": {5: 1.0, 6: 2.0}}


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x", math.nan, "\ud83d", {"a": [math.inf]}])
def test_what_json_can_not_hold_is_an_error_of_the_row(value: Any) -> None:
    error = asked({"q": "?"}, Task("t", ask("q"), {"unknown": value}), number)[2]
    assert error and json.dumps(error)


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"n": 3}, "3 answers a row"),
        ({"best_of": 2}, "2 answers a row"),
        ({"logprobs": 0}, "log-probabilities"),
        ({"prompt_logprobs": 1}, "log-probabilities"),
        ({"top_logprobs": 5}, "log-probabilities"),
    ],
)
@pytest.mark.parametrize("parameter", [for_vllm, number])
def test_what_would_be_dropped_is_refused(sampling: Row, words: str, parameter: Any) -> None:
    """By the task before anything is asked; by a row of its own where a column says so."""
    with pytest.raises(LabError, match=words):
        check_task(Task("t", ask("q"), sampling))
    ((name, value),) = sampling.items()
    error = asked({"q": "?", "v": value}, Task("t", ask("q"), {}, {name: "v"}), parameter)[2]
    assert error and words in error


@pytest.mark.parametrize("sampling", [{"n": 1}, {"logprobs": None}, {"top_logprobs": False}, {}])
def test_what_loses_nothing_is_asked(sampling: Row) -> None:
    check_task(Task("t", ask("q"), sampling))
    assert asked({"q": "?"}, Task("t", ask("q"), sampling), number)[2] is None


def test_plain_leaves_arrays_alone() -> None:
    array = np.array([1, 2])
    assert plain(array) is array
    assert type(plain(np.array(3))) is int


def test_reasons_are_one_line_of_a_readable_length() -> None:
    assert reason(ValueError("bad")) == "ValueError: bad"
    assert reason(ValueError()) == "ValueError:"
    assert reason(ValueError("a\nb")) == "ValueError: a"
    assert len(reason(ValueError("x" * 9999))) == 500


def test_streamed_rows_ride_along_in_one_readable_column() -> None:
    from labkit.rows.user_data import streamed_rows, with_requests

    batch = pa.table({"q": ["a?", None], "messages": [1, 2], "row": [b"x", None], "seed": [3, 4]})
    table = with_requests(batch, task=TASK, parameter=for_vllm)
    assert table.column_names == [*REQUEST.names, "row"]
    assert table.schema.field("row").type == pa.struct(list(batch.schema))
    assert streamed_rows(table) == batch.to_pylist()
    assert table["row_id"].null_count == 2 and table["error"][0].as_py() is None


@given(
    texts=st.lists(st.sampled_from(["a", "b", None, ""]), max_size=700),
    size=st.sampled_from([1, 2, 3, 64, 300]),
    later=st.sampled_from([1, 3, 300]),
    taken=st.integers(0, 5),
)
def test_batches_are_whole_made_as_they_are_taken_and_lose_no_row(
    texts: list[Any], size: int, later: int, taken: int
) -> None:
    asked = list[str]()

    def messages(row: Row) -> list[Any]:
        asked.append(row["q"])
        return ask("q")(row)

    good = [at for at, text in enumerate(texts) if text]
    batches = Batches(Task("t", messages), [{"q": text} for text in texts], number, size)
    assert batches.rows == len(texts) and not asked, "nothing is made before it is taken"
    first = batches.first()
    assert (first is None) == (not good)
    if first is not None and size == 1:
        assert len(asked) <= good[0] + CHUNK, "no more than a chunk beyond the first good row"
    found = list(itertools.islice(batches, taken))
    batches.size = later
    rest = list(batches.all())
    assert len(asked) == len(texts), "each row is asked for once"
    assert [at for batch in found + rest for at in batch["row_id"].to_pylist()] == good
    assert all(batch.num_rows == size for batch in found[: -1 if not rest else None])
    assert all(batch.num_rows == later for batch in rest[:-1])
    refused = batches.refused
    assert refused["row_id"].to_pylist() == [at for at, text in enumerate(texts) if not text]
    assert refused["error"].null_count == 0


def test_what_is_the_same_for_all_rows_is_looked_at_once() -> None:
    seen = list[str]()

    def parameter(name: str, value: Any) -> Any:
        seen.append(name)
        return number(name, value)

    rows = [{"q": "a", "seed": n} for n in range(50)]
    same = replace(TASK, sampling_columns={})
    assert make(same, rows, parameter)["sampling"].to_pylist() == [json.dumps(TASK.sampling)] * 50
    assert len(seen) == len(TASK.sampling)
    assert [read(row)[1]["seed"] for row in make(TASK, rows, parameter).to_pylist()] == [*range(50)]
    wrong = replace(same, sampling={"temperature": math.nan})
    assert "is nan" in set(make(wrong, rows, number)["error"].to_pylist()).pop()

    class Own(Task):
        def sampling_for(self, row: Row) -> dict[str, Any]:
            return {"seed": row["seed"]}

    mine = make(Own("t", ask("q")), rows, number).to_pylist()
    assert [read(row)[1]["seed"] for row in mine] == [*range(50)]
