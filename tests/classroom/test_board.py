"""What the board shows: only what a seat chose to show, looked at, and kept over a restart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.classroom import board
from labkit.classroom.board import KEEP_S, MOST_BYTES, MOST_CURVES, QUIET_S, Board, body, entry
from labkit.errors import LabError
from labkit.results.curve import Curve
from labkit.results.lesson_outline import lessons
from tests.classroom.stand_in import Class, Clock
from tests.results.test_curve import JSON, ONE

SEATS = ["01", "02", "03"]
SECTION = lessons()[0].sections[2]
GUESSED = Curve(**{**vars(ONE), "guess": {1: 1, 8: 16}})
FREE: dict[str, Any] = {"turn": None, "waiting": []}
HTML = '<img src=x onerror="alert(1)">'


def sent(**change: Any) -> bytes:
    whole = json.loads(body("Ada", 1, SECTION, [GUESSED]))
    return json.dumps({**whole, **change}).encode()


def people(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (lesson["title"], section["title"], one["name"])
        for lesson in told["lessons"]
        for section in lesson["sections"]
        for one in section["people"]
    ]


def test_nobody_is_shown_who_did_not_ask_for_it(tmp_path: Path) -> None:
    told = Board(tmp_path, SEATS).told({"turn": {"seat": "02"}, "waiting": [{"seat": "01"}]})
    assert not told["shown"] and not told["lessons"] and not told["charts"]
    assert told["queue"]["turn"]["name"] == "seat 02"
    assert told["queue"]["waiting"][0]["name"] == "seat 01"


def test_where_a_learner_is_and_their_curve_and_guess(tmp_path: Path) -> None:
    shown = Board(tmp_path, SEATS)
    shown.put("02", sent())
    shown.put("01", sent(name="", curves=[ONE.to_json()]))
    told = shown.told({"turn": {"seat": "02", "rows": 3}, "waiting": []})
    title = lessons()[0].title
    assert people(told) == [(title, SECTION, "seat 01"), (title, SECTION, "Ada")]
    assert told["queue"]["turn"] == {"seat": "02", "rows": 3, "name": "Ada"}
    (chart,) = told["charts"]
    (device,) = chart["devices"]
    assert [one["name"] for one in device["curves"]] == ["seat 01", "Ada"]
    assert device["median"] == [(1, 10), (8, 40)] and device["speed_ups"] == [(1, 1), (8, 4)]
    assert chart["guesses"] == [
        {"seat": "02", "name": "Ada", "rows": 8, "guess": 16.0, "measured": 4.0}
    ]
    assert "8 rows in flight the class expected 16.0× (1 guess" in chart["sentence"]
    assert "measured: 4.0×" in chart["sentence"]
    json.dumps(told, allow_nan=False)


def test_what_can_not_be_compared_is_on_charts_of_its_own(tmp_path: Path) -> None:
    shown = Board(tmp_path, SEATS)
    other = {**ONE.to_json(), "task": "creative"}
    recorded = {**ONE.to_json(), "task": "played back", "recorded": True}
    elsewhere = {**ONE.to_json(), "device": "1 × H100"}
    shown.put("01", sent(curves=[other, ONE.to_json(), recorded]))
    shown.put("02", sent(curves=[elsewhere]))
    charts = shown.told(FREE)["charts"]
    assert [(one["task"], one["count"]) for one in charts] == [("faq", 2), ("creative", 1)]
    assert {one["device"] for one in charts[0]["devices"]} == {"2 cores", "1 × H100"}


def test_who_leaves_is_gone_with_all_that_was_kept(tmp_path: Path) -> None:
    shown = Board(tmp_path, SEATS)
    shown.put("01", sent())
    shown.leave("01"), shown.leave("01"), shown.leave("02")
    assert not shown.told(FREE)["shown"] and not list(tmp_path.iterdir())
    assert not Board(tmp_path, SEATS).told(FREE)["shown"]


def test_a_restart_keeps_the_entries_and_passes_over_damaged_ones(tmp_path: Path) -> None:
    before = Board(tmp_path, SEATS)
    before.put("01", sent())
    before.put("02", sent(name="Ben"))
    (tmp_path / "02.json").write_bytes(sent()[:40])
    (tmp_path / "03.json").write_bytes(b"x" * (MOST_BYTES + 1))
    (tmp_path / "99.json").write_bytes(sent(name="of no seat"))
    after = Board(tmp_path, SEATS)
    assert [name for *_, name in people(after.told(FREE))] == ["Ada"]
    after.put("02", sent(name="Ben"))
    assert len(people(Board(tmp_path, SEATS).told(FREE))) == 2


def test_a_folder_that_can_not_be_written_shows_what_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown = Board(tmp_path / "file" / "board", SEATS)
    shown.put("01", sent())
    assert shown.told(FREE)["shown"] == 1
    shown.leave("01")
    assert not shown.told(FREE)["shown"]


def test_who_gives_no_sign_is_marked_and_then_taken_off(tmp_path: Path) -> None:
    clock = Clock()
    shown = Board(None, SEATS, clock)
    shown.put("01", sent())
    clock.now += QUIET_S
    shown.put("02", sent(name="Ben", lesson=0, section=""))
    told = shown.told(FREE)
    quiet = {p["name"]: p["quiet"] for le in told["lessons"] for s in le["sections"]
             for p in s["people"]}  # fmt: skip
    assert quiet == {"Ada": True, "Ben": False} and told["lessons"][-1]["title"] == "Here"
    clock.now += KEEP_S - QUIET_S
    assert shown.told(FREE)["shown"] == 1


BAD: list[dict[str, Any]] = [
    {"name": 1},
    {"name": None},
    {"lesson": 4},
    {"lesson": -1},
    {"lesson": True},
    {"lesson": 1.0},
    {"section": None},
    {"curves": {}},
    {"curves": [1]},
    {"curves": [ONE.to_json()] * (MOST_CURVES + 1)},
    {"curves": [{**ONE.to_json(), "points": [[1, math.nan, 1, 1]]}]},
    {"token": "x"},
    {"name": "x" * MOST_BYTES},
]


@pytest.mark.parametrize("change", BAD, ids=lambda change: str(change)[:40])
def test_what_is_no_entry_is_refused_and_what_was_there_stays(
    change: dict[str, Any], tmp_path: Path
) -> None:
    shown = Board(tmp_path, SEATS)
    shown.put("01", sent())
    with pytest.raises(LabError):
        shown.put("01", sent(**change))
    assert len(people(shown.told(FREE))) == 1
    for garbage in (b"", b"[]", b"\xff", b"[" * 100_000, b'{"name": 1}', b"\x80\x04\x95."):
        with pytest.raises(LabError):
            shown.put("01", garbage)


@given(st.sampled_from(["name", "lesson", "section", "curves"]), JSON)
def test_any_json_is_an_entry_or_an_error_of_the_lab(field: str, value: Any) -> None:
    shown = Board(None, SEATS)
    try:
        shown.put("01", sent(**{field: value}))
    except LabError:
        return
    json.dumps(shown.told(FREE), allow_nan=False)


def test_texts_of_a_learner_are_short_and_a_section_is_one_of_the_lessons() -> None:
    one = entry(sent(name=HTML * 9 + "\u202e", section=HTML), 0.0)
    assert one.name == (HTML * 9)[: board.NAME] and one.section == ""
    assert entry(sent(lesson=0), 0.0).section == ""


def test_what_a_seat_sends_holds_no_more_than_the_last_curves_it_measured() -> None:
    played = Curve(**{**vars(ONE), "recorded": True})
    named = [Curve(**{**vars(ONE), "task": f"t{n}"}) for n in range(9)]
    found = entry(body("", 1, SECTION, [*named, played]), 0.0)
    assert [one.task for one in found.curves] == ["t5", "t6", "t7", "t8"]


def test_the_line_is_shown_in_its_order_with_the_wait(tmp_path: Path) -> None:
    room = Class(tmp_path)
    assert room.queue.overview() == {"turn": None, "waiting": []}
    room.add("01", "a", rows=4)
    room.add("02", "b")
    assert [one["wait_s"] for one in room.queue.overview()["waiting"]] == [None, None]
    seen = []
    room.engine.meanwhile = lambda: (room.hear(), seen.append(room.queue.overview()))  # type: ignore[func-returns-value]
    room.turns.step()
    assert [one["turn"]["rows_done"] for one in seen] == [0, 1, 2, 3, 4]
    assert all(one["turn"]["seat"] == "01" and one["turn"]["rows"] == 4 for one in seen)
    assert [[w["seat"] for w in one["waiting"]] for one in seen] == [["02"]] * 5
    room.engine.meanwhile = lambda: None
    room.serve()
    room.add("01", "c")
    room.add("03", "d")
    waits = [one["wait_s"] for one in room.queue.overview()["waiting"]]
    assert waits[0] is not None and waits[1] > waits[0]
