"""labkit.rows.requests as plain functions: what goes into Ray Data LLM, and what comes back."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.metrics import ROW_COLUMNS
from labkit.rows.requests import ERROR, Finish, pack, preprocess, reason
from labkit.rows.sampling_values import FinalOnly, plain
from labkit.tasks import Row, Task, ask

#: What every row asks of an engine besides its own parameters.
LAST = {"output_kind": FinalOnly()}
HOSTILE = {
    "prompt": "mine",
    "messages": [{"role": "user", "content": "mine"}],
    "model": "mine",
    "__inference_error__": "mine",
    "sampling_params": {"max_tokens": -1},
    "row": b"mine",
    "row_id": "mine",
    "__data": [1, "two", None],
    "batch_uuid": "mine",
    "metrics": {"arrival_time": "mine"},
    "generated_text": "mine",
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


def packed(row: Row, row_id: int = 0) -> Row:
    return pack([row], row_id).to_pylist()[0]


def asked(row: Row, task: Task = TASK, **options: Any) -> Row:
    return preprocess(task, **options)(packed(row))


def answered(row: Row, text: str = " hello ", **changes: Any) -> Row:
    """A row as it leaves the engine: Ray merges its own columns into the packed ones."""
    times = {
        "arrival_time": 1.7e9,
        "queued_ts": 10.0,
        "scheduled_ts": 11.0,
        "first_token_ts": 12.0,
        "last_token_ts": 13.0,
        "first_token_latency": 2.0,
    }
    return {
        **packed(row),
        "generated_text": text,
        "metrics": times,
        "num_input_tokens": 5,
        "num_generated_tokens": 6,
        "batch_uuid": "b",
        ERROR: "",
        **changes,
    }


FAILED_ROW = {
    "metrics": None,
    "num_input_tokens": None,
    "num_generated_tokens": None,
    "batch_uuid": None,
    "generated_text": None,
    ERROR: "ValueError: too long",
}


# --- packing -------------------------------------------------------------------------------------


def test_pack_numbers_the_rows() -> None:
    table = pack([{"a": 1}, {"b": 2}, {}], first_id=40)
    assert table.column("row_id").to_pylist() == [40, 41, 42]
    assert table.schema.types == [pa.int64(), pa.binary()]
    assert [pickle.loads(row) for row in table.column("row").to_pylist()] == [
        {"a": 1},
        {"b": 2},
        {},
    ]
    assert pack([]).num_rows == 0
    assert pack([]).schema == table.schema


def test_no_column_of_the_user_meets_one_of_ray() -> None:
    table = pack([HOSTILE])
    assert table.column_names == ["row_id", "row"]
    assert pickle.loads(table.to_pylist()[0]["row"]) == HOSTILE


VALUES = [
    None,
    math.inf,
    2**80,
    3 + 4j,
    "\x00\ud7ff🧑‍🚀\u202e",
    b"\xff\x00",
    (1, [2, {3}]),
    {"nested": {"a": [1]}, 5: None},
    frozenset("ab"),
    decimal.Decimal("1.10"),
    datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
    np.float32(1.5),
    np.int8(-3),
    np.datetime64("2024-02-29"),
    range(3),
    Ellipsis,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_of_any_type_survives_exactly(value: Any) -> None:
    back = pickle.loads(packed({"v": value})["row"])["v"]
    assert back == value and type(back) is type(value)


def test_arrays_survive() -> None:
    value = np.arange(6, dtype="int16").reshape(2, 3)
    back = pickle.loads(packed({"v": value})["row"])["v"]
    assert back.dtype == value.dtype and (back == value).all()


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


@given(st.lists(rows, max_size=5), st.integers(0, 2**40))
def test_any_rows_survive_packing(some: list[Row], first: int) -> None:
    out = pack(some, first).to_pylist()
    assert [pickle.loads(row["row"]) for row in out] == some
    assert [row["row_id"] for row in out] == [first + i for i in range(len(some))]


@given(rows, st.text())
def test_any_row_comes_back_with_its_answer_or_its_reason(row: Row, text: str) -> None:
    """Whatever a row holds, the same keys go to Ray, and `parse` gets the row as it was."""
    task = Task("t", ask("q"), {"max_tokens": 8}, parse=lambda text, row: (text, row))
    out = preprocess(task)(packed(row))
    assert out.keys() == {"messages", "sampling_params", ERROR}
    assert out["sampling_params"] == {"max_tokens": 8} | LAST
    asks = isinstance(row.get("q"), str) and bool(row["q"].strip())
    assert (out[ERROR] == "") == asks
    assert Finish(task, False).finish(answered(row, text)) == ((text, row), None)


# --- asking --------------------------------------------------------------------------------------


def test_a_row_is_asked() -> None:
    assert asked({"q": "Why?", "seed": 3}) == {
        "messages": [{"role": "user", "content": "Why?"}],
        "sampling_params": {"max_tokens": 8, "temperature": 0.0, "seed": 3} | LAST,
        ERROR: "",
    }


def test_hostile_columns_do_not_disturb_the_question() -> None:
    out = asked({**HOSTILE, "q": "Why?", "seed": 3})
    assert out["messages"][0]["content"] == "Why?"
    assert out["sampling_params"]["max_tokens"] == 8
    assert out[ERROR] == ""


def test_text_is_detokenized_once() -> None:
    row = {"q": "Why?", "seed": 3}
    assert "detokenize" not in asked(row)["sampling_params"]
    assert asked(row, ray_detokenizes=True)["sampling_params"]["detokenize"] is False
    assert asked({}, ray_detokenizes=True)["sampling_params"]["detokenize"] is False


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"seed": 3}, "ValueError: column 'q' is missing"),
        ({"q": " ", "seed": 3}, "ValueError: column 'q' is empty"),
        ({"q": "Why?"}, "KeyError: 'seed'"),
    ],
)
def test_a_row_that_can_not_be_asked_becomes_an_error_row(row: Row, words: str) -> None:
    out = asked(row)
    assert out[ERROR] == words
    assert out["messages"] == [{"role": "user", "content": ""}]


@pytest.mark.parametrize("row", [{}, {"q": None, "seed": 1}, {"q": "Why?"}])
def test_error_rows_carry_the_same_sampling_keys(row: Row) -> None:
    """A key that one row of a block lacks, or has alone, can hang the job."""
    assert (
        asked(row)["sampling_params"].keys()
        == asked({"q": "?", "seed": 1})["sampling_params"].keys()
    )
    assert asked(row)["sampling_params"]["max_tokens"] == 8


@pytest.mark.parametrize("messages", [None, 5, ["text"], [("a", "b", "c")], lambda: 0])
def test_messages_of_a_wrong_shape_are_an_error_of_the_row(messages: Any) -> None:
    out = asked({}, Task("t", lambda row: messages, {"max_tokens": 1}))
    assert out[ERROR] and out["sampling_params"] == {"max_tokens": 1} | LAST


def test_any_exception_of_the_users_function_is_the_rows() -> None:
    def failing(row: Row) -> Any:
        raise RuntimeError("first line\nsecond line")

    assert asked({}, Task("t", failing))[ERROR] == "RuntimeError: first line"


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
    sampling = asked(row, task)["sampling_params"]
    own = {"a": 3, "b": 0.5, "c": True, "d": "text", "e": ["x", "y"], "f": None}
    assert sampling == own | LAST
    assert [type(sampling[name]) for name in "abcdef"] == [int, float, bool, str, list, type(None)]


def test_plain_leaves_arrays_alone() -> None:
    array = np.array([1, 2])
    assert plain(array) is array
    assert type(plain(np.array(3))) is int


def test_messages_are_copied() -> None:
    shared = [{"role": "user", "content": "?"}]
    out = asked({}, Task("t", lambda row: shared))
    assert out["messages"] == shared and out["messages"][0] is not shared[0]


def test_reasons_are_one_line_of_a_readable_length() -> None:
    assert reason(ValueError("bad")) == "ValueError: bad"
    assert reason(ValueError()) == "ValueError:"
    assert reason(ValueError("a\nb")) == "ValueError: a"
    assert len(reason(ValueError("x" * 9999))) == 500


# --- finishing -----------------------------------------------------------------------------------


def finished(*rows_out: Row, task: Task = TASK, with_row: bool = False) -> pa.Table:
    return Finish(task, with_row)(pa.Table.from_pylist(list(rows_out)))


def test_an_answer_with_its_times() -> None:
    (row,) = finished(answered({"q": "?"})).to_pylist()
    assert pickle.loads(row["answer"]) == "hello"
    assert (row["row_id"], row["error"], row["batch_uuid"]) == (0, None, "b")
    assert (row["num_input_tokens"], row["num_generated_tokens"]) == (5, 6)
    assert [row[name] for name in ROW_COLUMNS[:5]] == [1.7e9, 10, 11, 12, 13]
    assert "row" not in row and "messages" not in row


def test_good_and_failed_rows_share_a_schema() -> None:
    """A block of failed rows alone lacks the engine's columns: files must not differ for it."""
    good = finished(answered({"q": "?"}))
    bare = {**packed({"q": None}), ERROR: "ValueError: empty"}
    failed = finished(bare, bare)
    assert failed.schema == good.schema
    assert set(ROW_COLUMNS) <= set(good.column_names)
    mixed = finished(answered({"q": "?"}), {**packed({"q": None}, 1), **FAILED_ROW})
    assert mixed.schema == good.schema


