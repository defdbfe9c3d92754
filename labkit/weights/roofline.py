"""How fast decoding could be: the roofline of a model on a device, from measured limits.

In one step an engine reads every weight once and the KV cache of every running row, and multiplies
each weight once for every row. A step can't be shorter than the reading takes, nor than the
multiplying takes (Williams, Waterman and Patterson, "Roofline", CACM 2009). `python -m
labkit.weights.roofline` measures both limits of this device and prints them as JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from labkit.weights.architecture import Shape


@dataclass(frozen=True)
class Limits:
    """What a device can do, measured: bytes/s read from its memory, operations/s of a bf16 matrix
    product (a multiplication and an addition are two operations)."""

    device: str
    bytes_per_s: float
    operations_per_s: float


def step_seconds(shape: Shape, limits: Limits, rows: float, context: float) -> tuple[float, float]:
    """(seconds to read, seconds to multiply) of a decoding step.

    rows: decoded at once. context: tokens of a row in the KV cache, on average.
    """
    read = shape.weight_bytes + rows * context * shape.kv_bytes_per_token
    weights = shape.weight_bytes / shape.dtype_bytes
    work = rows * (2 * weights + context * shape.attention_operations)
    return read / limits.bytes_per_s, work / limits.operations_per_s


def bound(shape: Shape, limits: Limits, rows: float, context: float) -> float:
    """The most output tokens/s that the device allows with so many rows in flight."""
    return rows / max(step_seconds(shape, limits, rows, context))


def measure(repeats: int = 7) -> Limits:
    """Both limits of this computer's GPU (or CPU), by PyTorch: medians of `repeats`.

    Reading: the sum of a large vector. Multiplying: a square bf16 matrix product on random numbers
    (zeros would need less power, and run faster than any model does); fp16 on a card before 8.0,
    which has no bf16.
    """
    import torch

    gpu = torch.cuda.is_available()
    place = torch.device("cuda" if gpu else "cpu")
    old = gpu and torch.cuda.get_device_capability() < (8, 0)
    dtype = torch.float16 if old else torch.bfloat16
    numbers = torch.rand(2**31 if gpu else 2**26, dtype=dtype, device=place)
    side = 8192 if gpu else 1024
    left = torch.randn(side, side, dtype=dtype, device=place)
    right = torch.randn(side, side, dtype=dtype, device=place)

    def seconds(work: Any) -> float:
        found = []
        for _ in range(repeats + 2):
            began = time.perf_counter()
            work()
            if gpu:
                torch.cuda.synchronize()
            found.append(time.perf_counter() - began)
        return statistics.median(found[2:])

    reading = seconds(lambda: torch.sum(numbers.view(torch.int32) if not gpu else numbers))
    multiplying = seconds(lambda: left @ right)
    name = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} CPU cores"
    size = numbers.numel() * numbers.element_size()
    return Limits(name, size / reading, 2 * side**3 / multiplying)


if __name__ == "__main__":
    print(json.dumps(asdict(measure()), indent=1))
