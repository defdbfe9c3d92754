"""labkit.cluster against a real Ray of 4 CPUs and no GPU: say at once what a job lacks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit import cluster
from labkit.choices import STAGE_CPUS
from labkit.errors import CannotSchedule, LabError

LIGHT = 5 * STAGE_CPUS
GPU_BUNDLE = {"CPU": 1.0, "GPU": 1.0}


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the cluster did not settle"
        time.sleep(0.05)


@pytest.fixture
def free(local_ray: Any) -> None:
    """Every CPU is free: what an earlier test held has been given back."""
    wait_for(lambda: local_ray.available_resources().get("CPU", 0) == 4)


@pytest.fixture
def holder(local_ray: Any, free: None) -> Iterator[Any]:
    """An actor that holds 3 of the 4 CPUs."""

    @local_ray.remote(num_cpus=3)
    class Holder:
        def ready(self) -> bool:
            return True

    actor = Holder.remote()
    local_ray.get(actor.ready.remote())
    wait_for(lambda: local_ray.available_resources().get("CPU", 0) == 1)
    yield actor
    local_ray.kill(actor)


# --- what is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bundles", "light"),
    [
        ([{"CPU": 1.0}], LIGHT),
        ([{"CPU": 2.0}], LIGHT),
        ([{"CPU": 1.0}, {"CPU": 1.0}], LIGHT),
        ([{"CPU": 2.5}], LIGHT),  # exactly 4 with one for reading
        ([], 3.0),
        ([{"CPU": 1.0, "GPU": 0.0}], LIGHT),
    ],
)
def test_what_fits_lacks_nothing(local_ray: Any, bundles: Any, light: float) -> None:
    assert cluster.missing(bundles, light) is None


@pytest.mark.parametrize(
    ("bundles", "light", "words"),
    [
        ([GPU_BUNDLE], LIGHT, "1 CPU and 1 GPU on one node (of 1 such)"),
        ([GPU_BUNDLE] * 4, LIGHT, "1 CPU and 1 GPU on one node (of 4 such)"),
        ([{"CPU": 5.0}], LIGHT, "5 CPU on one node"),
        ([{"CPU": 3.0}, {"CPU": 3.0}], LIGHT, "3 CPU on one node (of 2 such)"),
        ([{"CPU": 1.0, "TPU": 4.0}], LIGHT, "4 TPU"),
        ([{"CPU": 3.0}], LIGHT, "1.5 CPU for reading and the light stages (1.0 left)"),
        ([{"CPU": 1.0}] * 4, LIGHT, "(0.0 left)"),
        ([], 3.1, "4.1 CPU for reading and the light stages (4.0 left)"),
    ],
)
def test_what_is_missing_is_named(
    ray_without_gpu: Any, bundles: Any, light: float, words: str
) -> None:
    assert words in (cluster.missing(bundles, light) or "")


def test_asking_takes_nothing(local_ray: Any) -> None:
    before = cluster.nodes()
    bundles = [{"CPU": 2.0}]
    assert [cluster.missing(bundles, LIGHT) for _ in range(3)] == [None] * 3
    assert cluster.nodes() == before and bundles == [{"CPU": 2.0}]


def test_a_bundle_is_not_split_over_nodes(local_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of 4 CPUs hold two bundles of 3, and none of 5."""
    monkeypatch.setattr(cluster, "nodes", lambda: [{"CPU": 4.0}, {"CPU": 4.0}])
    assert cluster.missing([{"CPU": 3.0}] * 2, LIGHT) is None
    assert "5 CPU on one node" in (cluster.missing([{"CPU": 5.0}], LIGHT) or "")


def test_large_bundles_are_placed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "nodes", lambda: [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}])
    assert cluster.missing([{"CPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}], 0.5) is None


# --- require -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bundles", "words"),
    [
        ([GPU_BUNDLE], "1 CPU and 1 GPU on one node .*has 4 CPU on 1 node.*labkit.start"),
        ([{"CPU": 9.0}], "9 CPU on one node.*has 4 CPU.*fewer replicas"),
        ([{"CPU": 4.0}], "for reading and the light stages.*num_cpus"),
    ],
)
def test_a_job_that_would_wait_for_ever_raises_at_once(
    ray_without_gpu: Any, bundles: Any, words: str
) -> None:
    began = time.monotonic()
    with pytest.raises(CannotSchedule, match=words):
        cluster.require(bundles, LIGHT)
    assert time.monotonic() - began < 3


def test_cannot_schedule_is_a_lab_error() -> None:
    assert issubclass(CannotSchedule, LabError)


def test_what_fits_is_let_through(free: None) -> None:
    assert cluster.require([{"CPU": 2.0}], LIGHT) is None  # type: ignore[func-returns-value]


def test_what_another_job_holds_is_waited_for_then_named(holder: Any) -> None:
    began = time.monotonic()
    with pytest.raises(CannotSchedule, match="2 CPU is needed and only 1 is free.*another job"):
        cluster.require([{"CPU": 2.0}], LIGHT, wait_s=1)
    assert 1 <= time.monotonic() - began < 10


def test_what_another_job_gives_back_is_taken(local_ray: Any, holder: Any) -> None:
    threading.Timer(1.0, lambda: local_ray.kill(holder)).start()
    began = time.monotonic()
    cluster.require([{"CPU": 2.0}], LIGHT, wait_s=30)
    assert time.monotonic() - began >= 0.5
    assert local_ray.available_resources()["CPU"] >= 2


# --- start, stop, logs ---------------------------------------------------------------------------


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


def test_log_folder_holds_the_logs(local_ray: Any) -> None:
    folder = cluster.log_folder()
    assert folder is not None
    assert any(path.name.startswith("raylet") for path in Path(folder).iterdir())


def test_no_log_folder_and_nothing_to_stop_before_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", None)
    assert cluster.log_folder() is None
    cluster.stop()


def test_nodes_are_the_live_ones(local_ray: Any) -> None:
    (node,) = cluster.nodes()
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
