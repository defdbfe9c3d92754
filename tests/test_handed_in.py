"""What is handed in: one page and its JSON, from several lessons, and nothing lost or taken."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit import handed_in
from labkit.cli import main
from labkit.errors import LabError
from labkit.handed_in import CELL, MOST_BYTES, ROWS, merged, read
from labkit.hardware.classroom_seat import CLASS
from labkit.results.class_work import Tried, Work
from labkit.results.lesson_outline import exercises as places
from labkit.results.sweep_result import Sweep
from tests.classroom.test_board import HTML
from tests.exercises.test_exercises import job_of
from tests.results.test_curve import JSON
from tests.results.test_sweep_result import CURVE, measured


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Work:
    """The work of a notebook that has just begun."""
    monkeypatch.setattr(handed_in, "work", made := Work())
    monkeypatch.delenv(CLASS, raising=False)
    return made


def sweep(task: str = "faq", **about: Any) -> Sweep:
    one = measured(CURVE)
    return Sweep(one.table, {**one.provenance, "task": task, **about})


def test_untouched_lessons_are_handed_in_as_such(mine: Work, tmp_path: Path) -> None:
    done = labkit.hand_in(tmp_path / "new" / "hand_in.html")
    assert done.right == 0 and done.of == len(places()) and done.capstone is None
    assert list(done.table()["state"]) == ["open"] * done.of
    page = (tmp_path / "new" / "hand_in.html").read_text()
    assert "No guess was written down" in page and "No curve was measured" in page
    assert read(tmp_path / "new" / "hand_in.json") == done


def test_the_work_of_a_notebook_is_on_the_page_and_in_the_json(mine: Work, tmp_path: Path) -> None:
    mine.note_exercise("in_french", "not yet")
    mine.note_exercise("in_french", "right")
    mine.note_exercise("of_their_own", "right")
    mine.note_sweep(sweep(), {1: 1, 4: 8, 64: None})
    job = job_of({"text": [HTML * 20] + ["b"] * 20, "topic": ["work"] * 21})
    done = labkit.hand_in(tmp_path / "a.html", name=HTML, capstone=job)
    assert done.right == 2 and done.of == len(places()) + 1
    frame = done.table().set_index("exercise")
    assert list(frame.loc["in french"]) == [1, "right", 2, "The pipeline behind it, by hand"]
    (guess,) = done.guesses().to_dict("records")
    assert guess["expected (×)"] == 8 and guess["off by"] == pytest.approx(8 / (40 / 11))
    assert done.capstone is not None and len(done.capstone["rows"]) == ROWS
    assert all(len(cell) <= CELL for row in done.capstone["rows"] for cell in row)
    page = (tmp_path / "a.html").read_text()
    assert HTML not in page and not re.search(r"<(script|link|iframe)\b", page)
    assert page.count("<img") == 1 and "a record of work, not a proof" in page
    held = json.loads((tmp_path / "a.json").read_text())
    assert held["kind"] == "labkit hand-in" and held["right"] == 2
    assert held["exercises"][0] == {"name": "in_french", "state": "right", "tries": 2}
    assert read(tmp_path / "a.json") == done and done._repr_html_() in page


@pytest.mark.slow
def test_each_lesson_adds_to_what_lies_there(
    mine: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "h.html"
    mine.note_exercise("in_french", "right")
    mine.note_exercise("toy_lengths", "not yet")
    mine.note_sweep(sweep(), {1: 1, 4: 8})
    labkit.hand_in(file, name="Ada", capstone=job_of({"a": [1]}))
    monkeypatch.setattr(handed_in, "work", second := Work())
    second.note_exercise("in_french", "not yet")
    second.note_exercise("toy_lengths", "right")
    second.note_sweep(sweep())
    second.note_sweep(sweep("creative"))
    done = labkit.hand_in(file)
    assert done.name == "Ada" and done.capstone is not None
    assert done.exercises == {"in_french": Tried("right", 1), "toy_lengths": Tried("right", 1)}
    assert [one.task for one in done.curves] == ["faq", "creative"]
    assert done.curves[0].guess == {1: 1, 4: 8}
    again = labkit.hand_in(file)
    assert again == done, "twice is once"


def test_another_learner_s_work_is_not_overwritten(mine: Work, tmp_path: Path) -> None:
    file = tmp_path / "h.html"
    labkit.hand_in(file, name="Ada")
    before = (tmp_path / "h.json").read_bytes()
    with pytest.raises(LabError, match="holds the work of 'Ada'"):
        labkit.hand_in(file, name="Ben")
    assert (tmp_path / "h.json").read_bytes() == before
    assert labkit.hand_in(file, name="Ada").name == "Ada"


GARBAGE: list[bytes] = [b"", b"{}", b"[]", b"\xff\xfe", b"[" * 100_000, b"PAR1"]
GARBAGE += [b'{"kind": "labkit preflight"}', b" " * (MOST_BYTES + 1)]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:20]))
def test_a_file_of_another_kind_is_not_overwritten(
    content: bytes, mine: Work, tmp_path: Path
) -> None:
    (tmp_path / "h.json").write_bytes(content)
    with pytest.raises(LabError, match="is not what labkit.hand_in wrote"):
        labkit.hand_in(tmp_path / "h.html")
    assert (tmp_path / "h.json").read_bytes() == content and not (tmp_path / "h.html").exists()


@given(st.data(), JSON)
def test_any_json_is_a_hand_in_or_an_error_of_the_lab(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: Any
) -> None:
    file = tmp_path_factory.mktemp("h") / "h.json"
    one = handed_in.HandIn("Ada", "2026-01-01", {"a": "b"}, {"x": Tried("right", 1)}, (), None)
    whole = one.to_json() | {"capstone": {"numbers": {"a": "1"}, "columns": ["a"], "rows": [["b"]]}}
    name = data.draw(st.sampled_from(list(whole)))
    file.write_text(json.dumps({**whole, name: value}))
    try:
        found = read(file)
    except LabError:
        return
    json.dumps(merged(found, one).to_json(), allow_nan=False)
    assert "<script" not in found.page().html()


def test_odd_values_of_a_learner_s_own_rows_are_texts(mine: Work, tmp_path: Path) -> None:
    frame = {"a": [math.nan, None, b"\x00", {"x": [1]}, "\ud800", pd.Timestamp(0)], "b": [1] * 6}
    done = labkit.hand_in(tmp_path / "h.html", capstone=job_of(frame))
    assert read(tmp_path / "h.json") == done


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "h.txt"}, "such as 'hand_in.html'"),
        ({"path": "h.json"}, "such as 'hand_in.html'"),
        ({"name": 3}, "name must be text"),
        ({"capstone": pd.DataFrame()}, "what labkit.run gave"),
    ],
)
def test_what_can_not_be_handed_in_is_said(
    given: dict[str, Any], words: str, mine: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match=words):
        labkit.hand_in(**given)
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_not_be_written_is_said(mine: Work, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="can't be"):
        labkit.hand_in(tmp_path / "file" / "h.html")


def test_no_token_and_no_name_of_this_computer_is_handed_in(
    mine: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CLASS_TOKEN", "01-verysecret")
    labkit.hand_in(tmp_path / "h.html")
    for file in tmp_path.iterdir():
        text = file.read_text()
        assert "verysecret" not in text and str(Path.home()) not in text
        assert str(tmp_path) not in text


def test_the_newer_curve_keeps_the_older_guess() -> None:
    one = handed_in.HandIn("", "d", {}, {}, (), None)
    guessed = handed_in.curve(
        {"task": "a", "model": "b", "device": "c", "rate": "rows/s", "recorded": False,
         "points": [[1, 1, 1, 1], [2, 2, 2, 2]], "guess": [[1, 1.0], [2, 3.0]]}
    )  # fmt: skip
    newer = replace(guessed, guess={}, points=((1, 2.0, 2.0, 2.0), (2, 3.0, 3.0, 3.0)))
    (both,) = merged(replace(one, curves=(guessed,)), replace(one, curves=(newer,))).curves
    assert both.points == newer.points and both.guess == guessed.guess


def test_the_list_of_a_class(
    mine: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line a learner; files that are none are named, and lose nothing of the others."""
    for name in ("Ada", "=2+2"):
        for exercise in list(places())[: len(name)]:
            mine.note_exercise(exercise, "right")
        labkit.hand_in(tmp_path / f"{name}.html", name=name)
    (tmp_path / "bad.json").write_text("[]")
    files = sorted(map(str, tmp_path.glob("*.json")))
    out = tmp_path / "new" / "points.csv"
    assert main(["handed-in", *files, "--out", str(out)]) == 1
    shown = capsys.readouterr().out
    assert "left out:" in shown and "bad.json is not what labkit.hand_in wrote" in shown
    table = pd.read_csv(out, index_col="file")
    assert list(table.index) == ["'=2+2", "Ada"] and list(table["name"]) == ["'=2+2", "Ada"]
    assert list(table["right"]) == [4, 3] and set(table["of"]) == {len(places())}
    assert len(table.columns) == 5 + 3, "a column a lesson"
    assert main(["handed-in", *[file for file in files if "bad" not in file]]) == 0
    assert "Ada" in capsys.readouterr().out
    assert main(["handed-in", str(tmp_path / "absent.json")]) == 1
    assert "No file was handed in" in capsys.readouterr().out
