"""The file of a line: what is in it is there again after the server's end, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.classroom.line_file import DONE, FAILED, RUNNING, WAITING, LineFile


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LineFile]:
    made = LineFile(tmp_path / "line.sqlite")
    yield made
    made.close()


def add(line: LineFile, *jobs: str, seat: str = "01", round: int = 1) -> None:
    for job in jobs:
        line.add(job, seat, job, round, 2, "[]", "{}")


def order(line: LineFile) -> list[str]:
    return [row["id"] for row in line.waiting()]


def test_the_order_is_by_rounds_then_by_who_was_served_longest_ago(line: LineFile) -> None:
    add(line, "a")
    line.open_turn(line.waiting()[0])
    line.drop("a")
    add(line, "a2", round=2)
    add(line, "b2", seat="02", round=2)
    add(line, "b1", seat="02")
    assert order(line) == ["b1", "a2", "b2"]
    line.to_the_end("b1", 2)
    assert order(line) == ["a2", "b2", "b1"]
    assert (line.last_round("01"), line.last_round("02"), line.last_round()) == (1, 0, 1)


def test_what_the_server_s_end_cut_is_first_and_given_up_in_the_end(tmp_path: Path) -> None:
    for attempt in (1, 2):
        line = LineFile(tmp_path / "line.sqlite")
        add(line, *({"a", "b"} - line.jobs().keys()))
        line.cut(2, "no more")
        assert "b" in order(line)
        job = line.begin("b")
        assert (job.attempt, line.running_rows(), line.runs(job)) == (attempt, 2, True)
        line.close()
    line = LineFile(tmp_path / "line.sqlite")
    assert line.job("b")["state"] == RUNNING
    line.cut(2, "no more")
    assert order(line) == ["a"]
    assert (line.job("b")["state"], line.job("b")["words"]) == (FAILED, "no more")
    line.close()


def test_a_cut_job_waits_before_those_of_its_round(line: LineFile) -> None:
    add(line, "a", "b")
    job = line.begin("b")
    line.put_back("b", WAITING, "")
    assert order(line) == ["b", "a"] and not line.runs(job)
    assert line.begin("b").attempt == 2 and not line.runs(job), "that attempt is over"


def test_a_result_is_kept_and_a_run_is_logged_unless_it_is_forgotten(line: LineFile) -> None:
    add(line, "a", "b")
    for job in (line.begin("a"), line.begin("b")):
        if job.id == "b":
            line.drop("b")
        else:
            line.finish("a", DONE, '{"text": "é"}', "")
        line.note(job)
    assert line.jobs() == {"a": "01"} and line.job("b") is None
    result = line.result("a")
    assert (result["state"], result["responses"]) == (DONE, '{"text": "é"}')
    assert result["arrived"] <= result["began"] <= result["finished"]
    (run,) = line.log()
    assert (run["id"], run["rows"], run["attempt"], run["state"]) == ("a", 2, 1, DONE)
