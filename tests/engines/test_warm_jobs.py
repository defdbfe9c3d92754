"""A job on the warm engine, without one: places of a Dataset's rows, workers for its replicas, and
what is told at the end. (`test_warm_engine` asks a real one.)"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from labkit.engines import warm_engine, warm_jobs
from labkit.errors import JobFailed
from labkit.metrics import CORE, EngineUse


def test_rows_of_a_dataset_are_numbered_through_all_batches() -> None:
    batches = [pa.table({"row_id": pa.nulls(size), "messages": ["m"] * size}) for size in (2, 0, 3)]
    numbered = list(warm_jobs._numbered(batches))
    assert [one["row_id"].to_pylist() for one in numbered] == [[0, 1], [], [2, 3, 4]]


def test_responses_get_the_rows_that_their_requests_brought() -> None:
    asked = pa.table({"row_id": [0], "row": [{"a": 1}]})
    answered = pa.table({"row_id": [0], "text": ["yes"]})
    assert warm_jobs._joined((asked, answered))["row"].to_pylist() == [{"a": 1}]
    assert warm_jobs._joined((asked.select(["row_id"]), answered)) is answered


@pytest.mark.parametrize(
    ("nodes", "workers"),
    [("a", [1]), ("aaaa", [4]), ("aaaaa", [3, 2]), ("abab", [2, 2]), ("aaaaaaaab", [4, 4, 1])],
)
def test_a_worker_serves_few_replicas_all_of_its_node(
    nodes: str, workers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    replicas = [
        SimpleNamespace(engine=SimpleNamespace(node=SimpleNamespace(remote=lambda node=node: node)))
        for node in nodes
    ]
    warm = SimpleNamespace(replicas=replicas, job=7)
    monkeypatch.setattr(warm_engine, "started", lambda *_: warm)
    monkeypatch.setattr(ray, "get", list)
    spec: Any = {"batch_size": 16, "max_concurrent_batches": 4}
    stations = warm_jobs.stations(spec)
    assert [len(one.replicas) for one in stations] == workers
    for station in stations:
        assert {nodes[replicas.index(one)] for one in station.replicas} == {station.node}


def test_what_the_engines_did_is_told_unless_one_died(monkeypatch: pytest.MonkeyPatch) -> None:
    def died() -> EngineUse:
        raise JobFailed("it is gone")

    use = EngineUse()
    for nothing in (died, lambda: None):
        monkeypatch.setattr(warm_engine, "use", nothing)
        warm_jobs.tell(use)
        assert repr(use) == repr(EngineUse())
    monkeypatch.setattr(warm_engine, "use", lambda: EngineUse(1, {CORE: 2.0}, 3.0))
    warm_jobs.tell(use)
    assert (use.preemptions, use.cpu_s, use.card_s) == (1, {CORE: 2.0}, 3.0)