def test_a_failed_row_keeps_its_reason_and_has_no_times() -> None:
    good, failed = finished(
        answered({"q": "?"}), {**packed({"q": None}, 1), **FAILED_ROW}
    ).to_pylist()
    assert (good["error"], failed["error"]) == (None, "ValueError: too long")
    assert pickle.loads(failed["answer"]) is None
    assert all(failed[name] is None for name in ROW_COLUMNS)


def test_an_answer_that_can_not_be_read_is_an_error_of_the_row() -> None:
    def parse(text: str, row: Row) -> Any:
        raise ValueError(f"{text} is no number\nat all")

    task = Task("t", ask("q"), parse=parse)
    (row,) = finished(answered({"q": "?"}, text="five"), task=task).to_pylist()
    assert row["error"] == "the answer could not be read: ValueError: five is no number"
    assert pickle.loads(row["answer"]) is None
    assert row["last_token_ts"] == 13  # the engine did its work


def test_parse_gets_the_text_and_the_row_as_it_was() -> None:
    task = Task("t", ask("q"), parse=lambda text, row: {"text": text, **row})
    row = {**HOSTILE, "q": "?"}
    out = finished(answered(row, text="raw \n"), task=task).to_pylist()[0]
    assert pickle.loads(out["answer"]) == {"text": "raw \n", **row}


