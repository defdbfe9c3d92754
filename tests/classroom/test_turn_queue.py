"""The line of a class: order, fairness, limits, cancel, seats that vanish, and restarts."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.classroom.turn_queue import MOST_ATTEMPTS, Limits, NoSuchJob, TooMuch
from tests.classroom.stand_in import Class


@pytest.fixture
def room(tmp_path: Path) -> Class:
    return Class(tmp_path)


def test_each_seat_has_one_turn_a_round(room: Class) -> None:
    """However many jobs one of them puts in line before the others come."""
    for job in ("a1", "a2", "a3"):
        room.add("01", job)
    for job in ("b1", "b2"):
        room.add("02", job)
    room.add("03", "c1")
    room.serve()
    assert room.order() == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_comes_new_waits_for_one_turn_of_each_other_at_most(room: Class) -> None:
    for job in ("a1", "a2", "a3"):
        room.add("01", job)
        room.add("02", f"b{job}")
    for _ in range(3):
        room.turns.step()
        room.clock.now += room.limits.gap_s
    room.add("03", "new")
    room.hear()
    assert room.queue.status("new", "03")["before"] <= 2
    room.serve()
    order = room.order()
    assert order.index("new") <= 5, order


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5)), min_size=1, max_size=20),
    st.data(),
)
def test_any_line_is_served_fairly_and_each_row_once(
    jobs: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Seats come and go while the line moves, and the server is restarted anywhere: every job is
    answered with its own rows, each once, and no seat has two turns while another waits for one."""
    with tempfile.TemporaryDirectory() as folder:
        room = Class(Path(folder), Limits(waiting=100))
        waiting: list[tuple[str, str, int]] = []
        for number, (seat, rows) in enumerate(jobs):
            room.add(seat, f"{seat}{number}", rows)
            waiting.append((seat, f"{seat}{number}", rows))
            if data.draw(st.booleans(), "a turn between"):
                room.hear()
                room.turns.step()
            if data.draw(st.integers(0, 5), "restart") == 0:
                room.queue.close()
                room.open()
        room.serve()
        for seat, job, rows in waiting:
            assert room.texts(seat, job) == [f"{seat} {job} {n}".upper() for n in range(rows)]
        assert Counter(room.order()) == Counter(job for _, job, _ in waiting)
        assert_fair(room)


def assert_fair(room: Class) -> None:
    """Between two turns of a seat, each other seat that waited all the time had one."""
    log = room.queue.file.log()
    number = {run["id"]: at for at, run in enumerate(log)}
    came = {run["id"]: run["arrived"] for run in log}
    for at, run in enumerate(log):
        later = next((n for n in range(at + 1, len(log)) if log[n]["seat"] == run["seat"]), None)
        if later is None:
            continue
        for job, place in number.items():
            seat = log[place]["seat"]
            if seat == run["seat"] or place < later or came[job] > run["began"]:
                continue
            between = {one["seat"] for one in log[at + 1 : later]}
            assert seat in between, f"{job} waited while {run['seat']} had two turns"


def test_the_jobs_of_a_sweep_are_one_turn(room: Class) -> None:
    """They come one after the other, and nobody is taken between."""
    room.add("01", "s1", turn="sweep")
    room.add("02", "other")
    assert room.turns.step()
    assert not room.turns.step(), "the turn waits for its next job"
    room.add("01", "s2", turn="sweep")
    assert room.turns.step() and room.order() == ["s1", "s2"]
    room.queue.end_turn("01", "sweep")
    assert room.turns.step() and room.order()[-1] == "other"


def test_a_turn_waits_for_its_next_job_for_a_moment(room: Class) -> None:
    room.add("01", "s1", turn="sweep")
    room.add("02", "other")
    room.turns.step()
    room.clock.now += room.limits.gap_s
    assert room.turns.step() and room.order() == ["s1", "other"]


def test_another_seat_can_not_end_a_turn(room: Class) -> None:
    room.add("01", "s1", turn="sweep")
    room.add("02", "other")
    room.turns.step()
    room.queue.end_turn("02", "sweep")
    assert not room.turns.step()


@pytest.mark.parametrize(
    "limits", [Limits(rows=6), Limits(seconds=6, away_s=1e9)], ids=["rows", "seconds"]
)
def test_a_turn_ends_at_its_limit_and_goes_on_in_the_next_round(
    tmp_path: Path, limits: Limits
) -> None:
    room = Class(tmp_path, limits)
    for number in range(4):
        room.add("01", f"s{number}", rows=3, turn="sweep")
    room.add("02", "b", rows=1)
    room.serve()
    assert room.order() == ["s0", "s1", "b", "s2", "s3"]


