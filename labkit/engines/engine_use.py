"""What a warm engine's processes tell beside its rows: preemptions, CPU time, its card's time.

vLLM's interface for this is public in the call (`stat_loggers`), but its records are "not
considered stable" (`vllm.v1.metrics.loggers.StatLoggerBase`): they are read here alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import psutil

from labkit.metrics import EngineUse


class StepCounter:
    """Counts what vLLM notes of its steps; it stands in for vLLM's own loggers, which export
    some twenty histograms for each row that nobody reads here."""

    def __init__(self) -> None:
        self.preemptions = 0

    def __call__(self, vllm_config: Any, engine_index: int = 0) -> StepCounter:
        """vLLM makes its loggers: this one is made."""
        return self

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Called by vLLM after each step."""
        if iteration_stats is not None:
            self.preemptions += iteration_stats.num_preempted_reqs

    def log_engine_initialized(self) -> None:
        """Nothing to say."""

    def log(self) -> None:
        """Nothing to say."""

    def record_sleep_state(self, is_awake: int = 0, level: int = 0) -> None:
        """Such an engine does not sleep."""


def cpu_s(process: psutil.Process | None = None) -> float:
    """Seconds of CPU time that a process has taken, this one by default."""
    times = (process or psutil.Process()).cpu_times()
    return float(times.user + times.system)


def children_cpu_s() -> float:
    """Those of the processes below this one that are there now."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            total += cpu_s(child)
        except psutil.Error:  # it has just ended
            continue
    return total


def since(before: Sequence[EngineUse], after: Sequence[EngineUse]) -> EngineUse:
    """What replicas did between two looks at each: the preemptions of all, the CPU time of the
    busiest process of each kind, and the time of the busiest card."""
    cards = [other.card_s - one.card_s for one, other in zip(before, after, strict=True)]
    told = [seconds for seconds in cards if not math.isnan(seconds)]
    did = EngineUse(preemptions=0, card_s=max(told, default=math.nan))
    for one, other in zip(before, after, strict=True):
        did.preemptions += other.preemptions - one.preemptions
        for kind, seconds in other.cpu_s.items():
            spent = seconds - one.cpu_s.get(kind, 0.0)
            did.cpu_s[kind] = max(did.cpu_s.get(kind, 0.0), spent)
    return did
