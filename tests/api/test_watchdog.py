"""api.watchdog, api.job_stream: real executions that stand still, are cancelled, or fail.

No engine here: `tests/test_faults.py` stops real ones.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import labkit
from labkit.api import watchdog
from labkit.api.job_stream import supervised
from labkit.api.watchdog import Watch, last_words, limit
from labkit.errors import Cancelled, LabError, Stalled
from labkit.progress import Progress
from labkit.ray_session import diagnosis


@pytest.mark.parametrize(
    ("argument", "variable", "least", "seconds"),
    [
        (None, None, 0, 900),
        (None, None, 1800, 1800),
        (None, "", 0, 900),
        (None, "20", 1800, 20),
        (5, "20", 0, 5),
        (float("inf"), None, 0, float("inf")),
    ],
)
def test_the_limit(
    monkeypatch: pytest.MonkeyPatch, argument: Any, variable: Any, least: float, seconds: float
) -> None:
    monkeypatch.delenv("LABKIT_STALL_S", raising=False)
    if variable is not None:
        monkeypatch.setenv("LABKIT_STALL_S", variable)
    assert limit(argument, least) == seconds


@pytest.mark.parametrize("odd", [0, -1, float("nan"), "soon", [1]])
def test_odd_limits_are_refused(monkeypatch: pytest.MonkeyPatch, odd: Any) -> None:
    with pytest.raises(LabError, match="stall_s must be a number of seconds"):
        limit(odd)
    monkeypatch.setenv("LABKIT_STALL_S", str(odd))
    with pytest.raises(LabError, match="LABKIT_STALL_S must be"):
        limit(None)


def test_a_server_that_is_slow_on_purpose_is_waited_for() -> None:
    """Five tries of 300 s each are no stall."""
    spec = labkit.endpoint("http://127.0.0.1:9/v1", "m", timeout_s=300, max_retries=4)
    assert limit(None, spec.patience_s) > 5 * 300


# --- executions of Ray Data ----------------------------------------------------------------------


def batches(quick: int, blocks: int = 6, **options: Any) -> Any:
    """A stage whose actor answers `quick` batches, and then never again."""
    import ray.data

    class Sleeper:  # in here: workers can't import this module
        left = quick

        def __call__(self, batch: pa.Table) -> pa.Table:
            self.left -= 1
            if self.left < 0:
                time.sleep(3600)
            return batch

    return ray.data.range(blocks * 2, override_num_blocks=blocks).map_batches(
        Sleeper, batch_format="pyarrow", batch_size=2, concurrency=1, num_cpus=0.5, **options
    )


def run(data: Any, looking: Watch) -> Iterator[Any]:
    found = data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    return supervised(iter(found), [data.context], looking)


def watch(cancel: threading.Event | None = None, stall_s: float = 900) -> Watch:
    return Watch(Progress(12, startup="starting", show=False), cancel, stall_s)


def free_again(ray: Any) -> bool:
    """Whether no actor holds anything any more."""
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(ray.available_resources().get("CPU") == 4)


#: What an execution reads and changes of a DataContext.
CONTEXT: Any = {"custom_execution_callback_classes": [], "execution_no_progress_timeout_s": 9}


def settings(data: Any) -> tuple[Any, ...]:
    context = data.context
    return list(context.custom_execution_callback_classes), context.execution_no_progress_timeout_s


@pytest.mark.slow
def test_a_stall_that_the_other_thread_sees_first_is_a_stall() -> None:
    """What makes the tables looks at the same watch, and can only say Cancelled."""
    looking = watch(stall_s=0.3)

    def made() -> Iterator[Any]:
        while not looking.is_set():
            time.sleep(0.001)
        raise Cancelled("by the watch")
        yield

    for _ in range(5):
        with pytest.raises(Stalled):
            looking.ended = False
            looking.touch()
            list(supervised(made(), [SimpleNamespace(**CONTEXT)], looking))


def test_nothing_new_is_not_given_on_and_is_no_progress() -> None:
    """As a job says it that waits for its workers: it can be ended there."""
    context = SimpleNamespace(**CONTEXT)
    assert list(supervised(iter([None, 1, None, 2]), [context], watch())) == [1, 2]

    def waits() -> Iterator[None]:
        while True:
            time.sleep(0.05)
            yield None

    with pytest.raises(Stalled, match="no row was finished for 0.5 s"):
        list(supervised(waits(), [context], watch(stall_s=0.5)))


@pytest.mark.slow
def test_an_execution_that_ends_by_itself(local_ray: Any) -> None:
    data = batches(quick=99)
    before = settings(data)
    found = [n for table in run(data, watch()) for n in table["id"].to_pylist()]
    assert sorted(found) == list(range(12))
    assert settings(data) == before


@pytest.mark.slow
def test_a_stage_that_stands_still_is_ended(local_ray: Any) -> None:
    data = batches(quick=2)
    before = settings(data)
    looking, found = watch(), []
    with pytest.raises(Stalled, match="no row was finished for 1 s, in the middle.*4 of 12") as end:
        for table in run(data, looking):
            looking.shown.advance(table.num_rows, 0)
            found += table["id"].to_pylist()
            if len(found) == 4:  # the actor is up, and answers no more
                looking.stall_s = 1
    assert "labkit doctor" in str(end.value) and "stall_s" in str(end.value)
    assert len(set(found)) == len(found) == 4
    assert settings(data) == before
    assert free_again(local_ray), "the actor that sleeps was not ended"
    assert len(list(run(batches(quick=99), watch()))) > 0


@pytest.mark.slow
def test_an_actor_that_has_no_room_is_named(local_ray: Any) -> None:
    data = batches(quick=9, resources={"absent": 1})
    with pytest.raises(Stalled, match="since “starting”; 0 of 12.*not started MapB.*Sleeper"):
        list(run(data, watch(stall_s=5)))
    assert free_again(local_ray)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_cancel_is_heard_while_ray_waits(local_ray: Any, when: str) -> None:
    stop = threading.Event()
    if when == "before":
        stop.set()
    threading.Timer(3, stop.set).start()
    with pytest.raises(Cancelled, match="Cancelled after 0 rows"):
        list(run(batches(quick=0), watch(stop)))
    assert free_again(local_ray)


@pytest.mark.slow
def test_an_actor_that_ray_only_lets_go_of_is_ended(
    local_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own reader of an execution shuts it down gently, and may be the first to do so."""
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    real = StreamingExecutor.shutdown
    monkeypatch.setattr(
        StreamingExecutor, "shutdown", lambda self, force, why=None: real(self, False, why)
    )
    stop = threading.Event()
    threading.Timer(3, stop.set).start()
    with pytest.raises(Cancelled):
        list(run(batches(quick=0), watch(stop)))
    assert free_again(local_ray), "Ray started the actor again"


