"""The one door to Ray's private parts: what no public way of Ray 2.60 can tell or do.

Nothing else in labkit imports `ray._private` or an `_internal` module of Ray. Each function here
has a canary in `tests/ray_session/test_internals.py`, so that an upgrade of Ray names what broke.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

#: Actors that were told to end have so many seconds to do it.
KILL_S = 5.0

#: How long Ray Data's loop rests where enough is read ahead, in seconds; and what it counts of a
#: stage where something moves.
REST_S = 0.02
MOVED = ("num_tasks_submitted", "num_tasks_finished", "num_task_outputs_generated")

#: So many blocks of a stage may be noted by Ray before they are forgotten.
BLOCKS_NOTED = 100

#: The variables that Ray's processes read when the lab starts them. Ray's own developers use them;
#: there are no arguments for them.
RAY_SETTINGS = {
    # Ray gives its workers the lowest priority (nice 15): on a laptop any other program that is
    # busy then takes the cores from the engine, which slows down by far more than its share.
    "RAY_worker_niceness": "0",
    # At info its agent logs the environment variables of every engine, a token among them.
    "RAY_LOGGER_LEVEL": "warning",
    # It ends a worker that was idle for a second where there are more processes than logical CPUs,
    # and here the stages are more: a job of 30,000 rows started 80 workers (3 s each).
    "RAY_idle_worker_killing_time_threshold_ms": "10000",
    # It starts a worker a CPU before it answers the driver; no engine can use one of them.
    "RAY_prestart_worker_first_driver": "0",
}


def enable_token() -> None:
    """Have this process show Ray's token when it joins a cluster; makes one if there is none.

    Ray reads RAY_AUTH_MODE when it is imported, and by itself enables the token only for clusters
    that it starts or finds on its own, not for an address it is given.
    """
    from ray._private.authentication import authentication_token_setup as setup

    setup._enable_token_auth()  # the public ones warn that they did it
    setup.ensure_token_if_auth_enabled(create_token_if_missing=True)


class Execution:
    """The execution of Ray Data that is under way, by Ray's `ExecutionCallback`."""

    current: Execution | None = None

    def __init__(self, check: Callable[[], None]):
        self.check = check
        self.executor: Any = None
        self.moved: list[int] = []
        self.stepped = 0.0

    @contextlib.contextmanager
    def watched(self, contexts: list[Any]) -> Iterator[None]:
        """Note the executor of what runs with these contexts of Ray Data, and call `check` at each
        of its steps: what it raises ends the execution."""
        before = [
            (c, c.custom_execution_callback_classes, c.execution_no_progress_timeout_s)
            for c in contexts
        ]
        for context, classes, _ in before:
            context.custom_execution_callback_classes = [*classes, _Callback]
            context.execution_no_progress_timeout_s = -1  # Ray's own clock: the watchdog is one
        Execution.current = self
        try:
            yield
        finally:
            Execution.current = None
            for context, classes, timeout in before:
                context.custom_execution_callback_classes = classes
                context.execution_no_progress_timeout_s = timeout

    def waiting_for(self) -> list[str]:
        """The stages whose actors Ray has not started."""
        return [name for name, pool in self._pools() if pool.num_pending_actors()]

    def actors(self) -> list[Any]:
        """The actors of its stages, those that still start among them."""
        actors: list[Any] = []
        for _, pool in self._pools():
            actors += [*pool._pending_actors.values(), *pool._running_actors]
        return actors

    def forget_statistics(self) -> None:
        """Drop what Ray notes of each block for `Dataset.stats()`, which nobody asks for here: some
        kilobytes a block and stage in the driver, which a long job would fill with them."""
        for stage in getattr(self.executor, "_topology", None) or ():
            noted: list[Any] = getattr(stage, "_output_blocks_stats", [])
            if len(noted) > BLOCKS_NOTED:
                del noted[:-1]

    def rest(self) -> None:
        """Wait a little where a step of Ray's loop took no time and moved nothing: enough is read
        ahead, and by itself it would look again at once, for up to a core of this process."""
        stages = getattr(self.executor, "_topology", None) or ()
        moved = [getattr(stage.metrics, count) for stage in stages for count in MOVED]
        if moved == self.moved and time.monotonic() - self.stepped < REST_S / 2:
            time.sleep(REST_S)
        self.moved, self.stepped = moved, time.monotonic()

    def shut_down(self) -> None:
        """End it: Ray waits for its tasks."""
        self.executor.shutdown(True)

    def _pools(self) -> list[tuple[str, Any]]:
        stages = getattr(self.executor, "_topology", None) or ()
        pools = [(stage.name, getattr(stage, "_actor_pool", None)) for stage in stages]
        return [(name, pool) for name, pool in pools if pool is not None]


class _Callback:
    """Ray's `ExecutionCallback`, by its methods; Ray makes one for each execution."""

    def __init__(self) -> None:
        self.execution = Execution.current

    def before_execution_starts(self, executor: Any) -> None:
        if self.execution is not None:
            self.execution.executor = executor

    def on_execution_step(self, executor: Any) -> None:
        if self.execution is not None:
            self.execution.check()
            self.execution.forget_statistics()
            self.execution.rest()

    def after_execution_succeeds(self, executor: Any) -> None:
        """Nothing to do."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """Nothing to do."""


def blocks(dataset: Any) -> Iterator[tuple[Any, int]]:
    """(the reference of a block, how many rows it has) of a Dataset, as they are made: this process
    holds none of them. Ray's `iter_batches` brings each to the caller."""
    import ray

    cut = ray.remote(_cut).options(num_cpus=0)
    for bundle in dataset.iter_internal_ref_bundles():
        for block, part in zip(bundle.blocks, bundle.slices, strict=True):
            if part is not None:
                rows = part.end_offset - part.start_offset
                yield cut.remote(block.ref, part.start_offset, rows), rows
            elif block.metadata.num_rows:
                yield block.ref, block.metadata.num_rows


def _cut(block: Any, first: int, rows: int) -> Any:
    return block[first : first + rows]


@contextlib.contextmanager
def killing(actors: list[Any]) -> Iterator[None]:
    """See to it that these actors, which the block ends, have ended with it.

    `ray.kill` asks a process to exit. One that is stopped, or stuck in a driver, does not: it would
    keep its memory, and the next job would find no room. Those of this node are killed for sure.
    """
    known = _actors()
    mine = {actor._actor_id.hex() for actor in actors}
    mine = {actor for actor in mine if actor in known and known[actor]["State"] != "DEAD"}
    processes = _processes(mine)
    try:
        yield
    finally:  # of an actor that was still starting, Ray knows the process only now
        processes |= _processes(mine)
        for process in psutil.wait_procs(processes, timeout=KILL_S)[1]:
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(KILL_S)


def _processes(actors: set[str]) -> set[psutil.Process]:
    """The processes of these actors on this node."""
    import ray

    found = set()
    for actor, about in _actors().items():
        here = ray.get_runtime_context().get_node_id()
        if actor in actors and about["Pid"] and about["Address"]["NodeID"] == here:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(about["Pid"])
                if process.name().startswith("ray::"):  # and not another one of that number
                    found.add(process)
    return found


def _actors() -> dict[str, dict[str, Any]]:
    """What Ray knows of this program's actors, by their ids; nothing where Ray itself is gone."""
    import ray
    from ray._private import state

    with contextlib.suppress(Exception):
        mine = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
        found: dict[str, dict[str, Any]] = state.actors(job_id=mine)
        return found
    return {}
