"""The evening before: what is found and told, on machines that are simulated; a real engine runs
once, in `make test-slow`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit import preflight_check
from labkit.api.report import FAIL, OK, Check, Report
from labkit.cli import main
from labkit.errors import JobFailed, LabError
from labkit.hardware import machine as machines
from labkit.hardware.recorded_machine import REPLAY
from labkit.preflight_check import LONG, NOT_AT_ALL, RUNS, Preflight
from labkit.preflight_room import read
from labkit.results.lesson_minutes import LessonMinutes
from tests.api.test_checkup import CPU_ONLY
from tests.results.test_lesson_minutes import THERE

FINE = Preflight(
    name="Ada",
    made="2026-01-01",
    machine="2 CPU cores",
    model="smollm2-135m",
    checks=(Check("Python", OK, "3.12"), Check("memory", OK, "8 GiB", "")),
    start_s=20.0,
    rows_per_s=9.5,
    tokens_per_s=150.0,
    problem="",
    lessons=tuple(LessonMinutes(f"{n} · L: t", float(n), "scaled") for n in (1, 2, 3)),
    limit_min=15.0,
)
SLOW = replace(FINE, name="Ben", lessons=(*FINE.lessons[:2], LessonMinutes("3 · L", 40.0, "s")))
BROKEN = replace(
    FINE, name="", checks=(Check("disk", FAIL, "0 GiB", "free some space"),), start_s=math.nan,
    rows_per_s=math.nan, tokens_per_s=math.nan, problem="Not tried: the doctor found …",
    lessons=tuple(replace(one, minutes=math.nan) for one in FINE.lessons),
)  # fmt: skip
DEAD = replace(BROKEN, name="Cy", checks=FINE.checks, problem="The engine died.")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine of two cores on which the doctor finds nothing, and an engine is as there."""
    found = SimpleNamespace(checks=FINE.checks, error=None, asked=[])
    monkeypatch.delenv(REPLAY, raising=False)
    monkeypatch.setattr(preflight_check, "doctor", lambda model: Report(found.checks))
    monkeypatch.setattr(machines, "detect", lambda: CPU_ONLY)
    spec = SimpleNamespace(model=SimpleNamespace(name="tiny"), with_=lambda **_: spec)
    monkeypatch.setattr(preflight_check, "configure", lambda model, warm: spec)

    def measure(task: Any, rows: Any, spec: Any, **options: Any) -> Any:
        found.asked.append(options)
        if found.error:
            raise found.error
        numbers = SimpleNamespace(rows_per_s=10.0, output_tokens_per_s=THERE[1])
        return SimpleNamespace(start_s=THERE[0] + 6.4, rows=64, metrics=numbers)

    monkeypatch.setattr(preflight_check, "measure", measure)
    return found


def test_without_lessons_nothing_is_ready() -> None:
    none = replace(FINE, lessons=())
    assert none.works and not none.ready and "no lesson" in none.sentence()


def test_a_machine_that_is_as_the_measured_one_is_ready(here: SimpleNamespace) -> None:
    found = labkit.preflight(name=" Ada ")
    assert found.ready and found.works and found.name == "Ada"
    assert found.sentence() == "Ready: all lessons run here."
    assert list(found.table()["what to do"]) == [RUNS] * 3
    assert [2 <= one.minutes <= 20 for one in found.lessons] == [True] * 3
    assert found.start_s == pytest.approx(THERE[0]), "without the run that warmed it up"
    assert "Ready" in str(found) and f"{THERE[1]:.0f} output tokens/s" in str(found)


def test_a_lesson_that_takes_too_long_has_another_way(here: SimpleNamespace) -> None:
    found = labkit.preflight(limit_min=1.0)
    assert found.works and not found.ready
    assert "LABKIT_CLASS" in found.sentence() and "LABKIT_REPLAY=1" in found.sentence()
    assert [found.advice(one) for one in found.lessons] == [LONG] * 3
    unknown = replace(FINE, lessons=(LessonMinutes("x", math.nan, ""),))
    assert unknown.advice(unknown.lessons[0]) == LONG, "what is not known is not promised"


def test_a_machine_on_which_nothing_runs_is_a_result_too(here: SimpleNamespace) -> None:
    here.error = JobFailed("The engine died: <no memory>")
    found = labkit.preflight()
    assert not found.works and "no memory" in found.problem
    assert {found.advice(one) for one in found.lessons} == {NOT_AT_ALL}
    assert "the engine did not run" in found.sentence()
    here.checks = (Check("disk", FAIL, "0 GiB", "free some space"),)
    found = labkit.preflight()
    assert len(here.asked) == 1, "no engine is started where the doctor says no"
    assert "the doctor found: disk" in found.sentence()


def test_the_run_ends_after_its_seconds_and_has_two_parts_at_least(
    here: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    labkit.preflight(seconds=20)
    enough, now = here.asked[0]["enough"], [0.0]
    monkeypatch.setattr(preflight_check.time, "monotonic", lambda: now[0])
    assert not enough([1.0])
    now[0] = 14.0
    assert not enough([1.0, 1.0])
    now[0] = 15.0
    assert enough([1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seconds": 0}, "seconds must be"),
        ({"seconds": math.nan}, "seconds must be"),
        ({"limit_min": math.inf}, "limit_min must be"),
        ({"limit_min": True}, "limit_min must be"),
        ({"name": None}, "name must be text"),
    ],
)
def test_arguments_that_can_not_be_used_are_said(
    given: dict[str, Any], words: str, here: SimpleNamespace
) -> None:
    with pytest.raises(LabError, match=words):
        labkit.preflight(**given)
    assert not here.asked


def test_nothing_is_measured_on_a_replay(
    here: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REPLAY, "1")
    with pytest.raises(LabError, match="unset LABKIT_REPLAY"):
        labkit.preflight()


def test_the_command_writes_the_page_and_says_whether_all_is_well(
    here: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "mine.html"
    assert main(["preflight", "--out", str(out), "--name", "Ada"]) == 0
    assert "to your teacher" in capsys.readouterr().out and read(out).name == "Ada"
    assert main(["preflight", "--out", str(tmp_path / "p.json"), "--minutes", "0.5"]) == 1
    assert not read(tmp_path / "p.json").ready
    here.asked.clear()
    for bad in (["--out", "x.txt"], ["--minutes", "0"]):
        assert main(["preflight", *bad]) == 1
    assert not here.asked, "said before an engine starts"


@pytest.mark.engine
@pytest.mark.endurance
def test_on_a_real_engine(warm_spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        preflight_check, "configure", lambda model, **given: warm_spec.with_(**given)
    )
    found = preflight_check.preflight(seconds=4, progress=False)
    assert found.works, found.problem
    assert found.tokens_per_s > 1 and found.rows_per_s > 0.1
    assert all(one.minutes > 0 for one in found.lessons)
