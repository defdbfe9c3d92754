"""One execution of Ray Data: its tables as they come, and its certain end."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil

from labkit.api.watchdog import Watch
from labkit.errors import Cancelled

if TYPE_CHECKING:
    import pyarrow as pa

#: Ray waits for every task of an execution that it shuts down; a job waits so long for Ray.
END_S = 30.0
#: Actors that were told to end have so many seconds to do it.
KILL_S = 5.0
#: How often cancel and the clock are looked at.
LOOK_S = 0.1


def tables(found: Iterator[pa.Table], context: Any, watch: Watch) -> Iterator[pa.Table]:
    """The tables of `found`, which Ray Data makes with `context`; raises as soon as `watch` is set.

    `found` is taken in a thread of its own and every wait here is short: Ctrl-C, cancel and the
    clock are heard whatever Ray waits for. However this is left, the execution is shut down, its
    actors with it.
    """
    job = _Execution(watch)
    before = context.custom_execution_callback_classes, context.execution_no_progress_timeout_s
    context.custom_execution_callback_classes = [*before[0], _Callback]
    context.execution_no_progress_timeout_s = -1  # Ray's own clock, which this one replaces
    _Callback.job = job
    feeder = threading.Thread(target=job.feed, args=(found,), daemon=True)
    try:
        feeder.start()
        while True:
            watch.check(job.waiting_for)
            try:
                table, problem = job.found.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if problem is not None:
                if isinstance(problem, Cancelled):  # by the watch, which its thread saw first
                    watch.check(job.waiting_for)
                raise problem
            if table is None:
                return
            yield table
            watch.touch()
    finally:
        try:
            job.end()
            feeder.join(END_S)
        finally:
            _Callback.job = None
            context.custom_execution_callback_classes = before[0]
            context.execution_no_progress_timeout_s = before[1]


class _Execution:
    """An execution of Ray Data, and what it made, on the way from its thread to the caller's."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.found: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=2)
        self.executor: Any = None

    def feed(self, found: Iterator[pa.Table]) -> None:
        try:
            for table in found:
                if not self._put(table, None):
                    return
            self._put(None, None)
        except BaseException as problem:  # raised again where the tables are taken
            self._put(None, problem)

    def _put(self, table: Any, problem: BaseException | None) -> bool:
        while not self.watch.ended:
            with contextlib.suppress(queue.Full):
                self.found.put((table, problem), timeout=LOOK_S)
                return True
        return False

    def waiting_for(self) -> list[str]:
        """The stages whose actors Ray has not started."""
        return [name for name, pool in self._pools() if pool.num_pending_actors()]

    def _pools(self) -> list[tuple[str, Any]]:
        stages = getattr(self.executor, "_topology", None) or ()
        pools = [(op.name, getattr(op, "_actor_pool", None)) for op in stages]
        return [(name, pool) for name, pool in pools if pool is not None]

    def end(self) -> None:
        """Shut the execution down: at once, not when the garbage collector finds it."""
        self.watch.ended = True
        if self.executor is None:
            return
        import ray
        from ray.exceptions import RayError

        actors: list[Any] = []
        for _, pool in self._pools():
            actors += [*pool._pending_actors.values(), *pool._running_actors]
        with killing(actors):
            try:
                ender = threading.Thread(target=self.executor.shutdown, args=(True,), daemon=True)
                ender.start()
                ender.join(END_S)
            finally:  # the thread of `feed` may have been first: then Ray only lets go of them
                for actor in actors:
                    with contextlib.suppress(RayError):  # Ray itself is gone
                        ray.kill(actor)


class _Callback:
    """Tells the job at hand of its executor (Ray's `ExecutionCallback`; workers get it by name)."""

    job: _Execution | None = None

    def __init__(self) -> None:
        self.mine = _Callback.job

    def before_execution_starts(self, executor: Any) -> None:
        if self.mine is not None:
            self.mine.executor = executor

    def on_execution_step(self, executor: Any) -> None:
        if self.mine is not None and self.mine.watch.ended:
            raise Cancelled("The job was ended before Ray had started it.")

    def after_execution_succeeds(self, executor: Any) -> None:
        """Nothing to do."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """Nothing to do."""


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
