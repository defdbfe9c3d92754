"""A real cluster of two nodes on this machine: two replicas, one job; nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest

import labkit
from labkit.errors import LabError
from labkit.ray_session import capacity, local_cluster, session
from labkit.ray_session.local_cluster import local_nodes
from labkit.tasks import faq
from tests.programs import below
from tests.ray_session.test_restore import bare  # noqa: F401
from tests.ray_session.test_restore import settings as process_settings

#: Room for one engine of two CPUs on each node, and for reading and the light stages beside it.
CPUS = 3
#: What tells the second node's command from the first one's.
SECOND = "--node-ip-address=127.0.0.3"
ROWS = 48
BATCH = 4


@pytest.fixture
def no_ray() -> Iterator[None]:
    """Whatever Ray another test has left up would be used instead."""
    session.stop()
    yield
    session.stop()


def processes() -> list[psutil.Process]:
    return below()


def raylet_of(process: psutil.Process) -> int | None:
    return next((p.pid for p in process.parents() if p.name().startswith("raylet")), None)


class Watch(threading.Thread):
    """Notes the raylet above every engine process that it sees."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.engines: dict[int, int | None] = {}
        self.everything: set[psutil.Process] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            for process in processes():
                self.everything.add(process)
                try:
                    if "vLLMEngineStage" in " ".join(process.cmdline()):
                        self.engines[process.pid] = raylet_of(process)
                except psutil.Error:
                    continue


@pytest.fixture(scope="module")
def two_nodes(tiny: Any) -> SimpleNamespace:
    """ONE job with two replicas on a cluster of two nodes."""
    import ray

    session.stop()
    before = set(processes())
    frame = pd.DataFrame(
        {"id": range(100, 100 + ROWS), "question": [f"What is {n} + {n}?" for n in range(ROWS)]}
    )
    watch = Watch()
    with local_nodes(count=2, cpus=CPUS) as address:
        labkit.start(address)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        spec = labkit.configure(
            tiny,
            batch_size=BATCH,
            max_concurrent_batches=1,
            replicas=2,
            ray={"placement_group_config": {"bundles": [{"CPU": 2.0}]}},
        )
        watch.start()
        job = labkit.run(faq(max_tokens=200), frame, spec, progress=False)
        watch.ended.set()
        watch.join()
    left = [p for p in watch.everything | set(processes()) - before if p.is_running()]
    return SimpleNamespace(
        job=job, frame=frame, nodes=nodes, watch=watch, left=left, up=ray.is_initialized()
    )


@pytest.mark.engine
@pytest.mark.endurance
def test_every_row_is_answered_once(two_nodes: SimpleNamespace) -> None:
    assert len(two_nodes.nodes) == 2
    assert len({node["NodeManagerAddress"] for node in two_nodes.nodes}) == 2
    assert two_nodes.job.failed.empty
    assert two_nodes.job.answers[["id", "question"]].equals(two_nodes.frame)


@pytest.mark.engine
@pytest.mark.endurance
def test_both_replicas_work_at_once_each_on_its_node(two_nodes: SimpleNamespace) -> None:
    assert len(two_nodes.watch.engines) == 2
    assert len(set(two_nodes.watch.engines.values()) - {None}) == 2
    # One engine never holds more than one batch here: more rows in flight are those of two.
    assert BATCH < two_nodes.job.metrics.peak_rows_in_flight <= 2 * BATCH


@pytest.mark.engine
@pytest.mark.endurance
def test_nothing_is_left_of_the_cluster(two_nodes: SimpleNamespace) -> None:
    assert two_nodes.watch.everything
    assert [p.name() for p in two_nodes.left if p.status() != psutil.STATUS_ZOMBIE] == []
    assert not two_nodes.up


