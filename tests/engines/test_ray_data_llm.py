"""A cold job's rows as Ray's stages leave them, read as responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labkit.engines.ray_data_llm import _response
from labkit.rows.responses import TIMES


def row(tokens: int | None, sampling: dict[str, Any], **more: Any) -> dict[str, Any]:
    times = {name: 10.0 + at for at, name in enumerate(TIMES)}
    said = {"generated_text": "x", "generated_tokens": [1], "metrics": times, "batch_uuid": "b"}
    counts = {"num_input_tokens": 10, "num_generated_tokens": tokens}
    return {"row_id": 0, "error": None, "sampling": json.dumps(sampling), **said, **counts, **more}


@pytest.mark.parametrize(
    ("tokens", "sampling", "context", "expected"),
    [
        (8, {"max_tokens": 8}, 100, "length"),
        (7, {"max_tokens": 8}, 100, None),
        (90, {"max_tokens": 500}, 100, "length"),
        (90, {}, 100, "length"),
        (89, {}, 100, None),
        (90, {}, None, None),
        (None, {"max_tokens": 8}, 100, None),
    ],
)
def test_an_answer_that_was_cut_is_known_by_its_limits(
    tokens: int | None, sampling: dict[str, Any], context: int | None, expected: str | None
) -> None:
    """Ray's stage drops the finish reason; other reasons than a limit are not known."""
    read = _response(row(tokens, sampling), context)
    assert (read["finish_reason"], read.get("error")) == (expected, None)


@pytest.mark.parametrize("name", ["error", "__inference_error__"])
def test_a_row_that_failed_at_any_stage_keeps_its_reason(name: str) -> None:
    assert _response(row(3, {}, **{name: "too long"}), None) == {"row_id": 0, "error": "too long"}


def test_a_row_that_failed_inside_vllm_is_no_answer() -> None:
    """It comes back as a good one, with an empty text and times of 0."""
    failed = row(0, {}, generated_text="", metrics=dict.fromkeys(TIMES, 0.0))
    assert "no answer" in _response(failed, None)["error"]