def test_a_job_that_takes_too_long_ends_with_what_it_has(tmp_path: Path) -> None:
    room = Class(tmp_path, Limits(seconds=5))
    room.engine.meanwhile = room.hear
    room.add("01", "long", rows=20)
    room.add("02", "b")
    room.serve()
    found = room.queue.result("long", "01")
    assert found["state"] == "failed" and "longer than 5 s" in found["words"]
    assert room.texts("01", "long") == [f"01 LONG {n}" for n in range(6)]
    assert room.texts("02", "b") == ["02 B 0"]


def test_more_than_the_limits_is_refused(tmp_path: Path) -> None:
    room = Class(tmp_path, Limits(rows=3, waiting=2))
    with pytest.raises(TooMuch, match="at most 3 rows, not 4"):
        room.add("01", "big", rows=4)
    for job in ("a", "b"):
        room.add("01", job)
    with pytest.raises(TooMuch, match="2 jobs in line"):
        room.add("01", "c")
    room.add("02", "c")
    room.serve()
    assert sorted(room.order()) == ["a", "b", "c"]


def test_a_cancelled_job_costs_nobody(room: Class) -> None:
    room.add("01", "a", rows=5)
    room.add("02", "b")
    room.queue.forget("a", "01")
    room.serve()
    assert room.order() == ["b"]
    with pytest.raises(NoSuchJob):
        room.queue.status("a", "01")


def test_cancel_ends_the_job_that_runs(room: Class) -> None:
    room.add("01", "a", rows=50)
    room.add("02", "b")

    def cancel() -> None:
        if room.clock.now > 1003:
            room.engine.meanwhile = lambda: None
            room.queue.forget("a", "01")

    room.engine.meanwhile = cancel
    room.serve()
    assert len(room.engine.asked[0]) < 5
    assert room.texts("02", "b") == ["02 B 0"]


def test_a_cancelled_turn_is_over_at_once(room: Class) -> None:
    """The seat says so while its job is being ended: nobody waits for a next job."""
    room.add("01", "a", rows=50, turn="sweep")
    room.add("02", "b")

    def cancel() -> None:
        room.engine.meanwhile = lambda: None
        room.queue.forget("a", "01")
        room.queue.end_turn("01", "sweep")

    room.engine.meanwhile = cancel
    assert room.turns.step()
    assert room.turns.step(), "without a wait"
    assert room.texts("02", "b") == ["02 B 0"]


def test_jobs_of_a_notebook_that_is_gone_make_room(tmp_path: Path) -> None:
    """Its kernel was started anew, again and again, while it waited."""
    room = Class(tmp_path, Limits(waiting=2))
    room.add("01", "old")
    room.clock.now += 1
    room.add("01", "older than new")
    with pytest.raises(TooMuch, match="wait for them"):
        room.add("01", "new")
    room.clock.now += room.limits.away_s - 1
    room.add("01", "new")
    with pytest.raises(NoSuchJob):
        room.queue.status("old", "01")
    with pytest.raises(TooMuch, match="wait for them"):
        room.add("01", "more")
    room.add("02", "b")
    room.serve()
    assert sorted(room.order()) == ["b", "new", "older than new"]


def test_the_line_notes_its_turns(room: Class) -> None:
    """From the first job until the engine is free for another seat; the one that a restart cut has
    no end."""
    for job in ("s1", "s2"):
        room.add("01", job, turn="sweep")
    room.add("02", "b")
    assert room.turns.step() and room.turns.step()
    room.queue.end_turn("01", "sweep")
    assert room.turns.step()
    room.queue.close()
    room.open()
    one, other = room.queue.file.turns()
    assert (one["seat"], one["turn"], other["seat"]) == ("01", "sweep", "02")
    assert one["arrived"] <= one["began"] <= one["ended"] <= other["began"]
    assert other["ended"] is None


def test_who_does_not_ask_is_passed_over_and_keeps_the_place(room: Class) -> None:
    room.add("01", "a")
    room.clock.now += room.limits.away_s
    room.add("02", "b1")
    room.add("02", "b2", turn="b1")
    room.turns.step()
    assert room.order() == ["b1"]
    assert room.queue.status("a", "01")["state"] == "waiting", "it is there again"
    room.serve()
    assert room.order() == ["b1", "b2", "a"]


def test_who_goes_away_in_its_turn_gives_it_up_and_is_run_again(room: Class) -> None:
    """Soon, and as a whole: no row comes twice."""
    room.add("01", "a", rows=60)
    room.add("02", "b")
    room.engine.meanwhile = lambda: room.queue.status("b", "02") and None
    room.turns.step()
    assert len(room.engine.asked[0]) <= room.limits.away_s + 1
    room.engine.meanwhile = lambda: None
    room.clock.now += room.limits.gap_s
    room.turns.step()
    assert room.order()[-1] == "b"
    assert room.queue.status("a", "01")["attempt"] == 1
    room.engine.meanwhile = room.hear
    room.serve()
    assert room.queue.result("a", "01")["attempt"] == 2
    assert room.texts("01", "a") == [f"01 A {n}" for n in range(60)]


