"""The class over HTTP, without an engine: tokens, sizes, rates, and no way to another's jobs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from labkit.classroom import board_http, server
from labkit.classroom.board import MOST_BYTES as BOARD_BYTES
from labkit.classroom.seats import Seats, sheet, welcome
from labkit.classroom.server import BURST, MOST_BYTES, Rates, Server
from labkit.classroom.turn_queue import Limits
from labkit.errors import LabError
from tests.classroom.stand_in import Class, Clock
from tests.classroom.test_asked import job, sent
from tests.classroom.test_board import HTML
from tests.classroom.test_board import sent as shown

ABOUT = {"words": "a machine", "machine": {}}


class Room(Class):
    """A class that is asked over HTTP."""

    def __init__(self, folder: Path, limits: Limits | None = None):
        super().__init__(folder, limits)
        self.tokens = Seats(folder, 3)
        self.server = Server(self.queue, self.tokens, ABOUT)
        self.http = TestClient(self.server.app)

    def ask(self, method: str, path: str, seat: str | None = "01", **given: Any) -> Any:
        token = self.tokens.token(seat) if seat in self.tokens.names() else seat
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.http.request(method, path, headers=headers, **given)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_job_goes_in_and_its_responses_come_out(room: Room) -> None:
    told = room.ask("PUT", "/jobs/j1", content=sent(job()))
    assert told.status_code == 200
    assert told.json()["state"] == "waiting" and told.json()["before"] == 0
    assert room.ask("GET", "/jobs/j1/responses").status_code == 404
    room.turns.step()
    assert room.ask("GET", "/jobs/j1").json()["state"] == "done"
    found = room.ask("GET", "/jobs/j1/responses").json()
    assert found["result"]["columns"]["text"] == ["A", "B"]
    assert found["about"]["attempt"] == 1
    assert room.ask("DELETE", "/jobs/j1").status_code == 200
    assert room.ask("DELETE", "/jobs/j1").status_code == 200, "told twice"
    assert room.ask("GET", "/jobs/j1").status_code == 404


CALLS = [("GET", "/about"), ("PUT", "/jobs/j1"), ("GET", "/jobs/j1"), ("DELETE", "/jobs/j1")]
CALLS += [("GET", "/jobs/j1/responses"), ("DELETE", "/turns/t1")]
CALLS += [("PUT", "/board"), ("DELETE", "/board")]


@pytest.mark.parametrize("token", [None, "", "01", "01-", "01-" + "0" * 20, "99-" + "0" * 20, "é"])
@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_without_a_right_token_nothing_is_told(
    room: Room, call: tuple[str, str], token: str | None
) -> None:
    room.add("01", "j1")
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    answer = room.http.request(*call, headers=headers, content=sent(job()))
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}
    assert [row["id"] for row in room.queue.file.waiting()] == ["j1"]


def test_every_route_asks_for_a_token(room: Room) -> None:
    """Those that are yet to come, too."""
    for route in room.server.app.routes:
        path = route.path.replace("{job}", "j").replace("{turn}", "t").replace("{token}", "x")
        for method in route.methods:
            assert room.http.request(method, path).status_code == 401, (method, path)


def test_the_token_of_another_class_is_none(room: Room, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Seats(tmp_path / "other", 3)
    assert room.ask("GET", "/about", other.token("01")).status_code == 401
    assert Seats(tmp_path, 3).token("01") == room.tokens.token("01"), "after a restart"


def test_a_seat_has_no_way_to_the_jobs_of_another(room: Room) -> None:
    room.ask("PUT", "/jobs/j1", content=sent(job()))
    room.turns.step()
    for method, path in (("GET", "/jobs/j1"), ("GET", "/jobs/j1/responses")):
        assert room.ask(method, path, "02").status_code == 404
    room.ask("DELETE", "/jobs/j1", "02")
    assert room.ask("PUT", "/jobs/j1", "02", content=sent(job())).status_code == 404
    assert room.ask("GET", "/jobs/j1").json()["state"] == "done"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\x80\x04\x95.", b"[" * 200_000, sent(job(knobs={}))]
)
def test_garbage_is_refused_and_the_line_goes_on(room: Room, body: bytes) -> None:
    answer = room.ask("PUT", "/jobs/j1", content=body)
    assert answer.status_code == 400 and answer.json()["error"]
    room.ask("PUT", "/jobs/j2", content=sent(job()))
    room.serve()
    assert room.order() == ["j2"]


@pytest.mark.parametrize("name", ["..", "a b", "a" * 65, "é", "%00", "a.b"])
def test_names_of_jobs_have_letters_and_digits(room: Room, name: str) -> None:
    answer = room.ask("PUT", f"/jobs/{name}", content=sent(job()))
    assert answer.status_code in (400, 404, 405)
    assert not room.queue.file.waiting()


def test_a_body_that_is_too_large_is_refused_whatever_it_says(room: Room) -> None:
    def endless() -> Any:
        for _ in range(2 * MOST_BYTES // 65536):
            yield b" " * 65536

    answer = room.ask("PUT", "/jobs/j1", content=endless())
    assert answer.status_code == 413 and "MiB" in answer.json()["error"]


def test_too_many_rows_and_jobs_are_refused(tmp_path: Path) -> None:
    room = Room(tmp_path, Limits(rows=1, waiting=1))
    answer = room.ask("PUT", "/jobs/j1", content=sent(job()))
    assert answer.status_code == 413 and "at most 1 rows, not 2" in answer.json()["error"]


def test_a_seat_that_asks_all_the_time_is_slowed_down_and_no_other(room: Room) -> None:
    room.server.rates.clock = Clock()
    states = [room.ask("GET", "/about").status_code for _ in range(BURST + 1)]
    assert states == [200] * BURST + [429]
    assert room.ask("GET", "/about", "02").status_code == 200
    room.server.rates.clock.now += 1
    assert room.ask("GET", "/about").status_code == 200


def test_tokens_can_not_be_tried_in_masses(room: Room) -> None:
    room.server.rates.clock = Clock()
    states = {room.ask("GET", "/about", f"01-{n:020}").status_code for n in range(2 * BURST)}
    assert states == {401, 429}
    assert room.ask("GET", "/about").status_code == 200, "a seat behind the same address"


def test_the_rates_of_many_names_are_forgotten() -> None:
    rates = Rates(Clock())
    assert all(rates.allow(str(n)) for n in range(20_000))
    assert len(rates._left) <= 10_001


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "1e999"])
def test_a_wait_is_a_few_seconds(room: Room, wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LONGEST_S", 0.1)
    room.add("01", "j1")
    assert room.ask("GET", f"/jobs/j1?wait={wait}").status_code in (200, 400)


def test_a_link_says_how_to_go_on_and_the_sheet_has_all_links(room: Room) -> None:
    token = room.tokens.token("02")
    page = room.http.get(f"/{token}")
    assert page.status_code == 200 and "seat 02" in page.text and token in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert room.http.get("/02-0").status_code == 401
    made = sheet(room.tokens, "http://host:1", "<b>a machine</b>")
    assert all(f"http://host:1/{room.tokens.token(seat)}" in made for seat in ("01", "02", "03"))
    assert "<b>a machine" not in made and "<b>" not in welcome("01", "x", "<b>")


def test_a_sheet_has_a_code_for_each_link(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is a sheet without the package that draws them."""
    segno = pytest.importorskip("segno")
    made = sheet(room.tokens, "http://host:1", "a machine")
    for seat in room.tokens.names():
        svg = segno.make_qr(f"http://host:1/{room.tokens.token(seat)}").svg_inline(scale=3)
        (path,) = re.findall(r'd="([^"]+)"', svg)
        assert path in made
    monkeypatch.setitem(sys.modules, "segno", None)
    assert "<svg" in made and "<svg" not in sheet(room.tokens, "http://host:1", "a machine")