@pytest.mark.slow
def test_time_that_the_caller_takes_is_no_stall(local_ray: Any) -> None:
    found, looking = 0, watch()
    for table in run(batches(quick=99, blocks=3), looking):
        looking.stall_s = 3  # the actor is up by now
        found += table.num_rows
        time.sleep(1.5)
    assert found == 6


@pytest.mark.slow
def test_leaving_early_ends_the_execution(local_ray: Any) -> None:
    running = run(batches(quick=1), watch())
    assert next(running).num_rows == 2
    running.close()
    assert free_again(local_ray)


@pytest.mark.slow
def test_an_error_in_a_stage_is_passed_on(local_ray: Any) -> None:
    import ray.data
    from ray.exceptions import RayError

    def fail(batch: Any) -> Any:
        raise ValueError("not this one")

    with pytest.raises(RayError, match="not this one"):
        list(run(ray.data.range(4).map_batches(fail), watch()))


def test_one_that_only_knows_cancel_ends_with_the_reason() -> None:
    """The warm engine's start raises Cancelled for an event that is set, whoever set it."""
    for cancelled, kind in ((True, Cancelled), (False, Stalled)):
        stop = threading.Event()
        with pytest.raises(kind), watch(stop, stall_s=0.01) as looking:
            if cancelled:
                stop.set()
            else:
                time.sleep(0.02)
            assert looking.is_set()
            raise Cancelled("Cancelled while the engine was starting.")


def test_the_last_words_are_those_of_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "log_folder", lambda: str(tmp_path))
    assert last_words() == ""
    (tmp_path / "worker-1.err").write_text("vLLM is here\n\n  CUDA out of memory  \n\n:task:x\n")
    (tmp_path / "worker-2.err").write_text("another worker\n")
    (tmp_path / "raylet.out").write_text("vllm\nno worker\n")
    assert last_words() == "CUDA out of memory"
    (tmp_path / "worker-1.out").write_text("vLLM\n  torch.OutOfMemoryError: CUDA\nmore\n")
    os.utime(tmp_path / "worker-1.err", (1, 1))
    assert last_words() == "torch.OutOfMemoryError: CUDA"
    monkeypatch.setattr(diagnosis, "log_folder", lambda: None)
    assert watchdog.last_words() == ""
