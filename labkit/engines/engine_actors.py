"""The actors of a warm engine: how they are made, how they end."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.engines import warm_plan
from labkit.engines.engine_actor import Engine
from labkit.errors import Cancelled, JobFailed
from labkit.ray_session import execution
from labkit.ray_session import session as cluster

if TYPE_CHECKING:
    from labkit.settings.processor_spec import ProcessorSpec

#: Calls that an engine's actor takes at once: more than there can be batches (Ray's default, 1000,
#: would leave an abort waiting behind them).
CALLS = 100_000


@dataclass
class Actors:
    """A list of actors a replica, in the order of the stages; and their placement groups."""

    replicas: list[list[Any]] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)

    def all(self) -> list[Any]:
        """The actors of every replica."""
        return [actor for replica in self.replicas for actor in replica]

    def start(self, spec: ProcessorSpec, session: str, cancel: threading.Event | None) -> None:
        """Make the actors for this spec in this session of Ray, and wait until they are loaded.

        Raises Cancelled, or JobFailed with the engine's own reason; what was made by then is to be
        ended with `end`.
        """
        import ray

        spec.require_room()
        self.replicas = [[] for _ in range(spec.replicas)]
        # The engines' processes import while this one still finds out what they are to hold.
        early = warm_plan.ahead(spec)
        for at, actors in enumerate(self.replicas):
            actors += [_engine(at, session, early)] if early else []
        loading = []
        planned = warm_plan.replica(spec)
        for at, actors in enumerate(self.replicas):
            for place, (parts, options, groups) in enumerate(planned):
                is_engine = any("engine_kwargs" in arguments for _, arguments in parts)
                if not (is_engine and early):
                    own = dict(options)
                    if groups:
                        own |= groups()
                        self.groups.append(own["scheduling_strategy"].placement_group)
                    made = _engine(at, session, own) if is_engine else _actor(own)
                    actors.insert(place, made)
                loading.append(actors[place].load.remote(ray.cloudpickle.dumps(parts)))
        wait(loading, cancel)

    def begin(self, job: int, limit: int) -> list[Any]:
        """Tell every actor of the next job and the rows that its engine may hold: calls to wait
        for."""
        return [actor.begin.remote(job, limit) for actor in self.all()]

    def end(self, timeout_s: float = 20) -> None:
        """End them: by their own way out within `timeout_s`, then for sure."""
        import ray
        from ray.exceptions import RayError

        with execution.killing(self.all()):
            try:
                with contextlib.suppress(RayError):
                    ray.get([actor.close.remote() for actor in self.all()], timeout=timeout_s)
            finally:
                for actor in self.all():
                    ray.kill(actor)
                for group in self.groups:
                    ray.util.remove_placement_group(group)


def wait(waiting: list[Any], cancel: threading.Event | None) -> None:
    """Wait for these calls. Raises Cancelled, or JobFailed with the engine's own reason."""
    import ray
    from ray.exceptions import RayError

    while waiting:
        if cancel is not None and cancel.is_set():
            raise Cancelled("Cancelled while the engine was starting.")
        done, waiting = ray.wait(waiting, timeout=0.3)
        try:
            ray.get(done)
        except RayError as error:
            raise JobFailed(cluster.diagnose(error)) from error


def _engine(at: int, session: str, options: dict[str, Any]) -> Any:
    return _actor({**options, "name": f"labkit engine {at}", "namespace": session})


def _actor(options: dict[str, Any]) -> Any:
    import ray

    made: Any = ray.remote(Engine)
    return made.options(**options, max_concurrency=CALLS).remote()
