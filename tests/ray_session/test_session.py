"""labkit.ray_session.session: starting, joining and leaving Ray."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from labkit.errors import LabError
from labkit.ray_session import capacity, diagnosis
from labkit.ray_session import session as cluster


def test_start_twice_keeps_the_first_ray(local_ray: Any) -> None:
    session = local_ray.get_runtime_context().get_job_id()
    assert cluster.start(num_cpus=99) is not None
    assert local_ray.get_runtime_context().get_job_id() == session
    assert local_ray.cluster_resources()["CPU"] == 4


def test_ray_reports_nothing_home(local_ray: Any) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()


def test_start_leaves_no_setting_behind(local_ray: Any) -> None:
    import os

    assert "RAY_BACKEND_LOG_LEVEL" not in os.environ


def test_no_log_folder_and_nothing_to_stop_before_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", None)
    assert diagnosis.log_folder() is None
    cluster.stop()


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_node_that_starts_too_late_is_tried_once_more(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own limit is 30 s, which a busy machine may need."""
    import ray

    calls: list[Any] = []

    def init(**options: Any) -> str:
        calls.append(options)
        if len(calls) <= times:
            raise Exception("The current node timed out during startup. This could happen …")
        return "up"

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    if times == 2:
        with pytest.raises(LabError, match="did not start within 30 s.*End some"):
            cluster._init({"address": "local"})
    else:
        assert cluster._init({"address": "local"}) == "up"
    assert calls == [{"address": "local"}] * min(2, times + 1)


def test_any_other_error_of_ray_s_start_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**options: Any) -> None:
        raise Exception("something else")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(Exception, match="something else"):
        cluster._init({})


@pytest.mark.parametrize("problem", ["timed out during startup", "Ctrl-C", "something else"])
def test_a_ray_that_did_not_start_leaves_no_process(
    problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And whatever else this program has started goes on."""
    import ray

    script = tmp_path / "ray" / "raylet.py"
    script.parent.mkdir()
    script.write_text("import time\ntime.sleep(600)")
    started = []

    def init(**options: Any) -> None:
        for code in (["-S", str(script)], ["-S", "-c", "import time; time.sleep(600)"]):
            started.append(psutil.Popen([sys.executable, *code]))
        raise KeyboardInterrupt if problem == "Ctrl-C" else Exception(problem)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    try:
        with pytest.raises((KeyboardInterrupt, Exception), match="|".join((problem, "30 s", "^$"))):
            cluster._init({})
        assert len(started) == (4 if "timed out" in problem else 2)
        assert not any(process.is_running() for process in started[::2])
        assert all(process.is_running() for process in started[1::2])
    finally:
        for process in started[1::2]:
            process.kill()


def test_nodes_are_the_live_ones(local_ray: Any) -> None:
    (node,) = capacity.nodes()
    assert node["CPU"] == 4


@pytest.mark.parametrize("before", [logging.NOTSET, logging.INFO])
def test_quiet_silences_and_restores(before: int, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("some.library")
    log.setLevel(logging.DEBUG)
    logging.disable(before)
    try:
        with cluster.quiet():
            log.warning("harmless")
            log.error("serious")
        assert [record.message for record in caplog.records] == ["serious"]
        assert logging.root.manager.disable == before
        log.warning("heard again")
        assert caplog.records[-1].message == "heard again"
    finally:
        logging.disable(logging.NOTSET)


def test_quiet_restores_after_an_error() -> None:
    with pytest.raises(RuntimeError), cluster.quiet():
        raise RuntimeError
    assert logging.root.manager.disable == logging.NOTSET


def test_quiet_may_be_loud(caplog: pytest.LogCaptureFixture) -> None:
    with cluster.quiet(verbose=True):
        logging.getLogger("some.library").warning("shown")
    assert "shown" in caplog.text


@pytest.mark.parametrize(("verbose", "level"), [(True, logging.INFO), (False, logging.CRITICAL)])
def test_hush_sets_the_levels_of_ray_and_vllm(verbose: bool, level: int) -> None:
    cluster.hush(verbose)
    names = ("ray", "ray.data", "ray.llm", "vllm")
    assert {logging.getLogger(name).level for name in names} == {level}
    cluster.hush()