class Killed(BaseException):
    """The server's program ends."""


def test_a_restart_in_the_middle_loses_no_job_and_keeps_the_order(room: Class) -> None:
    for seat in ("01", "02", "03"):
        room.add(seat, f"j{seat}", rows=4)

    def kill() -> None:
        if room.clock.now > 1006:
            raise Killed

    room.engine.meanwhile = kill
    room.turns.step()
    with pytest.raises(Killed):
        room.serve()
    room.queue.file._db.execute(
        "UPDATE jobs SET state='running' WHERE id='j02'"
    )  # as a kill leaves it
    room.queue.close()
    room.engine.meanwhile = lambda: None
    room.open()
    room.serve()
    assert room.order()[-2:] == ["j02", "j03"], "what was cut is first"
    for seat in ("01", "02", "03"):
        assert room.texts(seat, f"j{seat}") == [f"{seat} J{seat} {n}" for n in range(4)]
    told = {seat: room.queue.result(f"j{seat}", seat)["attempt"] for seat in ("01", "02", "03")}
    assert told == {"01": 1, "02": 2, "03": 1}


def test_a_job_that_ends_the_server_each_time_is_given_up(room: Class) -> None:
    room.add("01", "poison")
    room.add("02", "b")

    def kill() -> None:
        raise Killed

    for _ in range(MOST_ATTEMPTS):
        room.engine.meanwhile = kill
        with pytest.raises(Killed):
            room.serve()
        room.queue.close()
        room.open()
    room.engine.meanwhile = lambda: None
    room.serve()
    assert room.queue.status("poison", "01")["state"] == "failed"
    assert room.texts("02", "b") == ["02 B 0"]


def test_a_job_that_is_sent_twice_is_there_once(room: Class) -> None:
    """As after a connection that broke before the answer came."""
    room.add("01", "a", rows=2)
    room.add("01", "a", rows=2)
    room.serve()
    room.add("01", "a", rows=2)
    room.serve()
    assert room.order() == ["a"]


def test_a_seat_sees_its_own_jobs_alone(room: Class) -> None:
    room.add("01", "a")
    room.serve()
    for call in (room.queue.status, room.queue.result, room.queue.forget):
        with pytest.raises(NoSuchJob):
            call("a", "02")
    with pytest.raises(NoSuchJob):
        room.add("02", "a")
    assert room.texts("01", "a") == ["01 A 0"]


def test_the_wait_is_told_from_the_turns_before(room: Class) -> None:
    for number in range(4):
        room.add(f"0{number}", f"j{number}", rows=4)
    assert room.queue.status("j3", "03")["before"] == 3
    assert room.queue.status("j3", "03")["wait_s"] is None, "no turn was measured yet"
    room.turns.step()
    room.queue.end_turn("00", "j0")
    told = room.queue.status("j3", "03")
    assert (told["before"], told["wait_s"]) == (2, 8.0)


def test_nobody_waits_longer_than_the_turns_before(room: Class) -> None:
    """The sum of them, by the clock, where each seat says that its turn is over."""
    room.engine.meanwhile = room.hear
    for number in range(30):
        room.add(f"{number:02}", f"j{number}", rows=1 + number % 4)
    began: dict[str, float] = {}
    for number in range(30):
        room.hear()
        before = room.clock.now
        assert room.turns.step()
        job = room.order()[-1]
        began[job] = before - 1000
        room.queue.end_turn(f"{number:02}", job)
    for number in range(30):
        assert began[f"j{number}"] == sum(1 + n % 4 for n in range(number))


def test_what_nobody_asks_for_is_forgotten(room: Class) -> None:
    room.add("01", "a")
    room.serve()
    room.clock.now += room.limits.keep_s + 1
    room.turns.step()
    with pytest.raises(NoSuchJob):
        room.queue.result("a", "01")


def test_the_responses_are_kept_until_they_are_fetched(room: Class) -> None:
    room.add("01", "a")
    with pytest.raises(NoSuchJob):
        room.queue.result("a", "01")
    room.serve()
    room.queue.close()
    room.open()
    about = json.loads(room.queue.result("a", "01")["responses"])
    assert about["started"] <= about["finished"] and about["cpu_s"] == {"this program": 0.1}
    room.queue.forget("a", "01")
    with pytest.raises(NoSuchJob):
        room.queue.result("a", "01")