@pytest.mark.parametrize("answer", VALUES, ids=repr)
def test_an_answer_of_any_type_survives(answer: Any) -> None:
    task = Task("t", ask("q"), parse=lambda text, row: answer)
    (out,) = finished(answered({"q": "?"}), task=task).to_pylist()
    assert pickle.loads(out["answer"]) == answer


def test_the_row_rides_along_on_demand() -> None:
    (out,) = finished(answered(HOSTILE | {"q": "?"}), with_row=True).to_pylist()
    assert pickle.loads(out["row"]) == HOSTILE | {"q": "?"}


def test_an_empty_batch_is_finished_too() -> None:
    table = finished(answered({"q": "?"})).slice(0, 0)
    empty = Finish(TASK, False)(
        pa.table({"row_id": pa.array([], pa.int64()), "row": pa.array([], pa.binary())})
    )
    assert empty.num_rows == 0 and empty.schema == table.schema


@pytest.mark.slow
def test_an_engine_is_asked_for_the_last_word_only() -> None:
    """What stands for FINAL_ONLY is vLLM's own in a process that has vLLM, and only there."""
    task = Task("t", ask("question"))
    asked = preprocess(task)(pack([{"question": "a?"}]).to_pylist()[0])
    kind = asked["sampling_params"]["output_kind"]
    assert isinstance(kind, FinalOnly)
    program = (
        "import pickle, sys; data = bytes.fromhex(sys.argv[1]); light = pickle.loads(data)\n"
        "assert 'vllm' not in sys.modules\n"
        "import vllm.sampling_params as v\n"
        "again = pickle.loads(pickle.dumps(light))\n"
        "assert again is v.RequestOutputKind.FINAL_ONLY, again"
    )
    command = [sys.executable, "-c", program, pickle.dumps(kind).hex()]
    subprocess.run(command, check=True)
