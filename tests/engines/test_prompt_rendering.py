"""engines.prompt_rendering: the tokens that Ray's own stages and vLLM would make, row by row."""

from __future__ import annotations

from typing import Any

import pytest

import labkit
from labkit.engines.prompt_rendering import Renderer, RenderPrompts, renderer_arguments
from labkit.rows.requests import make
from labkit.rows.sampling_values import for_vllm
from labkit.tasks import Task

pytestmark = pytest.mark.slow  # imports transformers


@pytest.fixture(scope="module")
def arguments(tiny: Any) -> dict[str, Any]:
    return renderer_arguments(labkit.configure(tiny))


def test_a_prompt_is_the_chat_template_s(arguments: Any) -> None:
    renderer = Renderer(**arguments)
    turn = {"role": "user", "content": "Why?"}
    text = renderer.text([turn])
    assert text.endswith("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n")
    begun = renderer.text([turn, {"role": "assistant", "content": "Because"}])
    assert begun.endswith("<|im_start|>assistant\nBecause"), "a begun answer is continued"


def test_a_row_that_no_chat_template_takes_fails_alone(arguments: Any) -> None:
    picky = "{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}hi"
    task = Task("t", lambda row: [{"role": "user", "content": "a"}] * row["turns"])
    batch = make(task, [{"turns": 1}, {"turns": 2}, {"turns": 0}], for_vllm)
    stage = RenderPrompts({**arguments, "template": picky})
    good, bad, empty = stage(batch).to_pylist()
    assert good["error"] is None and stage.renderer.decode([good["tokenized_prompt"]]) == ["hi"]
    assert bad["error"].startswith("the chat template: ") and "one turn" in bad["error"]
    assert empty["error"] == "ValueError: there is no message to send"
    assert bad["tokenized_prompt"] and empty["tokenized_prompt"], "an engine takes no empty prompt"


def test_what_a_spec_says_of_its_template_is_used(tiny: Any) -> None:
    stage = {"chat_template": "x", "chat_template_kwargs": {"a": 1}}
    spec = labkit.configure(
        tiny, ray={"chat_template_stage": stage}, engine={"revision": "r", "tokenizer": "t"}
    )
    assert renderer_arguments(spec) == {
        "source": "t",
        "template": "x",
        "template_arguments": {"a": 1},
        "loading": {"revision": "r"},
    }
