"""How fast decoding could be: the roofline of a model on a device, from measured limits.

In one step an engine reads every weight once and the KV cache of every running row, and multiplies
each weight once for every row. A step can't be shorter than the reading takes, nor than the
multiplying takes (Williams, Waterman and Patterson, "Roofline", CACM 2009). `python
labkit/roofline.py` measures both limits of this device and prints them as JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Sizes from https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct/blob/main/config.json.
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}


@dataclass(frozen=True)
class Limits:
    """What a device can do, measured: bytes/s read from its memory, operations/s of a bf16 matrix
    product (a multiplication and an addition are two operations)."""

    device: str
    bytes_per_s: float
    operations_per_s: float


@dataclass(frozen=True)
class Shape:
    """What one decoding step of a model costs. Sizes in bytes, at `dtype_bytes` a number.

    weight_bytes: the weights read in a step, whatever the number of rows (the embedding table of
    the input is only looked up). kv_bytes_per_token: keys and values of one token in all layers.
    """

    weight_bytes: float
    kv_bytes_per_token: float
    attention_operations: float
    dtype_bytes: int = 2

    @staticmethod
    def of(config: Mapping[str, Any], dtype_bytes: int = 2) -> Shape:
        """From a model's `config.json` (Llama, Qwen2, Mistral and others built alike)."""
        hidden, layers = config["hidden_size"], config["num_hidden_layers"]
        heads = config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        head = config.get("head_dim") or hidden // heads
        attention = hidden * head * (2 * heads + 2 * kv_heads)
        mlp = 3 * hidden * config["intermediate_size"]
        weights = layers * (attention + mlp) + hidden * config["vocab_size"]
        kv = 2 * layers * kv_heads * head
        return Shape(
            weights * dtype_bytes, kv * dtype_bytes, 4 * layers * heads * head, dtype_bytes
        )

    @staticmethod
    def read(folder: str | Path) -> Shape:
        """From the `config.json` in a model's folder."""
        return Shape.of(json.loads((Path(folder) / "config.json").read_text()))


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
    (zeros would need less power, and run faster than any model does).
    """
    import torch

    gpu = torch.cuda.is_available()
    place = torch.device("cuda" if gpu else "cpu")
    numbers = torch.rand(2**31 if gpu else 2**26, dtype=torch.bfloat16, device=place)
    side = 8192 if gpu else 1024
    left = torch.randn(side, side, dtype=torch.bfloat16, device=place)
    right = torch.randn(side, side, dtype=torch.bfloat16, device=place)

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
