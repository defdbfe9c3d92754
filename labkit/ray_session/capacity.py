"""Whether a Ray cluster has room for a job: Ray itself would wait for ever, without a word."""

from __future__ import annotations

import time
from collections.abc import Sequence

from labkit.errors import CannotSchedule
from labkit.ray_session.session import running, start

#: CPUs kept free for reading and writing files (Ray Data's read tasks ask for 1).
READ_CPUS = 1.0


def nodes() -> list[dict[str, float]]:
    """The resources of each live node."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def clocks(engines: int) -> int:
    """On how many hosts so many engines may run: not more than there are nodes, or engines."""
    return min(engines, len(nodes())) if engines > 1 and running() else 1


def missing(bundles: Sequence[dict[str, float]], light_cpus: float) -> str | None:
    """What the live nodes lack for these bundles plus the light stages; None when all fits.

    Places each bundle on the first node with room (largest first), then asks for the light
    stages and one CPU for reading, on one node.
    """
    free = nodes()
    for bundle in sorted(bundles, key=lambda b: -sum(b.values())):
        for node in free:
            if all(node.get(name, 0) >= amount for name, amount in bundle.items()):
                for name, amount in bundle.items():
                    node[name] = node.get(name, 0) - amount
                break
        else:
            return f"{_words(bundle)} on one node (of {len(bundles)} such)"
    left = [node.get("CPU", 0) for node in free]
    wanted = light_cpus + READ_CPUS
    if sum(left) < wanted:
        return f"{wanted:.1f} CPU for reading and the light stages ({sum(left):.1f} left)"
    if max(left) < READ_CPUS:  # Ray Data's readers want it whole
        return f"{READ_CPUS:.1f} CPU on one node for reading ({max(left):.1f} left at most)"
    return None


def require(bundles: Sequence[dict[str, float]], light_cpus: float, wait_s: float = 20) -> None:
    """Raise CannotSchedule when the cluster can't run this job; start Ray if it is not up.

    Too small a cluster raises at once. Resources held by another job are waited for up to
    `wait_s` (a job that has just ended needs a moment to let go), then raise too.
    """
    import ray

    start()
    if lacking := missing(bundles, light_cpus):
        have = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU")}
        raise CannotSchedule(
            f"The job needs {lacking}, but the Ray cluster has {_words(have) or 'nothing'} on "
            f"{len(nodes())} node(s). Ask for fewer replicas or a smaller tensor_parallel, join a "
            "larger cluster with labkit.start(address=…), or start Ray with more logical CPUs: "
            "labkit.start(num_cpus=…)."
        )
    deadline = time.monotonic() + wait_s
    while busy := _busy(bundles):
        if time.monotonic() > deadline:
            raise CannotSchedule(
                f"The cluster is large enough, but {busy} is held by another job. Wait for it, or "
                "stop it (in a notebook: restart the other kernel)."
            )
        time.sleep(0.5)


def _busy(bundles: Sequence[dict[str, float]]) -> str | None:
    import ray

    free = ray.available_resources()
    for name in ("GPU", "CPU"):
        wanted = sum(bundle.get(name, 0) for bundle in bundles)
        if wanted > free.get(name, 0):
            return f"{wanted:g} {name} is needed and only {free.get(name, 0):g} is free: the rest"
    return None


def _words(resources: dict[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items() if amount)
