"""rows.batch_file: requests in, answers out; what refuses a file, and where it is wrong."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.rows.batch_file import TOLD, URL, Line, answer, read, refusal

BODY = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def request(custom_id: Any = "a", **other: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": URL, "body": BODY, **other}


def file_of(folder: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path = folder / "in.jsonl"
    path.write_bytes(b"\n".join(texts))
    return path


def test_lines_are_read_with_their_numbers(tmp_path: Path) -> None:
    strange = request("b", body={**BODY, "user": "one \u2028 two\x85three"})
    path = file_of(
        tmp_path,
        b"\xef\xbb\xbf" + json.dumps(request()).encode() + b"\r",
        b"  ",
        json.dumps(strange, ensure_ascii=False).encode(),
        b"",
    )
    assert read(path) == [Line(1, "a", BODY), Line(3, "b", strange["body"])]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "invalid_json_line"),
        (b"\xff\xfe", "invalid_json_line"),
        (b"[]", "invalid_json_line"),
        (b'{"custom_id": NaN}', "invalid_json_line"),
        (b"[" * 100_000, "invalid_json_line"),
        ({}, "missing_required_parameter"),
        (request(None), "missing_required_parameter"),
        (request(""), "missing_required_parameter"),
        (request(7), "missing_required_parameter"),
        (request("\ud800"), "invalid_custom_id"),
        (request("first"), "duplicate_custom_id"),
        (request(method="GET"), "invalid_method"),
        (request(url="/v1/embeddings"), "url_mismatch"),
        (request(url=None), "url_mismatch"),
        (request(body="x"), "missing_required_parameter"),
        (request(body={**BODY, "model": "other"}), "model_mismatch"),
    ],
)
def test_a_line_that_openai_refuses_refuses_the_file_with_its_number(
    tmp_path: Path, line: Any, code: str
) -> None:
    path = file_of(tmp_path, request("first"), b"", line, request("last"))
    with pytest.raises(LabError) as told:
        read(path)
    assert f"line 3 ({code})" in str(told.value) and "line 4" not in str(told.value)


def test_all_lines_at_fault_are_counted_and_the_first_ones_told(tmp_path: Path) -> None:
    with pytest.raises(LabError) as told:
        read(file_of(tmp_path, *[b"no"] * (TOLD + 5)))
    assert str(told.value).count("invalid_json_line") == TOLD
    assert f"{TOLD + 5} of its lines" in str(told.value) and "and 5 more" in str(told.value)


def test_a_file_without_requests_or_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="empty_file"):
        read(file_of(tmp_path, b"", b"  "))
    with pytest.raises(LabError, match="can't be read"):
        read(tmp_path / "nowhere")


@given(st.lists(st.text(min_size=1), unique=True, min_size=1), st.text())
def test_any_ids_come_back(ids: list[str], text: str) -> None:
    body = {**BODY, "messages": [{"role": "user", "content": text}]}
    with tempfile.TemporaryDirectory() as folder:
        lines = read(file_of(Path(folder), *(request(name, body=body) for name in ids)))
    assert [line.custom_id for line in lines] == ids
    assert all(json.loads(line.text) == body for line in lines)


ROW = {"answer": " 4", "finish_reason": "stop", "num_input_tokens": 5, "num_generated_tokens": 2}


def test_an_answer_is_a_chat_completion() -> None:
    line = Line(3, "a", BODY)
    found = answer(line, ROW, "m", 7)
    assert set(found) == {"id", "custom_id", "response", "error"}
    assert (found["custom_id"], found["error"]) == ("a", None)
    body = found["response"]["body"]
    assert found["response"]["status_code"] == 200
    assert (body["object"], body["created"], body["model"]) == ("chat.completion", 7, "m")
    assert body["choices"][0]["message"]["content"] == " 4"
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert (
        answer(line, {**ROW, "num_input_tokens": None}, "m", 7)["response"]["body"]["usage"] is None
    )
    again = answer(Line(9, "a", dict(reversed(BODY.items()))), ROW, "m", 8)
    assert again["id"] == found["id"]  # the same request has the same name
    assert answer(Line(3, "b", BODY), ROW, "m", 7)["id"] != found["id"]


@pytest.mark.parametrize(
    ("message", "param", "status"),
    [
        ("unknown field", "x", 400),
        ("VLLMValidationError: the prompt is too long", None, 400),
        ("the chat template: two turns", None, 400),
        ("the server answered HTTP 429: wait (tried 9 times)", None, 429),
        ("the engine ended it: abort", None, 500),
    ],
)
def test_an_error_is_seen_by_readers_of_either_form(
    message: str, param: str | None, status: int
) -> None:
    found = refusal(Line(3, "a", BODY), message, param)
    assert found["response"]["status_code"] == status
    assert found["response"]["body"]["error"]["message"] == message
    assert found["response"]["body"]["error"]["param"] == param
    assert found["error"]["message"] == message
