"""The file of a sweep or a search: begun, gone on with, and nobody else's touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.errors import LabError
from labkit.results.sweep_file import append, resume
from labkit.results.sweep_lines import KEYS, read_lines

ABOUT = {"device": "x", "model_hash": "1", "measured": []}
kinds = pytest.mark.parametrize("kind", list(KEYS))


@kinds
def test_a_file_is_begun_and_gone_on_with(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "new" / "runs.jsonl"
    assert resume(file, ABOUT, kind) == []
    for number in (1, 2):
        append(file, {"n": number})
    assert resume(file, ABOUT, kind) == [{"n": 1}, {"n": 2}]
    assert read_lines(file, kind)[:2] == (ABOUT, [{"n": 1}, {"n": 2}])


@kinds
def test_wherever_it_was_cut_off_whole_lines_are_kept(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    resume(file, ABOUT, kind)
    for number in (1, 2):
        append(file, {"n": number})
    whole = file.read_bytes()
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        runs = resume(file, ABOUT, kind)
        text = file.read_text()
        assert text.endswith("\n") and whole.decode().startswith(text)
        assert runs == [json.loads(line) for line in text.splitlines()[1:]]
        assert len(runs) >= whole[:end].count(b"\n") - 1


@kinds
@pytest.mark.parametrize(
    "text", ["my only copy", "two\nlines", "{", "{}", '{"mine": 1}', "[1]\n", "1", '"x"', "\n"]
)
def test_another_s_file_is_refused_and_stays_as_it_is(kind: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    other = next(key for name, key in KEYS.items() if name != kind)
    for content in (text, json.dumps({other: ABOUT}), json.dumps({other: ABOUT})[:-1]):
        file.write_text(content)
        if content == "{":  # also how one that was cut off begins
            continue
        with pytest.raises(LabError, match=f"is not a {kind} of this lab"):
            resume(file, ABOUT, kind)
        assert file.read_text() == content


@kinds
def test_the_file_of_another_job_is_refused_and_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    resume(file, ABOUT, kind)
    before = file.read_text()
    with pytest.raises(LabError, match=f"holds another {kind}: device differ"):
        resume(file, {**ABOUT, "device": "y"}, kind)
    assert file.read_text() == before
