"""What fits: weights, working memory and KV cache against the memory of a card or a machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from labkit.errors import ModelError
from labkit.hardware.machine import GIB, Machine
from labkit.hardware.nvidia import GPU
from labkit.weights.model import Model

#: GiB that CUDA, its graphs and the libraries take on a card, whatever the model. On an H100 vLLM
#: 0.29 said 0.54 outside PyTorch and 0.45 of graphs for Llama-3.1-8B; the sum of `need` was 18.3
#: GiB, and 18.1 were taken (SmolLM2: 1.9 and 1.4).
CUDA_GIB = 1.0
#: Tokens of a usual row, prompt and answer: so many rows the KV cache is to hold at once.
ROW_TOKENS = 512
#: The shortest prompt plus answer that is worth starting an engine for.
SHORTEST = 512


@dataclass(frozen=True)
class Need:
    """GiB on one card: weights, working memory of a step, and what a token takes of KV cache."""

    weights: float
    working: float
    token: float

    def kv_tokens(self, share_gib: float) -> int:
        """Tokens of KV cache that `share_gib` GiB of the card leave."""
        return max(0, int((share_gib - self.weights - self.working) / self.token))


def wide(dtype: str) -> int:
    """How many times the size at 16 bits a number has in vLLM's `dtype`."""
    return 2 if dtype in ("float32", "float") else 1


def need(
    model: Model, parallel: int, batched_tokens: int, rows: int, dtype: str = "bfloat16"
) -> Need | None:
    """What `model` takes of each of `parallel` cards; None where its sizes are not known.

    Working memory: CUDA's own, the activations of `batched_tokens` tokens in the widest layer, and
    the logits of `rows` rows in float32, twice (sampling copies them).
    """
    shape = model.shape
    if shape is None or model.weights_gib is None:
        return None
    times = wide(dtype)
    activations = batched_tokens * shape.width * shape.dtype_bytes * times
    logits = 2 * rows * shape.vocabulary * 4
    working = CUDA_GIB + (activations / parallel + logits) / GIB
    token = shape.kv_bytes_per_token / GIB
    return Need(times * model.weights_gib / parallel, working, times * token / parallel)


def share_of(card: GPU) -> tuple[float, str]:
    """(gpu_memory_utilization, reason): 0.9, or less where other programs hold memory.

    vLLM refuses to start when less than this share of the card is free.
    """
    free = card.free_gib / card.memory_gib
    if math.isnan(free) or free >= 0.92:
        return 0.9, "share of the card for weights and KV cache"
    share = math.floor(100 * free - 2) / 100
    return max(0.01, min(0.9, share)), (
        f"{card.free_gib:.1f} of {card.memory_gib:.1f} GiB are free: other programs hold the rest"
    )


def length_that_fits(model: Model, needs: Need, card: GPU, share: float, longest: int) -> int:
    """The longest prompt plus answer of which the KV cache holds one row, at most `longest`.

    Raises ModelError with the arithmetic when not even a short row fits.
    """
    gib = share * card.memory_gib
    tokens = needs.kv_tokens(gib)
    if tokens >= longest:
        return longest
    least = min(SHORTEST, longest)
    if tokens >= least:
        return tokens // 16 * 16
    total = needs.weights + needs.working + least * needs.token
    raise ModelError(
        f"{model.name} does not fit {card.name}: {needs.weights:.1f} GiB of weights + "
        f"{needs.working:.1f} GiB of working memory + {least * needs.token:.2f} GiB of KV cache "
        f"for one row of {least} tokens = {total:.1f} GiB, and {share:.0%} of its "
        f"{card.memory_gib:.1f} GiB ({card.free_gib:.1f} GiB free) is {gib:.1f} GiB. Take a "
        "smaller model (labkit.models()), share its weights between cards (tensor_parallel=2), or "
        "end what else runs on the card (nvidia-smi)."
    )


def require_on_cpu(
    model: Model,
    machine: Machine,
    kv_gib: float,
    replicas: int,
    parallel: int,
    dtype: str = "bfloat16",
) -> None:
    """Raise ModelError with the arithmetic when the free memory can't hold the engines: of each
    replica, the weights once, and the KV cache of each of its `parallel` processes."""
    if model.weights_gib is None or math.isnan(machine.available_gib):
        return
    weights = model.weights_gib * wide(dtype)
    cache = parallel * kv_gib
    total = replicas * (weights + cache)
    if total > machine.available_gib:
        times = f"{replicas} × " if replicas > 1 else ""
        raise ModelError(
            f"{model.name} does not fit this machine: {times}({weights:.1f} GiB of "
            f"weights + {cache:.1f} GiB of KV cache) = {total:.1f} GiB, and "
            f"{machine.available_gib:.1f} of {machine.memory_gib:.1f} GiB are free. "
            "Take a smaller model (labkit.models()), fewer replicas, or close other programs."
        )
