"""What the start of an engine is made of: the milestones in vLLM's own log, with their times."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

#: What a line of vLLM's log says → the phase that ends with it.
ENDS = {
    "Resolved architecture": "imports of vLLM and of Ray's workers",
    "Initializing a V1 LLM engine": "configuration, the engine's own process",
    "Starting to load model": "distributed set-up",
    "Model loading took": "weights",
    "torch.compile took": "compilation",
    "Available KV cache memory": "memory profile",
    "Graph capturing finished": "graph capture",
    "init engine (": "the rest of the engine",
}
LINE = re.compile(r"(?:INFO|WARNING) (\d\d-\d\d \d\d:\d\d:\d\d) \[[^\]]*\] (.*)")


def phases(lines: Iterable[str], started: float, first_row: float) -> dict[str, float]:
    """Seconds of each phase, from the call (`started`) to the first row scheduled (Unix seconds).

    vLLM's log has whole seconds: so has each phase. A phase that left no line is left out, its
    time is then the next one's.
    """
    found: dict[str, float] = {}
    last = started
    year = time.localtime(started).tm_year
    for line in lines:
        if not (match := LINE.search(line)):
            continue
        at = time.mktime(time.strptime(f"{year}-{match[1]}", "%Y-%m-%d %H:%M:%S"))
        if at < started - 1:
            continue
        for words, phase in ENDS.items():
            # The memory profile captures graphs, too, to see what they take.
            early = phase == "graph capture" and "memory profile" not in found
            if words in match[2] and phase not in found and not early:
                found[phase] = round(max(0.0, at - last), 1)
                last = max(at, last)
    found["until the first row"] = round(first_row - last, 1)
    return found


def facts(lines: Iterable[str]) -> list[str]:
    """What vLLM says of memory and time, without the stamps."""
    said = (match[2] for line in lines if (match := LINE.search(line)))
    words = ("took", "KV cache", "Graph capturing", "Maximum concurrency", "gpu_memory_utilization")
    left_out = ("Engine 0", "non-default args")  # counters, and a path of this machine
    kept = (s for s in said if any(w in s for w in words) and not s.startswith(left_out))
    return list(dict.fromkeys(kept))


def engine_log(folder: str | Path) -> list[str]:
    """The lines of vLLM in the logs of Ray's workers, in the order of their times."""
    lines = []
    for file in Path(folder).glob("worker-*.*"):
        text = file.read_text(errors="replace")
        lines += [line for line in text.splitlines() if LINE.search(line)]
    return sorted(lines, key=lambda line: LINE.search(line)[1])  # type: ignore[index]
