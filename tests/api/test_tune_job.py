"""`tune` and `measure`: what is tried, in which order and time; then for real, on a warm engine."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit import tasks
from labkit.errors import Cancelled, JobFailed, LabError
from labkit.hardware.machine import Machine
from labkit.hardware.nvidia import GPU
from labkit.results.tuning import Tuning

module = sys.modules[labkit.tune.__module__]
ROWS = [{"text": f"post {n}"} for n in range(9000)]
TASK = tasks.sentiment()
CARD = GPU(0, "NVIDIA H100 80GB HBM3", 80, 79, (9, 0), "GPU-0")
HOST = Machine(16, 128, 100, 100, gpus=(CARD,), versions={"vllm": "0.29.0"})


class Engine:
    """Stands in for `measure`: rates by setting, and a clock that it moves."""

    def __init__(self, rate: Any, start_s: float = 60.0):
        self.rate, self.start_s = rate, start_s
        self.now, self.asked, self.up = 0.0, list[dict[str, Any]](), ""

    def __call__(self, task: Any, data: Any, spec: Any, **options: Any) -> Any:
        names = ("batch_size", "max_concurrent_batches", "max_num_seqs", "max_num_batched_tokens")
        setting = {name: spec[name] for name in names} | {"engines": spec.engines_per_gpu}
        assert spec["max_pending_requests"] == spec["batch_size"] * spec["max_concurrent_batches"]
        self.asked.append({**setting, "rows": options["rows"]})
        engine = json.dumps([setting["engines"], setting["max_num_seqs"], setting[names[3]]])
        start_s = self.start_s if engine != self.up else 0.0
        rate = self.rate(setting)
        self.now += start_s + (3 + bool(start_s)) * 1000 / rate
        self.up = engine
        return SimpleNamespace(rows_per_s=(rate,) * 3, rows=1000, start_s=start_s, spec=spec)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, smollm2: Any) -> Any:
    def use(engine: Engine) -> Any:
        monkeypatch.setattr(module, "measure", engine)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: engine.now))
        return labkit.configure(smollm2, HOST)

    return use


def test_it_starts_from_the_lab_s_own_choice_and_keeps_what_gains(lab: Any) -> None:
    engine = Engine(lambda s: 1000 * s["engines"] + s["batch_size"])
    made = labkit.tune(TASK, ROWS, lab(engine), seconds=4000, progress=False)
    assert engine.asked[0]["engines"] == 8 and engine.asked[0]["rows"] is None
    assert made.best.setting["engines_per_gpu"] == 16
    assert made.spec["batch_size"] == made.best.setting["batch_size"] and made.spec.warm
    assert made.spec.engines_per_gpu == 16 and "times the lab's own choice" in made.sentence()
    assert {asked["rows"] for asked in engine.asked[1:]} == {1000}, "the same rows each time"
    first = [a["engines"] for a in engine.asked]
    assert first.index(16) > 2, "what needs no other engine comes first"


def test_a_flat_engine_stays_as_it_is(lab: Any) -> None:
    made = labkit.tune(TASK, ROWS, lab(Engine(lambda s: 500.0)), seconds=4000, progress=False)
    assert made.best is made.trials[0] and "the lab's own choice." in made.sentence()
    assert made.unfinished == ""


@pytest.mark.parametrize("seconds", [1, 100, 300, 700])
def test_no_try_begins_that_would_not_end_in_time(lab: Any, seconds: float) -> None:
    engine = Engine(lambda s: 1.0 * s["max_num_seqs"])
    made = labkit.tune(TASK, ROWS, lab(engine), seconds=seconds, progress=False)
    assert made.trials and engine.now <= max(seconds, 69)
    assert made.unfinished and made.unfinished in made.sentence()


def test_cut_off_it_goes_on_where_it_was(lab: Any, tmp_path: Path) -> None:
    file, stop = tmp_path / "search.jsonl", threading.Event()
    engine = Engine(lambda s: 1000.0 + s["batch_size"])

    def cut(setting: dict[str, Any]) -> float:
        if len(engine.asked) == 3:
            stop.set()
        return 1000.0 + setting["batch_size"]

    engine.rate = cut
    spec = lab(engine)
    with pytest.raises(Cancelled):
        labkit.tune(TASK, ROWS, spec, seconds=4000, path=file, progress=False, cancel=stop)
    assert len(Tuning.load(file).trials) == 3
    file.write_text(file.read_text() + '{"setting": {"ba')
    whole = labkit.tune(TASK, ROWS, spec, seconds=4000, path=file, progress=False)
    settings = [json.dumps(trial.setting) for trial in whole.trials]
    assert len(settings) == len(set(settings)) > 3 and len(engine.asked) == len(settings)
    assert [t.setting for t in Tuning.load(file).trials] == [t.setting for t in whole.trials]
    with pytest.raises(LabError, match="another search: .*rows"):
        labkit.tune(TASK, ROWS[:5000], spec, path=file, progress=False)


def test_a_setting_that_the_engine_refuses_is_noted_and_passed_over(lab: Any) -> None:
    def rate(setting: dict[str, Any]) -> float:
        if setting["max_num_seqs"] > 512:
            raise JobFailed("out of memory")
        return 500.0

    made = labkit.tune(TASK, ROWS, lab(Engine(rate)), seconds=9000, progress=False)
    assert "out of memory" in "".join(made.table["error"]) and made.best is made.trials[0]

    def never(setting: dict[str, Any]) -> float:
        raise JobFailed("no card")

    with pytest.raises(JobFailed, match="no card"):
        labkit.tune(TASK, ROWS, lab(Engine(never)), progress=False)


def test_what_you_set_stays(lab: Any, smollm2: Any) -> None:
    engine = Engine(lambda s: 500.0)
    lab(engine)
    spec = labkit.configure(
        smollm2, HOST, batch_size=32, engines_per_gpu=2, engine={"max_num_seqs": 64}
    )
    labkit.tune(TASK, ROWS, spec, seconds=4000, progress=False)
    for name, value in {"batch_size": 32, "engines": 2, "max_num_seqs": 64}.items():
        assert {asked[name] for asked in engine.asked} == {value}


def test_a_server_s_engine_can_not_be_turned() -> None:
    there = labkit.endpoint("http://127.0.0.1:9/v1", "m")
    for call in (labkit.tune, labkit.measure):
        with pytest.raises(LabError, match="give a labkit.configure"):
            call(TASK, ROWS, there)  # type: ignore[operator]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_that_is_none(seconds: float) -> None:
    with pytest.raises(LabError, match="seconds must be above 0"):
        labkit.tune(TASK, ROWS, seconds=seconds, progress=False)


@pytest.mark.engine
def test_measure_and_tune_on_a_real_engine(warm_spec: Any, tmp_path: Path) -> None:
    """On the suite's warm engine: delivery is tried, and no other engine is started in no time."""
    rows = [{"question": f"What is {n} + {n}?"} for n in range(96)]
    task = tasks.faq(max_tokens=4)
    done = labkit.measure(task, rows, warm_spec, seconds=0.5, runs=2)
    assert len(done.rows_per_s) == 2 and min(done.rows_per_s) > 0 and done.rows <= 96
    assert done.metrics.preemptions == 0 and 0 <= done.metrics.prefix_hit_rate <= 1
    made = labkit.tune(task, rows, warm_spec, seconds=12, path=tmp_path / "t.jsonl", progress=False)
    assert made.trials[0].rows_per_s and made.best.median > 0
    assert Tuning.load(tmp_path / "t.jsonl").best.setting == made.best.setting
    assert all(trial.error == "" for trial in made.trials)
