"""Bind the processes of each card's engines to that card's share of the cores, while they are up.

For `python -m benchmarks.cards --bind`: is it worth it that an engine stays on some cores? One
program on four cards had 0.8 of what four programs had, each bound to a quarter of the host. On
two cards of one NUMA node it is not shown to be (docs/gpu.md).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import psutil

from labkit.engines import warm_engine


def share(cores: Sequence[int], cards: int, card: int) -> list[int]:
    """The cores of a card: neighbours by number, which on most hosts share caches and memory."""
    each = len(cores) // cards
    return sorted(cores)[card * each : (card + 1) * each]


def bind(cards: int, apart: bool = True) -> int:
    """Bind the processes of the warm engine's replicas to the share of their card; how many. Not
    apart: to all cores, as before. Raises RuntimeError where no engine is up."""
    import ray

    warm = warm_engine._current
    if warm is None:
        raise RuntimeError("No warm engine is up.")
    cores, bound = sorted(os.sched_getaffinity(0)), 0
    for replica in warm.replicas:
        calls = [actor.__ray_call__.remote(_place) for actor in replica.actors()]
        places: list[tuple[int, list[int]]] = ray.get(calls)
        card = next((cards_[0] for _, cards_ in places if cards_), 0)
        mine = share(cores, cards, card) if apart else cores
        for process in (psutil.Process(pid) for pid, _ in places):
            for one in (process, *process.children(recursive=True)):
                set_threads(one.pid, mine)
                bound += 1
    return bound


def _place(_: Any) -> tuple[int, list[int]]:
    """In an actor: (its process, its cards)."""
    import ray

    return os.getpid(), [int(card) for card in ray.get_gpu_ids()]


def set_threads(pid: int, cores: Sequence[int]) -> None:
    """Bind all threads of a process; those that it starts later inherit it."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)
