"""What a model costs, by its config: against published sizes."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.weights.architecture import ALIKE, LLAMA_8B, Shape


def test_the_shape_of_llama_8b_has_its_published_sizes() -> None:
    shape = Shape.of(LLAMA_8B)
    # 8.03 billion parameters, of which the input embedding (128,256 × 4,096) is only looked up.
    assert shape.weight_bytes / 2 == pytest.approx(8.03e9 - 128256 * 4096, rel=0.002)
    assert shape.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2  # 128 KiB


def test_the_shape_of_the_packaged_model(smollm2: Any) -> None:
    shape = Shape.read(smollm2.source)
    assert shape.weight_bytes / 2 == pytest.approx(134.5e6, rel=0.01)  # tied: read as the output
    assert shape.kv_bytes_per_token == smollm2.shape.kv_bytes_per_token == 30 * 2 * 3 * 64 * 2
    assert shape.embedding_bytes == 0


def test_an_input_table_of_its_own_is_not_read_in_a_step() -> None:
    own, shared = Shape.of(LLAMA_8B), Shape.of(LLAMA_8B | {"tie_word_embeddings": True})
    assert own.weight_bytes == shared.weight_bytes
    assert (own.embedding_bytes, shared.embedding_bytes) == (128256 * 4096 * 2, 0)


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_config_without_a_size_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        Shape.of({k: v for k, v in LLAMA_8B.items() if k != name})


def test_heads_may_be_left_out() -> None:
    config = {k: v for k, v in LLAMA_8B.items() if k not in ("head_dim", "num_key_value_heads")}
    assert Shape.of(config).kv_bytes_per_token == 2 * 32 * 32 * 128 * 2
    assert Shape.of(LLAMA_8B | {"head_dim": 64}).kv_bytes_per_token == 2 * 32 * 8 * 64 * 2


SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 1000,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def parameters(config: dict[str, Any]) -> int:
    """As many as transformers makes of it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    return sum(part.numel() for part in model.parameters())


@pytest.mark.parametrize("kind", ALIKE)
def test_the_size_of_each_known_type_is_what_transformers_makes(kind: str) -> None:
    for left_out in ("", "head_dim"):
        config = {name: n for name, n in (SMALL | {"model_type": kind}).items() if name != left_out}
        shape = Shape.of(config)
        numbers = (shape.weight_bytes + shape.embedding_bytes) / 2
        assert numbers == pytest.approx(parameters(config), rel=0.01)
        head = 16 if not left_out else ALIKE[kind][1] or 64 // 4
        assert shape.kv_bytes_per_token == 2 * 2 * 2 * head * 2


@pytest.mark.parametrize(
    "kind",
    ["mixtral", "deepseek_v2", "deepseek_v3", "qwen2_moe", "qwen3_moe", "gpt_oss", "llama4_text",
     "gpt2", "gpt_neox", "opt", "bloom", "falcon", "phi", "starcoder2", "nemotron", "mamba",
     "jamba", "gemma3n_text", "minicpm3", "lfm2", "unheard of", None],
)  # fmt: skip
def test_other_types_are_refused(kind: Any) -> None:
    """Experts, attention of their own, an MLP without a gate, other layers."""
    with pytest.raises(KeyError):
        Shape.of(LLAMA_8B | {"model_type": kind})


@pytest.mark.parametrize(
    "more",
    [{"num_local_experts": 8}, {"n_routed_experts": 64}, {"num_experts": 4},
     {"quantization_config": {"quant_method": "awq", "bits": 4}},
     {"quantization_config": {"quant_method": "fp8"}},
     {"compression_config": {"format": "pack-quantized"}}],
)  # fmt: skip
def test_a_known_type_with_more_than_it_usually_has_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        Shape.of(LLAMA_8B | more)
    assert Shape.of(LLAMA_8B | dict.fromkeys(more)) == Shape.of(LLAMA_8B)


@pytest.mark.parametrize(("kind", "shares"), [(kind, ALIKE[kind][0]) for kind in ALIKE])
def test_whether_the_output_shares_the_table_follows_the_type(kind: str, shares: bool) -> None:
    config = {k: v for k, v in LLAMA_8B.items() if k != "tie_word_embeddings"}
    shape = Shape.of(config | {"model_type": kind})
    assert (shape.embedding_bytes == 0) is shares
    assert Shape.of(LLAMA_8B | {"model_type": kind}).embedding_bytes > 0  # where it says so
