"""Who asks for a drawing does not wait for it."""

from __future__ import annotations

import contextvars
import threading

import pytest

from labkit.widgets.drawn_later import DrawnLater


def test_what_was_asked_for_meanwhile_is_drawn_once_and_at_last() -> None:
    state, drawn, go, last = [0], list[int](), threading.Event(), threading.Event()

    def draw() -> None:
        assert go.wait(10)
        drawn.append(state[0])
        if state[0] == 9:
            last.set()

    later = DrawnLater(draw)
    for number in range(10):
        state[0] = number
        later()  # returns, though nothing can be drawn yet
    go.set()
    assert last.wait(10) and drawn[-1] == 9 and len(drawn) <= 2


def test_each_drawing_has_the_context_of_who_asked() -> None:
    cell, seen, done = contextvars.ContextVar("cell", default=""), list[str](), threading.Event()

    def draw() -> None:
        seen.append(cell.get())
        done.set()

    cell.set("third cell")
    DrawnLater(draw)()
    assert done.wait(10) and seen == ["third cell"]


def test_a_drawing_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    told, drawn = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda about: told.set())

    def draw() -> None:
        if not told.is_set():
            raise RuntimeError("no font")
        drawn.set()

    later = DrawnLater(draw)
    later()
    assert told.wait(10), "it is not passed over"
    later()
    assert drawn.wait(10)
