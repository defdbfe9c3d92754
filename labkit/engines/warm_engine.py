"""A warm engine: vLLM's engine in an actor that stays from one job to the next.

A Ray Data LLM processor starts a fresh engine for every run. Here an engine is started once
(`engine_actor`); a job sends it its batches from the driver, as many at a time as the processor
would, with no worker to start first. Ray's own way, a Ray Serve LLM deployment
(https://docs.ray.io/en/latest/data/working-with-llms.html), answers like a web server: without the
rows' times, and with a worker that imports `ray.serve.llm` for every job.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from labkit.engines import engine_use
from labkit.engines.replica import Replica, resources, used
from labkit.errors import Cancelled, JobFailed
from labkit.hardware.machine import Machine, settled
from labkit.hardware.nvidia import GPU
from labkit.metrics import EngineUse
from labkit.ray_session import capacity, diagnosis, internals, session
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.settings.redaction import shown
from labkit.settings.setting import NEED_NO_RELOAD

if TYPE_CHECKING:
    from labkit.settings.processor_spec import ProcessorSpec


@dataclass
class Warm:
    """The engine that is up: its spec, its session of Ray, its replicas, the number of the job that
    it was last told of, and what each replica had done by then."""

    spec: ProcessorSpec
    session: str
    replicas: list[Replica] = field(default_factory=list)
    job: int = 0
    before: list[EngineUse] = field(default_factory=list)

    def actors(self) -> list[Any]:
        """The actors of all replicas."""
        return [actor for replica in self.replicas for actor in replica.actors()]

    def start(self, cancel: threading.Event | None) -> None:
        """Make the replicas and wait until they are loaded and ready for a job.

        Raises CannotSchedule, Cancelled, or JobFailed with the engine's own reason; what was made
        by then is to be ended with `end`.
        """
        one = resources(self.spec)
        bundle = {"CPU": one["num_cpus"], "GPU": one["num_gpus"], **one.get("resources", {})}
        capacity.require([bundle] * self.spec.replicas, STAGE_CPUS * self.spec.replicas)
        for number in range(self.spec.replicas):
            if cancel is not None and cancel.is_set():
                raise Cancelled("Cancelled before the engine was started.")
            self.replicas.append(Replica(self.spec, number, self.session))
        _wait([replica.loading for replica in self.replicas], cancel)
        self.begin(self.spec, cancel)

    def begin(self, spec: ProcessorSpec, cancel: threading.Event | None = None) -> None:
        """Tell every engine of the next job, and wait for it. Raises Cancelled and JobFailed."""
        self.job += 1
        calls = [replica.begin(self.job, spec.limit) for replica in self.replicas]
        self.before = _uses(calls, cancel)

    def use(self) -> EngineUse:
        """What the engines did since the job began. Raises JobFailed when one has died."""
        return engine_use.since(self.before, _uses([r.use() for r in self.replicas], None))

    def end(self, timeout_s: float = 20) -> None:
        """End it: by its own way out within `timeout_s`, then for sure."""
        import ray
        from ray.exceptions import RayError

        with internals.killing(self.actors()):
            try:
                with contextlib.suppress(RayError):
                    closing = [replica.engine.close.remote() for replica in self.replicas]
                    ray.get(closing, timeout=timeout_s)
            finally:
                for actor in self.actors():
                    ray.kill(actor)


_current: Warm | None = None
_lock = threading.RLock()


def current() -> ProcessorSpec | None:
    """The spec of the engine that is up; None when there is none."""
    return _current.spec if _current is not None and _current.session == _session() else None


def free_of_ours(machine: Machine) -> Machine:
    """`machine` with its free memory as it is without the warm engine of this process: a job of
    another spec ends that engine first.

    The engine holds what has become less since it was configured, and at most its share of a card;
    other programs hold the rest.
    """
    if (ours := current()) is None:
        return settled(machine)
    bundle = ours["placement_group_config"]["bundles"][0]
    share = ours.layer("vllm").get("gpu_memory_utilization", 1) / bundle.get("GPU", 1)
    before = {(gpu.index, gpu.uuid): gpu.free_gib for gpu in ours.machine.gpus}

    def free(gpu: GPU) -> float:
        then = before.get((gpu.index, gpu.uuid), gpu.free_gib)
        return max(gpu.free_gib, min(then, gpu.free_gib + share * gpu.memory_gib))

    available = machine.available_gib
    if ours.machine.device == "cpu":
        engines = ours.replicas * ours.tensor_parallel
        cache = engines * float(ours["VLLM_CPU_KVCACHE_SPACE"])
        held = cache + ours.replicas * (ours.model.weights_gib or 0)
        available = max(available, min(ours.machine.available_gib, available + held))
    gpus = tuple(replace(gpu, free_gib=free(gpu)) for gpu in machine.gpus)
    return replace(machine, gpus=gpus, available_gib=available)


def identity(spec: ProcessorSpec) -> dict[str, Any]:
    """What makes two specs need different engines: every argument but NEED_NO_RELOAD, and the
    model."""
    passed_over = (*NEED_NO_RELOAD, "engines_per_gpu")  # the replicas say it
    fixed = {s.name: s.value for s in spec.settings if s.name not in passed_over}
    return {"model": spec.model.source, "replicas": spec.replicas, **fixed}


def why_reload(before: ProcessorSpec, after: ProcessorSpec) -> list[str]:
    """Why `after` can't run on the engine of `before`, such as 'max_num_seqs 64 → 16'. What follows
    from the memory that was free at the moment, in both, is no reason."""
    old, new = identity(before), identity(after)
    chance = {s.name for s in before.settings if s.measured} & {
        s.name for s in after.settings if s.measured
    }
    return [
        f"{name} {shown(name, old.get(name, 'unset'))} → {shown(name, new.get(name, 'unset'))}"
        for name in {**old, **new}
        if old.get(name) != new.get(name) and name not in chance
    ]


def started(
    spec: ProcessorSpec,
    say: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> Warm:
    """The engines for this spec, ready for a job; started or replaced as needed."""
    global _current
    say = say or (lambda text: None)
    with _lock:
        if _current is not None and _current.session != _session():
            _current = None  # Ray was stopped: its actors are gone
        if _current is not None and (why := why_reload(_current.spec, spec)):
            say(f"another engine is needed ({', '.join(why)}): stopping the warm one")
            stop()
        if _current is not None and not _begin(_current, spec):
            say("the warm engine has died: starting a new one")
            stop()
        if _current is None:
            say(f"{spec.starting}; it stays up for the next jobs")
            warm = Warm(spec, _session() or "")
            try:
                warm.start(cancel)
            except BaseException:
                warm.end(timeout_s=0)
                raise
            _current = warm
        say("the engine is warm: handing it the rows")
        return _current


def use() -> EngineUse | None:
    """What the engines that are up did since their job began; None where none is. Raises JobFailed
    when one has died."""
    return _current.use() if _current is not None else None


def _begin(warm: Warm, spec: ProcessorSpec) -> bool:
    """Tell the engines of the next job; False when one of them is dead, or silent for a minute."""
    late = threading.Event()
    timer = threading.Timer(60, late.set)
    timer.start()
    try:
        warm.begin(spec, late)
    except (JobFailed, Cancelled):
        return False
    finally:
        timer.cancel()
    return True


def _uses(calls: list[list[Any]], cancel: threading.Event | None) -> list[EngineUse]:
    """What each replica has done, by its calls of `Replica.begin` or `Replica.use`."""
    import ray

    _wait([call for some in calls for call in some], cancel)
    return [used(ray.get(some)) for some in calls]


def _wait(waiting: list[Any], cancel: threading.Event | None) -> None:
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
            raise JobFailed(diagnosis.diagnose(error)) from error


def abort() -> None:
    """Give up the rows that the warm engine works on, if there is one; it stays up."""
    warm = _current
    if warm is None or warm.session != _session():
        return
    import ray
    from ray.exceptions import RayError

    with contextlib.suppress(RayError):
        ray.get([replica.engine.abort.remote() for replica in warm.replicas], timeout=10)


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
            warm.end()


def _session() -> str | None:
    """The Ray job of this process: another one after Ray was stopped and started again."""
    if (ray := session.running()) is None:
        return None
    context = ray.get_runtime_context()
    return f"{context.get_job_id()} at {context.gcs_address}"


session.before_stop.append(stop)
atexit.register(stop)
