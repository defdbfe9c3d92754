"""The workers of a streamed job, as its driver sees them: each block goes to the least busy one."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from labkit.engines.station import Station
from labkit.errors import Cancelled, JobFailed, LabError
from labkit.metrics.tally import Tally
from labkit.ray_session import internals
from labkit.results.agreement import Agreement
from labkit.results.parquet_folder import Parts
from labkit.results.part_worker import Counts, PartWorker, Work
from labkit.tasks import Task

#: Where many workers write, rows wait longer for a part, so that there are at most some two files a
#: second; but no longer than LONGEST_PART_S.
WRITERS_AT_EASE, LONGEST_PART_S = 10, 60.0
#: How often the workers are asked how far they are, and how long a job that ends waits for them.
ASK_S, END_S = 0.5, 30.0


def part_seconds(workers: int, seconds: float) -> float:
    """How long rows wait for a part, which is `seconds` where few write."""
    return seconds * min(max(1.0, workers / WRITERS_AT_EASE), LONGEST_PART_S / 5)


class PartWorkers:
    """They are started when the stations are known and ended with the `with` block: what waits is
    written then, whatever ended it.

    here: all are on the node of this process, which alone has the folder.
    """

    def __init__(self, work: Work, here: bool):
        self.work, self.here = work, here
        self.actors: list[Any] = []
        self.limits: list[int] = []  # how many blocks each takes at a time
        self.pending: dict[Any, int] = {}
        self.at_each: list[int] = []
        self.given: list[int] = []
        self.asked: list[Any] = []
        self.asked_at = 0.0
        self.rows = 0  # as they were told last
        self.finished = self.disk_failed = False

    def written(
        self, blocks: Iterable[tuple[Sequence[Station], Any]]
    ) -> Iterator[Counts | Tally | None]:
        """Have blocks (see `dispatch.blocks`) answered and written: what was counted so far, with
        more rows each time; None while nothing comes; at the end the numbers of all rows. Raises
        what a worker raised."""
        for stations, block in blocks:
            if not self.actors:
                self._start(stations)
            if block is None:
                continue
            yield from self._room(sum(self.limits))
            at = self.least_busy()
            self.at_each[at] += 1
            self.given[at] += 1
            self.pending[self.actors[at].take.remote(block)] = at
        yield from self._room(1)
        if self.actors:
            yield from self._finish()

    def _start(self, stations: Sequence[Station]) -> None:
        import ray

        actor: Any = ray.remote(PartWorker)
        seconds = part_seconds(len(stations), self.work.seconds)
        work = dataclasses.replace(self.work, seconds=seconds)
        for station in stations:
            options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": station.blocks + 4}
            if self.here or station.node:
                options["scheduling_strategy"] = on_node("" if self.here else station.node)
            self.actors.append(actor.options(**options).remote(work, station))
        self.limits = [station.blocks for station in stations]
        self.at_each, self.given = [0] * len(stations), [0] * len(stations)

    def least_busy(self) -> int:
        """The worker for the next block: of those that have as little to do, the one that had
        least, since on a fast machine each is done before the next block comes."""

        def busy(worker: int) -> tuple[float, float]:
            limit = self.limits[worker]
            return self.at_each[worker] / limit, self.given[worker] / limit

        return min(range(len(self.actors)), key=busy)

    def _room(self, blocks: int) -> Iterator[Counts | None]:
        """Wait until fewer than so many blocks are with the workers."""
        import ray

        while len(self.pending) >= blocks:
            done, _ = ray.wait(list(self.pending), timeout=ASK_S)
            for call in done:
                self.at_each[self.pending.pop(call)] -= 1
                self._result(call)
            yield self._counted()
        yield self._counted()

    def _counted(self) -> Counts | None:
        """What all counted, if it is more than before; they are asked now and then."""
        import ray

        if not self.asked and self.actors and time.monotonic() - self.asked_at > ASK_S:
            self.asked = [actor.so_far.remote() for actor in self.actors]
            self.asked_at = time.monotonic()
        if not self.asked or ray.wait(self.asked, num_returns=len(self.asked), timeout=0)[1]:
            return None
        calls, self.asked = self.asked, []
        return self._more(sum(map(self._result, calls), Counts()))

    def _more(self, counts: Counts) -> Counts | None:
        more, self.rows = counts.rows > self.rows, counts.rows
        return counts if more else None

    def _finish(self) -> Iterator[Counts | Tally | None]:
        import ray

        left = calls = [actor.finish.remote() for actor in self.actors]
        while left:
            _, left = ray.wait(left, num_returns=len(left), timeout=ASK_S)
            yield None
        every = list(map(self._result, calls))
        self.finished = True
        yield sum((counts for counts, _ in every), Counts())
        whole = Tally(self.work.clocks)  # what comes from Ray can't be written to
        for _, tally in every:
            whole.merge(tally)
        yield whole

    def _result(self, call: Any) -> Any:
        try:
            return result(call)
        except LabError as problem:
            # A part could not be written: no other can.
            self.disk_failed = not isinstance(problem, JobFailed | Cancelled)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        import ray
        from ray.exceptions import RayError

        if not self.actors:
            return
        with contextlib.suppress(RayError), internals.killing(self.actors):
            try:
                if not self.finished and not self.disk_failed:
                    calls = [actor.finish.remote(save_only=True) for actor in self.actors]
                    ray.wait(calls, num_returns=len(calls), timeout=END_S)
            finally:
                for actor in self.actors:
                    ray.kill(actor)


def result(call: Any) -> Any:
    """What a call brings, or the error of the lab that was raised in it."""
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(call)
    except RayTaskError as problem:
        if isinstance(problem.cause, LabError):
            raise problem.cause from None
        raise


def keeper(task: Task, parts: Parts, into: str, known: dict[str, Any]) -> Any:
    """The actor that keeps the agreement of a job's workers: on the node of this process, which has
    the folder."""
    import ray

    actor: Any = ray.remote(Agreement)
    here = actor.options(num_cpus=0, scheduling_strategy=on_node())
    return here.remote(parts, into, known, task.answer_schema)


def settle(agreed: Any) -> None:
    """End the agreement: every part gets its type."""
    import ray
    from ray.exceptions import RayError

    with contextlib.suppress(RayError):
        try:
            ray.get(agreed.settle.remote())
        finally:
            ray.kill(agreed)


def on_node(node: str = "") -> Any:
    """Where an actor or a task is to run: on this node of Ray, by default that of this process. (By
    Ray's `soft` way both writers of two busy nodes were on one of them.)"""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here: str = node or ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(here, soft=False)


def all_see(parts: Parts) -> bool:
    """Whether each node has the folder, and not another one of its name."""
    import ray
    from ray.exceptions import RayError

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return True
    mark = parts.path.absolute() / f".here-{uuid.uuid4().hex}"
    look: Any = ray.remote(_is_there)
    mark.touch()
    try:
        places = [look.options(num_cpus=0, scheduling_strategy=on_node(node)) for node in nodes]
        calls = [place.remote(mark) for place in places]
        done, _ = ray.wait(calls, num_returns=len(calls), timeout=END_S)
        return len(done) == len(calls) and all(ray.get(done))
    except RayError:  # a node has gone meanwhile
        return False
    finally:
        mark.unlink(missing_ok=True)


def _is_there(file: Path) -> bool:
    return file.exists()