@pytest.mark.parametrize("number", [0, -1, 1000, True])
def test_a_number_of_seats_that_is_none_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(LabError, match="1 to 999 seats"):
        Seats(tmp_path, number)


def test_a_damaged_key_is_said(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(LabError, match="delete it"):
        Seats(tmp_path, 3)


def test_the_key_is_for_its_owner_alone(room: Room, tmp_path: Path) -> None:
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    assert json.loads(room.ask("GET", "/about").text)["seat"] == "01"


# --- the board -----------------------------------------------------------------------------------


def test_a_seat_shows_itself_and_the_projector_s_link_shows_the_class(room: Room) -> None:
    assert room.ask("PUT", "/board", content=shown(name=HTML)).status_code == 200
    link = f"/board/{board_http.token(room.tokens)}"
    told = room.http.get(f"{link}/state")
    assert told.status_code == 200 and told.headers["content-type"] == "application/json"
    assert told.json()["shown"] == 1 and HTML[:20] in told.json()["lessons"][0].__str__()
    page = room.http.get(link)
    assert page.status_code == 200 and ABOUT["words"] in page.text and HTML not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in (page.text, told.text):
        assert not [n for n in ("board", *room.tokens.names()) if room.tokens.token(n) in text]


def test_the_board_s_link_opens_nothing_else_and_no_seat_s_token_opens_the_board(
    room: Room,
) -> None:
    link = board_http.token(room.tokens)
    for method, path in CALLS:
        assert room.ask(method, path, link).status_code == 401
    for token in (room.tokens.token("01"), "board", "board-" + "0" * 20, "é", "x" * 5000):
        for end in ("", "/state"):
            assert room.http.get(f"/board/{token}{end}").status_code == 401


def test_a_page_s_scripts_run_by_a_number_that_is_used_once(room: Room) -> None:
    link = f"/board/{board_http.token(room.tokens)}"
    policies = {room.http.get(link).headers["content-security-policy"] for _ in range(3)}
    assert len(policies) == 3
    assert "{{" not in room.http.get(link).text


def test_what_is_too_large_or_no_entry_is_refused(room: Room) -> None:
    for content in (b" " * (BOARD_BYTES + 1), b"", b"{}", b"\x80\x04\x95.", shown(lesson=99)):
        answer = room.ask("PUT", "/board", content=content)
        assert answer.status_code == 400 and answer.json()["error"]
    assert room.ask("PUT", "/board", content=shown()).status_code == 200
    assert room.ask("DELETE", "/board").status_code == 200


def test_one_look_at_the_line_serves_all_and_too_many_looks_are_slowed_down(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, overview = [], room.queue.overview
    monkeypatch.setattr(room.queue, "overview", lambda: (looks.append(1), overview())[1])
    room.server.rates.clock = Clock()
    link = f"/board/{board_http.token(room.tokens)}/state"
    states = [room.http.get(link).status_code for _ in range(BURST + 1)]
    assert states == [200] * BURST + [429] and len(looks) < BURST / 4
    assert room.ask("GET", "/about").status_code == 200
