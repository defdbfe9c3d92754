"""What a learner sends is a job of the lab's own form, or is refused with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.classroom.asked import looked_at
from labkit.errors import LabError
from labkit.rows import wire
from labkit.rows.requests import REQUEST, Batches
from labkit.rows.sampling_values import for_vllm
from labkit.tasks import creative, faq, sentiment
from tests.classroom.stand_in import KNOBS, asked


def job(**changes: Any) -> dict[str, Any]:
    columns = wire.to_columns(asked(["a", "b"]), REQUEST)
    return {"turn": "t1", "requests": columns, "knobs": dict(KNOBS), **changes}


def sent(value: Any) -> bytes:
    return json.dumps(value).encode()


def with_column(name: str, value: Any) -> dict[str, Any]:
    return job(requests=job()["requests"] | {name: [value, value]})


def sampling(**values: Any) -> dict[str, Any]:
    return with_column("sampling", json.dumps(values)) | {}


def message(**values: Any) -> dict[str, Any]:
    made = json.dumps([{"role": "user", "content": "?", **values}])
    return with_column("messages", made)


REFUSED = {
    "no dict": [1, 2],
    "more than a job": job(code="import os"),
    "no turn": {n: v for n, v in job().items() if n != "turn"},
    "a turn that is a path": job(turn="../../etc"),
    "a turn that is long": job(turn="a" * 1000),
    "other knobs": job(knobs={**KNOBS, "max_num_seqs": 1}),
    "a knob of text": job(knobs={**KNOBS, "batch_size": "2"}),
    "a knob of 0": job(knobs={**KNOBS, "batch_size": 0}),
    "a knob of nothing": job(knobs={**KNOBS, "batch_size": None}),
    "a knob beyond all": job(knobs={**KNOBS, "batch_size": 10**9}),
    "no rows": job(requests={n: [] for n in REQUEST.names}),
    "columns of two lengths": job(requests=job()["requests"] | {"error": [None]}),
    "another column": job(requests=job()["requests"] | {"row": [{}, {}]}),
    "a column that is none": job(requests=job()["requests"] | {"row_id": 5}),
    "places twice": with_column("row_id", 0),
    "places that are text": with_column("row_id", "0"),
    "places that are true": with_column("row_id", True),
    "a place beyond 64 bits": job(requests=job()["requests"] | {"row_id": [0, 2**70]}),
    "an error": with_column("error", "mine"),
    "messages that are a list": with_column("messages", [{"role": "user", "content": "?"}]),
    "messages that are none": with_column("messages", None),
    "messages without JSON": with_column("messages", "hello"),
    "no message": with_column("messages", "[]"),
    "messages as deep as a well": with_column("messages", "[" * 100_000),
    "a picture": message(content=[{"type": "image_url", "image_url": {"url": "file:///etc"}}]),
    "another role": message(role="tool"),
    "more in a message": message(tool_calls=[]),
    "sampling that is a list": with_column("sampling", "[]"),
    "a parameter that nobody knows": sampling(max_token=3),
    "many answers": sampling(n=100),
    "log-probabilities": sampling(logprobs=5),
    "a parameter of the engine": sampling(skip_clone=True),
    "arguments beside": sampling(extra_args={"a": 1}),
    "a parameter of another type": sampling(max_tokens=True),
    "a parameter that is no number": with_column("sampling", '{"temperature": NaN}'),
    "a pattern": sampling(structured_outputs={"regex": "(a+)+$"}),
    "a huge form": sampling(structured_outputs={"choice": ["a" * 100_000]}),
    "a form that is text": sampling(structured_outputs="choice"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_job_is_refused(what: str) -> None:
    with pytest.raises(LabError):
        looked_at(sent(REFUSED[what]))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"null", b"\x80\x04\x95.", b"[" * 200_000, b'{"turn": NaN}']
)
def test_bytes_that_are_no_job_are_refused(body: bytes) -> None:
    with pytest.raises(LabError):
        looked_at(body)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["turn", "requests", "knobs", *REQUEST.names]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_refused_with_an_error_of_the_lab(value: Any) -> None:
    for body in (sent(value), sent(job(requests=value)), sent(job(knobs=value))):
        with pytest.raises(LabError):
            looked_at(body)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(sorted(REQUEST.names)), st.text() | st.integers() | st.none() | st.booleans()
)
def test_any_value_in_a_column_is_refused_or_what_the_lab_sends(name: str, value: Any) -> None:
    try:
        _, table, _ = looked_at(sent(with_column(name, value)))
    except LabError:
        return
    assert table.schema.equals(REQUEST)


ROW = {"question": "What is \U0001f9d1\u200d\U0001f680 é \x00?", "prompt": "Say it."}
ROWS = [{**ROW, "text": "so good", "max_tokens": 3, "temperature": 0.5, "top_p": 0.9}]


@pytest.mark.parametrize("task", [faq(), creative(), sentiment()], ids=lambda task: task.name)
def test_the_lessons_tasks_arrive_as_they_were_sent(task: Any) -> None:
    table = Batches(task, ROWS * 3, for_vllm, 2).all().left()
    body = sent(job(requests=wire.to_columns(table, REQUEST)))
    turn, found, knobs = looked_at(body)
    assert (turn, knobs) == ("t1", KNOBS)
    assert found.equals(table)
