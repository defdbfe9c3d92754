"""rows.chat_body: what a chat completion asks for, and what can't be asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.rows.chat_body import NO_EFFECT, ONE_TEXT, SAME_NAME, BadBody, read
from labkit.rows.sampling_values import for_vllm, number

ASK = [{"role": "user", "content": "Why?"}]


def of(to_server: bool = False, **fields: Any) -> tuple[Any, dict[str, Any]]:
    body = {"messages": ASK, **fields}
    return read(body, number if to_server else for_vllm, to_server=to_server)


def test_fields_become_vllm_s_parameters() -> None:
    schema = {"type": "object"}
    messages, sampling = of(
        model="m",
        max_tokens=8,
        max_completion_tokens=4,
        temperature=0,
        stop=None,
        user="me",
        stream=False,
        n=1,
        logit_bias={"7": -100},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    assert messages == ASK
    assert sampling == {
        "max_tokens": 4,
        "temperature": 0.0,
        "logit_bias": {7: -100.0},
        "structured_outputs": {"json": schema},
    }
    assert of(max_completion_tokens=4, max_tokens=8)[1] == {"max_tokens": 4}
    assert of(response_format={"type": "text"})[1] == {}
    assert of(response_format={"type": "json_object"})[1] == {
        "structured_outputs": {"json_object": True}
    }


def test_a_server_gets_its_own_names() -> None:
    fields = {"max_completion_tokens": 4, "response_format": {"type": "text"}, "new_field": 1}
    assert of(to_server=True, **fields)[1] == fields


@pytest.mark.parametrize("to_server", [False, True])
@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("stream", True),
        ("n", 2),
        ("n", True),  # equal to 1, and no number
        ("logprobs", True),
        ("top_logprobs", 3),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("use_beam_search", True),
        ("temperature", float("nan")),
        ("max_tokens", 2**70),
    ],
)
def test_what_no_row_could_keep_is_refused_with_its_field(
    to_server: bool, param: str, value: Any
) -> None:
    with pytest.raises(BadBody) as bad:
        of(to_server, **{param: value})
    assert bad.value.param == param


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("temprature", 0.5),
        ("temperature", "hot"),
        ("max_tokens", 1.5),
        ("stop", [3]),
        ("response_format", "json"),
        ("response_format", {"type": "json_schema"}),
        ("logit_bias", [1]),
    ],
)
def test_what_an_engine_here_would_not_know_is_refused(param: str, value: Any) -> None:
    with pytest.raises(BadBody) as bad:
        of(**{param: value})
    assert bad.value.param == param


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hello", "messages"),
        (["hello"], "messages[0]"),
        ([{"content": "x"}], "messages[0]"),
        ([*ASK, {"role": "user"}], "messages[1].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        (
            [{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}],
            "messages[0].tool_calls",
        ),
    ],
)
def test_messages_without_a_text_are_refused_with_their_place(messages: Any, param: str) -> None:
    with pytest.raises(BadBody) as bad:
        of(messages=messages)
    assert bad.value.param == param


def test_parts_of_text_are_joined_and_names_stay() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = [{"role": "user", "name": "Al", "content": parts, "tool_calls": []}]
    assert of(messages=asked)[0] == [{"role": "user", "name": "Al", "content": "a\nb"}]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    sorted({*SAME_NAME, *NO_EFFECT, *ONE_TEXT, "messages", "response_format", "x"})
)


@given(st.dictionaries(names, json_values, max_size=5), st.booleans())
def test_any_body_is_read_or_refused(body: dict[str, Any], to_server: bool) -> None:
    body = {"messages": ASK, **body}
    try:
        messages, sampling = read(body, number if to_server else for_vllm, to_server=to_server)
    except BadBody as bad:
        assert str(bad) and bad.param.partition("[")[0] in body
        return
    assert messages and {"model", "messages"}.isdisjoint(sampling)
    assert all(value is not None for value in sampling.values())
    json.dumps(messages)
