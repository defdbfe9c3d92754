"""Bind the processes of each card's engines to that card's share of the cores, while they are up.

For `python -m benchmarks.cards --bind`: is it worth it that an engine stays on some cores? One
program on four cards had 0.8 of what four programs had, each bound to a quarter of the host.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import psutil

#: Processes of an engine, by the beginnings of their names.
NAMES = ("ray::", "VLLM::")


def share(cores: Sequence[int], cards: int, card: int) -> list[int]:
    """The cores of a card: neighbours by number, which on most hosts share caches and memory."""
    each = len(cores) // cards
    return sorted(cores)[card * each : (card + 1) * each]


def bind(cards: int, apart: bool = True) -> int:
    """Bind what sees one card to its share, and its children; how many processes. Not apart: to all
    cores, as before."""
    cores, bound = sorted(os.sched_getaffinity(0)), set[int]()
    for process in psutil.process_iter(["name"]):
        if not (process.info["name"] or "").startswith(NAMES):
            continue
        with contextlib.suppress(psutil.Error, OSError):
            card = process.environ().get("CUDA_VISIBLE_DEVICES", "")
            if card.isdigit() and int(card) < cards:
                for one in (process, *process.children(recursive=True)):
                    mine = share(cores, cards, int(card)) if apart else cores
                    set_threads(one.pid, mine)
                    bound.add(one.pid)
    return len(bound)


def set_threads(pid: int, cores: Sequence[int]) -> None:
    """Bind all threads of a process; those that it starts later inherit it."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)
