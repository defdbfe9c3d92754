"""What labkit changes in the process is put back: environment, logging, signals, Ray Data."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray.data

import labkit
from labkit.errors import Cancelled, JobFailed, LabError, Stalled
from labkit.ray_session import restore, session
from labkit.tasks import Task, ask, faq
from tests.engines.test_endpoint_client import server as chat  # noqa: F401  the small server of those tests

NICE = "RAY_worker_niceness"
TELEMETRY = {"RAY_USAGE_STATS_ENABLED": "0", "VLLM_NO_USAGE_STATS": "1"}
MINE = (NICE, *TELEMETRY, "RAY_AUTH_MODE", "RAY_LOGGER_LEVEL")


def settings() -> dict[str, Any]:
    """All that labkit or Ray might change, as text; not what importing torch or vLLM sets."""
    context = vars(ray.data.DataContext.get_current())
    return {
        "environment": {n: v for n, v in os.environ.items() if re.match("RAY|VLLM|HF_|PY|LAB", n)},
        "levels": {n: logging.getLogger(n).level for n in ("ray", "ray.data", "ray.llm", "root")},
        "disabled": logging.root.manager.disable,
        "sigterm": signal.getsignal(signal.SIGTERM),
        "sigint": signal.getsignal(signal.SIGINT),
        "context": {n: re.sub("0x[0-9a-f]+", "", repr(v)) for n, v in context.items()},
    }


@pytest.mark.engine
def test_a_sweep_changes_nothing(warm_spec: Any) -> None:
    """The first test here: the others stop Ray, and the warm engine with it."""
    rows = [{"question": f"What is {n}?"} for n in range(4)]
    labkit.run(faq(max_tokens=2), rows, warm_spec, progress=False)
    before = settings()
    found = labkit.sweep(faq(max_tokens=2), rows, [(2, 1)], warm_spec, repeats=1, progress=False)
    assert len(found.table) == 1
    after = settings()
    assert after.pop("levels").keys() and after.items() <= before.items()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Ray, and no setting of the tests' own."""
    session.stop()
    for name in MINE:
        monkeypatch.delenv(name, raising=False)
    yield
    session.stop()


@pytest.mark.slow
def test_stop_puts_back_what_start_changed(bare: None) -> None:
    before = settings()
    labkit.start(num_cpus=1)
    during = settings()
    assert during["environment"].items() >= TELEMETRY.items()
    assert during["levels"]["ray"] == logging.CRITICAL
    assert not {"RAY_BACKEND_LOG_LEVEL", "RAY_LOGGER_LEVEL"} & during["environment"].keys()
    labkit.start()  # once more, as every job does
    labkit.stop()
    assert settings() == before
    labkit.stop()
    assert settings() == before


@pytest.mark.slow
def test_what_was_changed_since_stays(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NICE, "5")
    level = logging.getLogger("ray.llm").level
    labkit.start(num_cpus=1)
    assert os.environ[NICE] == "5"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "1"
    logging.getLogger("ray.llm").setLevel(logging.ERROR)
    labkit.stop()
    assert os.environ.pop("RAY_USAGE_STATS_ENABLED") == "1"
    assert logging.getLogger("ray.llm").level == logging.ERROR
    assert os.environ[NICE] == "5"
    logging.getLogger("ray.llm").setLevel(level)


@pytest.mark.slow
def test_what_is_set_between_two_starts_is_not_ours(
    bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job starts Ray once more, which changes nothing."""
    monkeypatch.setenv("LABKIT_B", "old")
    labkit.start(num_cpus=1)
    monkeypatch.setenv("LABKIT_A", "mine")
    monkeypatch.setenv("LABKIT_B", "new")
    level = logging.getLogger("ray.llm").level
    logging.getLogger("ray.llm").setLevel(logging.ERROR)
    labkit.start()
    labkit.stop()
    assert [os.environ[f"LABKIT_{n}"] for n in "AB"] == ["mine", "new"]
    assert logging.getLogger("ray.llm").level == logging.ERROR
    logging.getLogger("ray.llm").setLevel(level)


def test_a_start_that_fails_changes_nothing(bare: None) -> None:
    before = settings()
    with pytest.raises(LabError, match="can't be joined"):
        labkit.start("127.0.0.1:9")
    assert settings() == before


@pytest.mark.slow
def test_jobs_change_nothing(chat: Any, local_ray: Any, tmp_path: Path) -> None:  # noqa: F811
    spec = labkit.endpoint(chat.url, "small")
    rows = [{"id": n, "text": str(n)} for n in range(4)]
    task = Task("say", ask("text"), {"max_tokens": 3})
    labkit.run(task, rows, spec, progress=False)  # what a first import sets is there by now
    before = settings()
    labkit.run(task, rows, spec, progress=False)
    labkit.write(task, rows, tmp_path / "out", spec, id_column="id", progress=False)
    with pytest.raises(LabError):
        labkit.run(task, [], spec, progress=False)
    with pytest.raises(LabError):
        labkit.write(task, rows, tmp_path / "out", spec, id_column="none", progress=False)
    chat.delay_s = 30.0
    with pytest.raises(Stalled):
        labkit.run(task, rows, spec, progress=False, stall_s=1)
    stop, asked = threading.Event(), len(chat.bodies)

    def cancel() -> None:
        while chat.now == 0 and len(chat.bodies) == asked:
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled):
        labkit.run(task, rows, spec, progress=False, cancel=stop)
    after = settings()
    levels = after.pop("levels")
    assert after.items() <= before.items()
    assert set(levels.values()) <= {*before["levels"].values(), logging.INFO}  # Ray's own way


@pytest.mark.slow
def test_a_server_changes_nothing(tiny: Any) -> None:
    before = settings()
    with pytest.raises(JobFailed, match="not ready"):
        labkit.serve(tiny, timeout_s=1, progress=False)
    assert settings() == before


def test_a_block_with_variables_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_A", "mine")
    with restore.environment(LABKIT_A="1", LABKIT_B="2", LABKIT_C="3"):
        assert [os.environ[f"LABKIT_{n}"] for n in "ABC"] == ["mine", "2", "3"]
        os.environ["LABKIT_C"] = "theirs"
    assert os.environ["LABKIT_A"] == "mine" and "LABKIT_B" not in os.environ
    assert os.environ.pop("LABKIT_C") == "theirs"