@pytest.mark.engine
@pytest.mark.endurance
def test_a_node_that_is_lost_and_comes_back(tiny: Any, no_ray: None) -> None:
    """Its rows go to the other node; every row is answered once; the next job uses both again."""
    frame = pd.DataFrame(
        {"id": range(100), "question": [f"What is {n} + {n}?" for n in range(100)]}
    )
    with local_nodes(count=2, cpus=CPUS) as address:
        labkit.start(address)
        spec = labkit.configure(
            tiny,
            batch_size=BATCH,
            max_concurrent_batches=1,
            replicas=2,
            ray={"placement_group_config": {"bundles": [{"CPU": 2.0}]}},
        )
        (node,) = [p for p in psutil.Process().children() if SECOND in p.cmdline()]
        command, environment = node.cmdline(), node.environ()
        again: list[subprocess.Popen[bytes]] = []

        class Lose:
            """Kills the second node in the middle of the job, and starts it again at once."""

            def show(self, text: str, share: float | None) -> None:
                if not again and (share or 0) >= 0.2:
                    everything = [node, *node.children(recursive=True)]
                    for process in everything:
                        with contextlib.suppress(psutil.Error):
                            process.kill()
                    psutil.wait_procs(everything, timeout=10)
                    sink = subprocess.DEVNULL
                    again.append(
                        subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
                    )

            def close(self) -> None:
                pass

        try:
            job = labkit.run(faq(max_tokens=200), frame, spec, progress=Lose(), stall_s=300)
            assert again, "the node was not lost"
            assert job.failed.empty and job.answers[["id", "question"]].equals(frame)
            deadline = time.monotonic() + 60
            while len(capacity.nodes()) < 2 and time.monotonic() < deadline:
                time.sleep(0.5)
            watch = Watch()
            watch.start()
            more = labkit.run(faq(max_tokens=200), frame.head(40), spec, progress=False)
            watch.ended.set()
            watch.join()
            assert more.answers["id"].tolist() == list(range(40))
            assert len(set(watch.engines.values()) - {None}) == 2
        finally:
            for process in again:
                local_cluster._end([process])


@pytest.mark.endurance
def test_an_error_in_the_block_ends_the_cluster_too_and_changes_nothing(
    bare: None,  # noqa: F811
) -> None:
    before, settings = set(processes()), process_settings()
    with pytest.raises(ZeroDivisionError), local_nodes(count=1) as address:
        labkit.start(address)
        assert len(capacity.nodes()) == 1 and os.environ["RAY_AUTH_MODE"] == "token"
        mine = set(processes()) - before
        1 / 0  # noqa: B018
    assert mine
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in mine)
    assert process_settings() == settings


@pytest.mark.endurance
def test_a_node_that_does_not_start_says_why(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(processes())
    monkeypatch.setattr(local_cluster, "OBJECT_STORE_BYTES", 1)
    with pytest.raises(LabError, match="did not start.*object"), local_nodes(count=1):
        pass
    assert set(processes()) <= before


@pytest.mark.endurance
def test_a_port_that_another_program_took_meanwhile_is_no_error(
    no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = local_cluster._free_port
    with socket.socket() as other:
        other.bind((local_cluster.HEAD, 0))
        other.listen()
        ports = iter([other.getsockname()[1]])
        monkeypatch.setattr(local_cluster, "_free_port", lambda host: next(ports, free(host)))
        with local_nodes(count=1) as address:
            assert int(address.split(":")[1]) != other.getsockname()[1]


def test_a_cluster_that_is_not_there(no_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**_: Any) -> None:
        raise ConnectionError("Failed to connect") from RuntimeError("token is missing")

    monkeypatch.setattr(ray, "init", refuse)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with monkeypatch.context() as patch:
            patch.setattr(session, "JOIN_S", 1.0)
            with pytest.raises(LabError, match=f"{address}.*says nothing for 1 s.*own port"):
                labkit.start(address)
            patch.setattr(session, "_check_listens", lambda address: None)
            with pytest.raises(LabError, match=f"{address}.*token is missing.*RAY_AUTH_MODE"):
                labkit.start(address)
    with pytest.raises(LabError, match=f"{address} can't be joined: .*refused"):
        labkit.start(address)  # at once: Ray itself would try again for minutes
