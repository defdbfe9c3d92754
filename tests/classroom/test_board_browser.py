"""The board in a browser while thirty seats show themselves, restart and leave.

Screenshots go to build/screenshots. Without Chromium the test is skipped, unless REQUIRE_BROWSER is
set.
"""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from labkit.classroom import board_http
from labkit.classroom.board import NAME, Board, body
from labkit.classroom.seats import Seats
from labkit.classroom.turn_queue import Limits
from labkit.hardware.classroom_seat import Link
from labkit.results.curve import Curve
from labkit.results.lesson_outline import lessons
from tests.browser import opened as opened_browser
from tests.classroom.stand_in import Class, opened
from tests.classroom.test_board import HTML
from tools.browser import until

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
WORDS = "1 × NVIDIA H100 80GB HBM3, with <smollm2-135m>"
NAMES = ["Ada", "Grace", "Emmy", "Noor", "Łukasz", "Zoë", "María José", "Søren", "金子", "أمل",
         "Oluwaseun", "Maximiliane Theodora", "Jo", "Priya", "Tomás", "Ines", "Yann", "Bo",
         "Chiara", "Dmitri", "Elif", "Femi", "Gita", "Hugo", "Imani", "Jan", "Kim", "Lea",
         HTML, ""]  # fmt: skip
DEVICES = [
    ("1 × NVIDIA H100 80GB HBM3", 900.0, 20),
    ("2 CPU cores (Intel Xeon, AVX-512)", 60.0, 7),
    ("4 CPU cores (AMD EPYC, AVX-512)", 110.0, 3),
]


def curve(number: int, of: random.Random) -> Curve:
    device, base, _ = DEVICES[0 if number < 20 else 1 if number < 27 else 2]
    points = []
    for rows in (1, 4, 16, 64):
        rate = base * rows**0.78 / (1 + rows / 160) * of.uniform(0.88, 1.12)
        points.append((rows, rate, rate * 0.95, rate * 1.05))
    guess = {1: 1.0, **{n: round(n ** of.uniform(0.5, 1.05), 1) for n in (4, 16, 64)}}
    return Curve("faq", "smollm2-135m", device, "output tokens/s", tuple(points), guess)


class Seat:
    """What a learner's notebook sends, over HTTP."""

    def __init__(self, url: str, tokens: Seats, number: int):
        self.link = Link(url, tokens.token(f"{number + 1:02}"))
        self.name, self.of = NAMES[number], random.Random(number)
        self.curves: list[Curve] = []
        self.number = number

    def show(self, section: int) -> None:
        title = lessons()[0].sections[section]
        self.link.call("PUT", "board", body(self.name, 1, title, self.curves), timeout_s=10)

    def measure(self, section: int) -> None:
        self.curves = [curve(self.number, self.of)]
        self.show(section)

    def leave(self) -> None:
        self.link.call("DELETE", "board", timeout_s=10)


def test_thirty_seats_on_a_board_that_stays_open(tmp_path: Path) -> None:
    tokens, shot = Seats(tmp_path, 30), 0
    about = {"words": WORDS}

    def server(room: Class, port: int = 0) -> Any:
        entries = Board(tmp_path / "board", tokens.names())
        return opened(room.turns, tokens, about, port, entries)

    with opened_browser() as browser:

        def text(name: str) -> str:
            return str(browser.find_element("id", name).text)

        def count(css: str) -> int:
            return len(browser.find_elements("css selector", css))

        def look(name: str, width: int, height: int) -> None:
            nonlocal shot
            SHOTS.mkdir(parents=True, exist_ok=True)
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            time.sleep(0.5)  # the page draws anew a moment after the last change of its size
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, f"{name} scrolls sideways at {width}"
            browser.save_screenshot(str(SHOTS / f"board-{name}-{width}.png"))
            shot += 1

        room, go_on = Class(tmp_path, Limits(away_s=1e9), row_s=0.25), threading.Event()
        room.engine.meanwhile = lambda: len(room.engine.asked[-1]) < 40 or go_on.wait(60)
        with server(room) as (url, port):
            browser.set_window_size(1920, 1080)
            browser.get(f"{url}/board/{board_http.token(tokens)}")
            until(lambda: "0 of 30" in text("count"), "the empty board")
            assert "labkit.share" in text("where") and "free" in text("queue")
            look("empty", 1920, 1080)
            seats = [Seat(url, tokens, number) for number in range(30)]
            for seat in seats:
                seat.show(seat.number % 5)
            until(lambda: "30 of 30" in text("count"), "thirty names")
            for seat in seats:
                seat.measure(5 if seat.number % 3 else 4)
            until(lambda: count("#curves .thin") == 30, "thirty curves")
            assert count("#curves .bold") == 6, "a line and a key for each of three devices"
            until(lambda: count("#guesses .dot") == 90, "three guesses of each")
            room.queue._took.extend([20.0, 30.0])
            for number in range(1, 12):
                room.add(f"{number:02}", f"job{number}", rows=100)
            until(lambda: "Ada: 40 of 100 rows" in text("queue"), "whose turn it is")
            assert "1. Grace · 15 s" in text("queue") and count("#queue .chip") == 10
            where = text("where")
            assert HTML[:NAME] in where and "seat 30" in where and "أمل" in where
            assert WORDS in browser.find_element("tag name", "h1").text
            assert not browser.find_elements("css selector", "img, body b, iframe")
            for width, height in ((1920, 1080), (1280, 800), (390, 844)):
                look("full", width, height)
            dark = [{"name": "prefers-color-scheme", "value": "dark"}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
            look("dark", 1920, 1080)
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
            browser.find_element("id", "names").click()
            until(lambda: "Ada" not in text("where") and "seat 01" in text("where"), "no names")
            browser.find_element("id", "names").click()
            seats[0].leave()
            until(lambda: "29 of 30" in text("count") and "Ada" not in text("where"), "Ada left")
            bad = browser.execute_script("return document.body.innerHTML")
            assert not [name for name in tokens.names() if tokens.token(name) in bad]
            room.turns.stop()
            go_on.set()
        room.queue.close()
        until(lambda: "away" in text("away") and "30 seats" in text("count"), "the server is away")
        look("away", 1280, 800)
        with server(again := Class(tmp_path), port):
            until(lambda: not text("away"), "the page is live again")
            assert "29 of 30" in text("count") and count("#curves .thin") == 29
            seats[1].show(6)
            until(lambda: "Recap (1)" in text("where"), "and shows what is new")
        again.queue.close()
        said = [line for line in browser.get_log("browser") if "ERR_CONN" not in line["message"]]
        assert not said, "but that the server was away for a while"
        assert shot == 6
