"""Who answers, without an engine: what is made ready must not start when its job is over."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.engines import dispatch, endpoint_client, ray_data_llm, warm_engine
from labkit.errors import Cancelled
from labkit.ray_session import internals
from labkit.settings.processor_spec import ProcessorSpec


@pytest.mark.parametrize("step", ["capacity", "renderer", "processor", "none"])
def test_a_cold_job_that_was_ended_while_it_was_made_ready_starts_no_engine(
    step: str, smollm2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for that thread any more, and the next job may be at work."""
    ended, started = threading.Event(), []

    def slow(name: str, value: Any = None) -> Any:
        def made(*_: Any, **__: Any) -> Any:
            if name == step:
                ended.set()
            return value

        return made

    data = SimpleNamespace(map_batches=lambda *_, **__: data)
    data.iter_batches = lambda **_: started.append(1) or iter(["table"])
    monkeypatch.setattr(ray_data_llm.capacity, "require", slow("capacity"))
    monkeypatch.setattr(ray_data_llm, "renderer_arguments", slow("renderer", {}))
    monkeypatch.setattr(ray_data_llm, "build", slow("processor", lambda prompts: prompts))
    output = ray_data_llm.answer(data, labkit.configure(smollm2), ended)
    if step == "none":
        assert list(output) == ["table"] and started
        return
    with pytest.raises(Cancelled, match="before its engine was started"):
        next(output)
    assert not started


@pytest.mark.parametrize("made", [0, 1])
def test_a_warm_engine_whose_job_was_ended_is_not_started(
    made: int, smollm2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, started = threading.Event(), []

    def replica(spec: Any, number: int, session: str) -> Any:
        started.append(number)
        ended.set()
        return SimpleNamespace(loading=None)

    monkeypatch.setattr(warm_engine, "Replica", replica)
    monkeypatch.setattr(warm_engine.capacity, "require", lambda *_: None if made else ended.set())
    with pytest.raises(Cancelled, match="before the engine was started"):
        warm_engine.Warm(labkit.configure(smollm2, replicas=2, warm=True), "").start(ended)
    assert len(started) == made


def test_no_row_is_sent_for_a_job_that_was_ended_while_the_server_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(endpoint_client, "check_server", lambda spec: ended.set())
    spec = labkit.endpoint("http://127.0.0.1:1/v1", "small")
    with pytest.raises(Cancelled, match="before its first row"):
        next(endpoint_client.answer(SimpleNamespace(), spec, cancel=ended))  # type: ignore[arg-type]


@pytest.mark.slow
def test_rows_that_nobody_asks_for_yet_are_not_read(local_ray: Any, tmp_path: Path) -> None:
    """Blocks below 100 kB lie in this process, so that they are what it grows by."""
    import ray.data

    def read(batch: dict[str, Any]) -> dict[str, Any]:
        (tmp_path / str(batch["id"][0])).touch()
        return {"text": np.full(1, "x" * 50_000)}

    def read_of(limit: float) -> int:
        """How many of 200 blocks are read while the first is looked at."""
        data = ray.data.range(200, override_num_blocks=200)
        data = data.map_batches(read, batch_size=None, num_cpus=0.1)
        before = data.context.execution_options.resource_limits
        with dispatch.reading_ahead(data, limit):
            blocks = internals.blocks(data)
            next(blocks)
            time.sleep(2)
            there = len(list(tmp_path.iterdir()))
            assert sum(rows for _, rows in blocks) == 199
        assert data.context.execution_options.resource_limits == before
        return there

    assert read_of(2**20) < 60
    data = ray.data.range(1)
    options = data.context.execution_options
    options.resource_limits = options.resource_limits.copy(object_store_memory=10.0)
    with dispatch.reading_ahead(data, 2**20):
        assert options.resource_limits.object_store_memory == 10


@given(st.integers(1, 10**8), st.integers(1, 512), st.integers(1, 64), st.integers(1, 8))
def test_blocks_of_many_rows_are_large_and_of_few_rows_many(
    rows: int, size: int, batches: int, replicas: int
) -> None:
    """A block is whole batches; each replica gets several, and many before they become large."""
    values = {"batch_size": size, "max_concurrent_batches": batches}
    spec: Any = MagicMock(spec=ProcessorSpec, warm=True, replicas=replicas)
    spec.__getitem__ = lambda _, name: values[name]
    found = dispatch.block_rows(spec, rows)
    most = size * max(dispatch.BATCHES_A_BLOCK, 2 * batches)
    assert found % size == 0 and found >= size
    if rows >= dispatch.BLOCKS_A_REPLICA * replicas * size:
        assert rows // found >= dispatch.BLOCKS_A_REPLICA * replicas
    if found > most:
        assert found <= dispatch.LARGE_BLOCK
        assert rows // found >= dispatch.MANY_BLOCKS * replicas
    if rows >= dispatch.MANY_BLOCKS * replicas * dispatch.LARGE_BLOCK:
        assert found >= min(dispatch.LARGE_BLOCK // 2, max(most, size))
    spec.warm = False
    assert dispatch.block_rows(spec, rows) == size, "Ray Data's stages take a block as a batch"
