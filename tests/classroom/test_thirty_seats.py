"""Thirty learners, each a process of its own, go through lesson 2's panel on one server with a real
engine; the server is killed in the middle. What counts on two cores is order, fairness and loss:
all of it is asserted by the server's own records."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learners
from benchmarks.classroom import chance, links, opened, records, report, strangers, summary, waits
from labkit.classroom.server import MOST_BYTES
from labkit.classroom.turn_queue import Limits
from labkit.hardware.classroom_seat import Link, Refused
from labkit.rows import wire
from labkit.rows.requests import REQUEST
from tests.classroom.stand_in import asked
from tests.classroom.test_asked import job, sent

SEATS = 30
#: Of each learner: the run that warms the engine up, the panel's four points, a job of its own.
JOBS = 6
#: Seconds of a turn's wait that are no other's turn: a call of a seat, a thread that wakes.
SLACK_S = 1.0


def turn(seat: str, arrived: float, began: float, ended: float | None) -> dict[str, Any]:
    return {"seat": seat, "turn": seat, "arrived": arrived, "began": began, "ended": ended}


def test_a_wait_is_held_against_the_turns_before_it() -> None:
    """Two turns: the second came with the first and waited for it."""
    found = waits([turn("01", 0.0, 0.5, 2.5), turn("02", 0.0, 2.6, 3.0)])
    assert [(one["waited"], one["before"]) for one in found] == [(0.5, 0.0), (2.6, 2.0)]


def test_a_time_without_a_server_is_no_wait_and_no_turn() -> None:
    """The first turn is cut at 3, the server is back at 10 and runs it again."""
    turns = [turn("01", 0, 1, None), turn("01", 0, 10, 12), turn("02", 2, 12.5, 13)]
    found = waits(turns, away=(3.0, 10.0))
    assert [(one["waited"], one["before"]) for one in found] == [(1, 0), (3, 2), (3.5, 3)]


def test_the_report_is_of_what_was_measured() -> None:
    measured = {
        "alone": [{"4": 10.0}, {"4": 20.0}],
        "learners": {"01": {"4": 15.0}, "02": {"4": 30.0}},
        "own": {"01": [[1, 31], [101, 131]], "02": [[2, 32], [102, 99]]},
        "turns": waits([turn("01", 0.0, 0.5, 2.5), turn("02", 0.0, 2.6, 3.0)]),
    }
    found = summary(measured)
    assert found["points"]["4"]["inside"] == 1 and found["points"]["4"]["outside_at_most"] == 0.5
    assert found["rows_of_others"] == 1
    assert found["waited_beyond_turns_before_s"] == pytest.approx(0.6)
    words = report(measured)
    assert "2 learners in 3 s, 2 turns" in words and "1.300 times" in words
    assert "1 of 4 own rows came from others" in words
    last = ["1", "of", "2", "(", "0.7)", "50.0%", "1.50", "0.44"]
    assert words.splitlines()[-1].split()[-8:] == last
    assert chance([1, 2, 3], [1, 2, 3]) == 1 and chance(range(9), range(9, 30)) < 0.001


def test_what_was_cut_off_has_a_report() -> None:
    assert summary({})["points"] == {} and report({"alone": [{"4": 10.0}]})


@pytest.mark.endurance
@pytest.mark.engine
def test_thirty_seats_and_a_server_that_is_killed(
    tmp_path: Path, tiny: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICK", "1")  # two rounds a point: it is order that counts
    model, began = f"--model={tiny.source}", time.monotonic()
    with learners.loaded(tmp_path / "class") as some:
        with opened(tmp_path, SEATS, "--port=0", model) as (url, server):
            every = links(tmp_path, SEATS, url)
            some.go(every)
            until(lambda: ended(tmp_path) > 2, some)
            refused = trouble(url, every["01"])
            until(lambda: ended(tmp_path) > SEATS // 3, some)
            server.kill()
            gone = time.time()
            server.wait()
        with opened(tmp_path, SEATS, f"--port={url.rpartition(':')[2]}", model) as (again, _):
            assert again == url
            back = opening(tmp_path, gone)
            until(lambda: not some.working(), some)
            took = time.monotonic() - began
    assert refused == {401: 3, 400: 3, 413: 2, 404: 1}
    results = some.results()
    assert all(len(one["curves"][0]) == JOBS - 2 for one in results.values())
    own = [row for one in results.values() for row in one["own"]]
    assert len({words for words, _ in own}) == SEATS * learners.OWN_ROWS and not strangers(own)
    log = records(tmp_path, "log")
    done = [run for run in log if run["state"] == "done"]
    assert Counter(run["seat"] for run in done) == dict.fromkeys(every, JOBS), "lost, or run twice"
    assert len({run["id"] for run in done}) == len(done)
    turns = waits(records(tmp_path, "turns"), (gone, back))
    assert_one_at_a_time(turns)
    assert_fair(turns)
    for one in turns:
        assert one["waited"] <= 1.1 * one["before"] + SLACK_S, one
    whole = {one["turn"]: one["ended"] - one["began"] for one in turns if one["ended"] is not None}
    jobs = sum(run["finished"] - run["began"] for run in done if run["turn"] in whole)
    assert jobs > 0.75 * sum(whole.values()), "a turn is not a time in which nothing runs"
    with capsys.disabled():
        curves = [one["curves"][0] for one in results.values()]
        measured = {"alone": curves, "learners": dict(zip(every, curves, strict=True))}
        own_rows = {seat: one["own"] for seat, one in results.items()}
        print(f"\n{took:.0f} s in all, {back - gone:.0f} s of it without a server")
        print(report({**measured, "turns": turns, "own": own_rows, "runs": done}))


def until(true: Callable[[], bool], some: learners.Learners, most_s: float = 400) -> None:
    """Wait for it, while no learner fails."""
    deadline = time.monotonic() + most_s
    while not true():
        some.working()
        assert time.monotonic() < deadline, some.results()
        time.sleep(0.2)


def ended(folder: Path) -> int:
    """How many turns have ended."""
    return sum(turn["ended"] is not None for turn in records(folder, "turns"))


def opening(folder: Path, gone: float) -> float:
    """When the server took jobs again, after it was gone."""
    until_then = time.monotonic() + 30
    while time.monotonic() < until_then:
        later = [turn["began"] for turn in records(folder, "turns") if turn["began"] > gone]
        if later:
            return float(min(later))
        time.sleep(0.1)
    raise AssertionError("the line does not go on")


def trouble(url: str, link: str) -> Counter[int]:
    """What somebody without a seat, and a seat with nonsense, are told: by HTTP's status."""
    token = link.rpartition("/")[2]
    told: Counter[int] = Counter()
    many = wire.to_columns(asked(["?"] * (Limits().rows + 1)), REQUEST)
    calls: list[tuple[str, str, str, bytes | None]] = [
        ("GET", "about", "01-" + "0" * 20, None),
        ("PUT", "jobs/x", "99-" + "0" * 20, sent(job())),
        ("DELETE", "turns/x", "x", None),
        ("PUT", "jobs/x", token, b"\x80\x04\x95."),
        ("PUT", "jobs/x", token, b"[" * 100_000),
        ("PUT", "jobs/x", token, sent(job(knobs={}))),
        ("PUT", "jobs/x", token, sent(job(turn="x" * 2 * MOST_BYTES))),
        ("PUT", "jobs/x", token, sent(job(requests=many))),
        ("GET", "jobs/x", token, None),
    ]
    for method, path, shown, body in calls:
        with pytest.raises(Refused) as refused:
            Link(url, shown).call(method, path, body)
        told[refused.value.status] += 1
    return told


def assert_one_at_a_time(turns: list[dict[str, Any]]) -> None:
    """No turn begins before that of another has ended."""
    for one, after in itertools.pairwise(turns):
        assert one["ended"] is None or one["ended"] <= after["began"], (one, after)


def assert_fair(turns: list[dict[str, Any]]) -> None:
    """Between two turns of a seat, each other seat that waited all the time had one. What was cut
    is no turn."""
    whole = [one for one in turns if one["ended"] is not None]
    last: dict[str, int] = {}
    for later, second in enumerate(whole):
        at = last.get(second["seat"])
        last[second["seat"]] = later
        if at is None:
            continue
        first, between = whole[at], {one["seat"] for one in whole[at + 1 : later]}
        for other in whole[later + 1 :]:
            waited = other["arrived"] < first["began"]
            assert not waited or other["seat"] in between, (first, second, other)
