"""ray_session.capacity against a real Ray of 4 CPUs and no GPU: say at once what a job lacks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from labkit.errors import CannotSchedule, LabError
from labkit.ray_session import capacity
from labkit.settings.engine_defaults import STAGE_CPUS

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
    assert capacity.missing(bundles, light) is None


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
    assert words in (capacity.missing(bundles, light) or "")


@pytest.mark.parametrize("nodes", [1, 2, 5])
@pytest.mark.parametrize("light", [0.0, 0.5])
@pytest.mark.parametrize("left", [0.5, 0.99, 1.0, 1.49, 1.5, 2.0])
def test_readers_need_a_whole_cpu_of_one_node(
    monkeypatch: pytest.MonkeyPatch, nodes: int, light: float, left: float
) -> None:
    """Where each node has less Ray Data's readers would wait for ever."""
    monkeypatch.setattr(capacity, "nodes", lambda: [{"CPU": 2 + left} for _ in range(nodes)])
    lacking = capacity.missing([{"CPU": 2.0}] * nodes, light)
    assert (lacking is None) == (left >= 1 and left * nodes >= 1 + light)
    assert lacking is None or "for reading" in lacking


def test_asking_takes_nothing(local_ray: Any) -> None:
    before = capacity.nodes()
    bundles = [{"CPU": 2.0}]
    assert [capacity.missing(bundles, LIGHT) for _ in range(3)] == [None] * 3
    assert capacity.nodes() == before and bundles == [{"CPU": 2.0}]


def test_a_bundle_is_not_split_over_nodes(local_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of 4 CPUs hold two bundles of 3, and none of 5."""
    monkeypatch.setattr(capacity, "nodes", lambda: [{"CPU": 4.0}, {"CPU": 4.0}])
    assert capacity.missing([{"CPU": 3.0}] * 2, LIGHT) is None
    assert "5 CPU on one node" in (capacity.missing([{"CPU": 5.0}], LIGHT) or "")


def test_large_bundles_are_placed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "nodes", lambda: [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}])
    assert capacity.missing([{"CPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}], 0.5) is None


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
        capacity.require(bundles, LIGHT)
    assert time.monotonic() - began < 3


def test_cannot_schedule_is_a_lab_error() -> None:
    assert issubclass(CannotSchedule, LabError)


def test_what_fits_is_let_through(free: None) -> None:
    assert capacity.require([{"CPU": 2.0}], LIGHT) is None  # type: ignore[func-returns-value]


def test_what_another_job_holds_is_waited_for_then_named(holder: Any) -> None:
    began = time.monotonic()
    with pytest.raises(CannotSchedule, match="2 CPU is needed and only 1 is free.*another job"):
        capacity.require([{"CPU": 2.0}], LIGHT, wait_s=1)
    assert 1 <= time.monotonic() - began < 10


def test_what_another_job_gives_back_is_taken(local_ray: Any, holder: Any) -> None:
    threading.Timer(1.0, lambda: local_ray.kill(holder)).start()
    began = time.monotonic()
    capacity.require([{"CPU": 2.0}], LIGHT, wait_s=30)
    assert time.monotonic() - began >= 0.5
    assert local_ray.available_resources()["CPU"] >= 2


# --- start, stop, logs ---------------------------------------------------------------------------
