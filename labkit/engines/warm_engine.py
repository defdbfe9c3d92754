"""A warm engine: Ray Data LLM's own stages, kept alive in an actor from one job to the next.

A Ray Data LLM processor starts a fresh engine for every run. Here the same stages (chat template,
tokenizer, vLLM engine, detokenizer: Ray's classes, with the arguments that `build_processor` gives
them) are made once and stay; a job sends them its batches from the driver, as many at a time as
the processor would, with no worker to start first. Ray's own way, a Ray Serve LLM
deployment (https://docs.ray.io/en/latest/data/working-with-llms.html), answers like a web server:
without the rows' times, and with a worker that imports `ray.serve.llm` for every job.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.engines import warm_plan
from labkit.engines.batches_in_flight import Window
from labkit.engines.engine_actors import Actors, wait
from labkit.hardware.machine import Machine, settled
from labkit.ray_session import session as cluster
from labkit.rows import requests
from labkit.tasks import Task

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from labkit.settings.processor_spec import ProcessorSpec


@dataclass
class Warm:
    """The engine that is up: its spec, its session of Ray, its actors, and the number of the job
    that it was last told of."""

    spec: ProcessorSpec
    session: str
    actors: Actors = field(default_factory=Actors)
    job: int = 0


_current: Warm | None = None
_lock = threading.RLock()


def current() -> ProcessorSpec | None:
    """The spec of the engine that is up; None when there is none."""
    return _current.spec if _current is not None and _current.session == _session() else None


def free_of_ours(machine: Machine) -> Machine:
    """`machine` with the memory of its cards as it is without the warm engine of this process: a
    job of another spec ends that engine first."""
    if current() is None:
        return settled(machine)
    return replace(machine, gpus=tuple(replace(g, free_gib=g.memory_gib) for g in machine.gpus))


def answers(
    task: Task,
    dataset: ray.data.Dataset,
    spec: ProcessorSpec,
    *,
    with_row: bool = True,
    say: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[pa.Table]:
    """The packed rows of `dataset`, answered: tables of finished rows (see `requests.Finish`).

    On the warm engine: started when none fits (`say` tells why), else reused. At most
    `max_concurrent_batches` batches are at a replica, each with the replica that has the fewest.
    """
    warm = use(spec, say, cancel)
    engine_decodes = not spec.ray_decodes(task)
    ask = requests.preprocess(task, ray_detokenizes=not engine_decodes)
    finish = requests.Finish(task, with_row)
    window = Window(warm.actors.replicas, spec["max_concurrent_batches"], _in_order(dataset))
    for batch in dataset.iter_batches(batch_size=spec["batch_size"], batch_format="pyarrow"):
        packed = batch.to_pylist()
        yield from map(finish.joined, window.settle(cancel))
        window.send(packed, warm.job, [ask(row) for row in packed], engine_decodes)
    yield from map(finish.joined, window.settle(cancel, everything=True))


def _in_order(dataset: ray.data.Dataset) -> bool:
    return bool(dataset.context.execution_options.preserve_order)


def use(
    spec: ProcessorSpec,
    say: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> Warm:
    """The engines for this spec, ready for a job; started or replaced as needed."""
    global _current
    say = say or (lambda words: None)
    with _lock:
        if _current is not None and _current.session != _session():
            _current = None  # Ray was stopped: its actors are gone
        if _current is not None and (why := warm_plan.changes(_current.spec, spec)):
            say(f"another engine is needed ({', '.join(why)}): stopping the warm one")
            stop()
        if _current is not None and not _begin(_current, spec):
            say("the warm engine has died: starting a new one")
            stop()
        if _current is None:
            say(f"{spec.starting}; it stays up for the next jobs")
            found = Warm(spec, _session() or "")
            try:
                found.actors.start(spec, found.session, cancel)
                wait(found.actors.begin(found.job, spec.limit), cancel)
            except BaseException:
                found.actors.end(timeout_s=0)
                raise
            _current = found
        say("the engine is warm: handing it the rows")
        return _current


def _begin(warm: Warm, spec: ProcessorSpec) -> bool:
    """Tell the engines of the next job; False when one of them is dead."""
    import ray
    from ray.exceptions import RayError

    warm.job += 1
    try:
        ray.get(warm.actors.begin(warm.job, spec.limit), timeout=60)
    except RayError:
        return False
    return True


def abort() -> None:
    """Give up the rows that the warm engine works on, if there is one; it stays up."""
    warm = _current
    if warm is None or warm.session != _session():
        return
    import ray
    from ray.exceptions import RayError

    with contextlib.suppress(RayError):
        ray.get([actor.abort.remote() for actor in warm.actors.all()], timeout=10)


@contextlib.contextmanager
def aborting(cancel: threading.Event | None) -> Iterator[None]:
    """Abort the warm engine's job when the block fails, and as soon as `cancel` is set."""
    ended = threading.Event()

    def watch(cancel: threading.Event) -> None:
        while not ended.is_set():
            if cancel.wait(0.2) and not ended.is_set():
                abort()
                return

    if cancel is not None:
        threading.Thread(target=watch, args=(cancel,), daemon=True).start()
    try:
        yield
    except BaseException:
        abort()
        raise
    finally:
        ended.set()


def stop() -> None:
    """Shut the warm engine down, if there is one: its processes end and its memory is free."""
    global _current
    with _lock:
        warm, _current = _current, None
        if warm is not None and warm.session == _session():
            warm.actors.end()


def _session() -> str | None:
    """The Ray job of this process: another one after Ray was stopped and started again."""
    import ray

    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return f"{context.get_job_id()} at {context.gcs_address}"


cluster.before_stop.append(stop)
atexit.register(stop)
