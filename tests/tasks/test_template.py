"""Tasks from a template: what is filled in, what is refused, how answers are read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import labkit
from labkit.errors import LabError
from labkit.tasks.template import Template, prompt

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@given(st.text(), st.text(st.characters(exclude_characters="{}!:[]"), min_size=1), st.text())
def test_a_template_is_filled_with_the_row_s_own_text(before: str, name: str, value: str) -> None:
    doubled = before.replace("{", "{{").replace("}", "}}")
    template = Template(f"{doubled}{{{name}}}{{{{{{{name}}}}}}}")
    assert template.columns == [name]
    if value.strip():
        assert template.fill({name: value}) == f"{before}{value}{{{value}}}"


@pytest.mark.parametrize(
    "text", ["{}", "{a", "a}", '{"a": 1}', "{a:>5}", "{a!r}", "{0:x}", "{ a:}x{"]
)
def test_a_brace_that_names_no_column_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="can't be filled in.*doubled"):
        prompt(text + "{text}")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), (0.5, "0.5"), (True, "True"), ([1, "é"], '[1, "é"]'), ({"a": 1}, '{"a": 1}')],
)
def test_values_of_any_type_have_a_text(value: Any, shown: str) -> None:
    assert prompt("{x}").messages({"x": value})[-1]["content"] == shown


@pytest.mark.parametrize("value", [None, math.nan, "", " \n"])
def test_a_missing_value_is_an_error_of_its_row(value: Any) -> None:
    with pytest.raises(ValueError, match="column 'b'"):
        prompt("{a} {b}").messages({"a": "x", "b": value})


def test_a_model_is_told_what_it_may_say_once() -> None:
    told = prompt("{t}", choices=["good", "bad"]).messages({"t": "x"})
    assert told[0]["role"] == "system" and "good, bad" in told[0]["content"]
    named = prompt("Is it good or bad? {t}", choices=["good", "bad"]).messages({"t": "x"})
    assert [m["role"] for m in named] == ["user"]
    part = prompt("goodness, badly: {t}", choices=["good", "bad"]).messages({"t": "x"})
    assert part[0]["role"] == "system"


def test_the_longest_choice_has_room() -> None:
    assert prompt("{t}", choices=["x" * 50, "é" * 40]).sampling["max_tokens"] == 81


class Found(BaseModel):
    n: int
    word: str = "none"


def test_answers_of_a_schema_are_checked() -> None:
    task = prompt("{t}", schema=SCHEMA)
    assert task.parse('{"n": 3}', {}) == {"n": 3}
    with pytest.raises(ValueError, match="'n' is a required property"):
        task.parse("{}", {})
    assert prompt("{t}", schema=Found).parse('{"n": 3}', {}) == {"n": 3, "word": "none"}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "Give a template, or messages"),
    ({"template": "{a}", "messages": "m"}, "Give a template, or messages"),
    ({"template": "same"}, "names no column"),
    ({"template": "{a}", "choices": ["x"], "schema": SCHEMA}, "not both"),
    ({"template": "{a}", "choices": "abc"}, "list of words"),
    ({"template": "{a}", "choices": ["x", "x"]}, "twice"),
    ({"template": "{a}", "schema": "text"}, "JSON schema of an object"),
    ({"template": "{a}", "schema": {"type": "object", "properties": 3}}, "no JSON schema"),
    ({"template": "{a}", "examples": [{"a": "x"}]}, "Example 1.*column 'answer' is missing"),
    ({"template": "{a}", "choices": ["x"], "examples": [{"a": 1, "answer": "y"}]}, "none of the"),
    ({"template": "{a}", "schema": SCHEMA, "examples": [{"a": 1, "answer": "y"}]}, "Example 1"),
    ({"messages": "m", "examples": [{"a": "x"}]}, "need a template"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_can_not_work_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(LabError, match=words):
        labkit.prompt(**options)


def test_a_row_s_own_sampling() -> None:
    task = prompt("{t}", sampling={"top_p": 0.5}, sampling_columns={"max_tokens": "n"})
    assert task.sampling_for({"t": "x", "n": 3}) == {
        "temperature": 0.0,
        "top_p": 0.5,
        "max_tokens": 3,
    }
    assert task.columns == ("t", "n")
