"""A seat on the board: off until asked for, sent at each change, off again, and over a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit.classroom.board import Board
from labkit.classroom.seats import Seats
from labkit.errors import LabError
from labkit.hardware.classroom_seat import CLASS, TOKEN
from labkit.results import class_work
from labkit.results.class_work import Work
from labkit.results.lesson_outline import lessons
from labkit.widgets import board_seat
from tests.classroom.stand_in import Class, opened
from tests.classroom.test_board import FREE, people
from tests.results.test_sweep_result import CURVE, measured

ABOUT = {"words": "a machine"}
CODE, SECTION = lessons()[0].cells[2][1:]


def until(done: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


class Shell:
    """Of IPython: the cells that ran, and who hears of the next."""

    def __init__(self) -> None:
        self.user_ns = {"In": ["", "1 + 1"]}
        self.callbacks: dict[str, list[Any]] = {"pre_run_cell": []}
        self.events = self

    def register(self, event: str, call: Any) -> None:
        self.callbacks[event].append(call)

    def unregister(self, event: str, call: Any) -> None:
        self.callbacks[event].remove(call)

    def run(self, code: str, cell_id: str = "") -> None:
        for call in self.callbacks["pre_run_cell"]:
            call(SimpleNamespace(raw_cell=code, cell_id=cell_id))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A notebook of its own, with no work in it yet, that sends quickly."""
    made, work = Shell(), Work()
    monkeypatch.setattr(board_seat, "_shell", lambda: made)
    for module in (class_work, board_seat):
        monkeypatch.setattr(module, "work", work)
    monkeypatch.setattr(board_seat, "APART_S", 0.01)
    monkeypatch.setattr(board_seat, "PAUSE_S", 0.05)
    monkeypatch.setattr(board_seat, "_now", None)
    for name in (CLASS, TOKEN):
        monkeypatch.delenv(name, raising=False)
    return made


class Server:
    """A class over HTTP that can be ended and begun again on its port."""

    def __init__(self, folder: Path):
        self.folder, self.tokens, self.port = folder, Seats(folder, 3), 0
        self.begin()

    def begin(self) -> None:
        self.room = Class(self.folder)
        self.board = Board(self.folder / "board", self.tokens.names())
        self._open = opened(self.room.turns, self.tokens, ABOUT, self.port, self.board)
        self.url, self.port = self._open.__enter__()

    def end(self) -> None:
        self._open.__exit__(None, None, None)

    def link(self, seat: str) -> str:
        return f"{self.url}/{self.tokens.token(seat)}"

    def names(self) -> list[tuple[str, str]]:
        return [(section, name) for _, section, name in people(self.board.told(FREE))]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.end()


def test_what_a_seat_does_is_on_the_board_from_share_to_stop(
    server: Server, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLASS, server.link("02"))
    shell.run(CODE)
    board_seat.work.note_sweep(measured(CURVE), {1: 1, 4: 8})
    time.sleep(0.1)
    assert not server.board.told(FREE)["shown"], "nothing before it is asked for"
    seat = labkit.share("Ada")
    assert "as 'Ada'" in repr(seat) and "no answers" in repr(seat)
    assert server.names() == [("no cell of a lesson yet", "Ada")]
    shell.run(CODE)
    assert until(lambda: server.names() == [(SECTION, "Ada")])
    (chart,) = server.board.told(FREE)["charts"]
    assert chart["guesses"][0]["guess"] == 8
    board_seat.work.note_exercise("in_french", "right")  # a change of which nothing is shown
    assert labkit.share(stop=True) is None
    assert not server.board.told(FREE)["shown"] and not shell.callbacks["pre_run_cell"]
    shell.run(CODE)
    board_seat.work.note_sweep(measured(CURVE))
    time.sleep(0.1)
    assert not server.board.told(FREE)["shown"] and not board_seat.work.watchers
    with pytest.raises(LabError, match="Nothing of this notebook"):
        labkit.share(stop=True)


def test_another_name_takes_the_place_of_the_first_and_the_cells_before_count(
    server: Server, shell: Shell
) -> None:
    shell.user_ns["In"].append(CODE)
    labkit.share("Ada", link=server.link("01"))
    assert server.names() == [(SECTION, "Ada")]
    labkit.share("", link=server.link("01"))
    assert server.names() == [(SECTION, "seat 01")]
    assert len(shell.callbacks["pre_run_cell"]) == len(board_seat.work.watchers) == 1
    labkit.share(stop=True)


def test_a_server_that_restarts_in_the_middle_is_told_what_changed_meanwhile(
    server: Server, shell: Shell
) -> None:
    seat = labkit.share("Ada", link=server.link("01"))
    assert seat is not None
    server.end()
    shell.run(CODE)
    assert until(lambda: seat.problem), "no cell fails for it"
    assert "could not be sent" in repr(seat)
    with pytest.raises(LabError, match="run this again"):
        board_seat.BoardSeat(seat.link, "").stop()
    server.begin()
    assert server.names()[0][1] == "Ada", "kept over the restart"
    assert until(lambda: server.names() == [(SECTION, "Ada")]) and until(lambda: not seat.problem)
    labkit.share(stop=True)


def test_a_link_of_another_class_is_refused_and_its_token_is_in_no_text(
    server: Server, shell: Shell
) -> None:
    for link, words in (
        (server.link("01")[:-1] + "x", "no token of this class"),
        (f"http://127.0.0.1:{server.port}/nothing", "no token of this class"),
        ("http://127.0.0.1:9/01-secret", "does not answer"),
        ("ftp://x", "not the link of a class"),
    ):
        with pytest.raises(LabError, match=words) as told:
            labkit.share("Ada", link=link)
        assert "secret" not in str(told.value)
        assert not shell.callbacks["pre_run_cell"] and board_seat._now is None
    with pytest.raises(LabError, match="no seat of a class.*hand_in"):
        labkit.share("Ada")
    with pytest.raises(LabError, match="name must be text"):
        labkit.share(3)  # type: ignore[arg-type]
    seat = labkit.share("Ada", link=server.link("01"))
    assert server.tokens.token("01") not in repr(seat)
    labkit.share(stop=True)


def test_there_is_a_shell_in_a_notebook_alone() -> None:
    assert board_seat._shell() is None
