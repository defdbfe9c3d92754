"""What a model costs, from its `config.json`: bytes of weights and KV cache, operations a token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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

#: Types of models that are built alike (grouped attention, a gated MLP, nothing else that is large)
#: → what transformers takes where a config leaves it out: whether the output shares the input's
#: table, and the size of a head (None: hidden size / heads).
ALIKE: Mapping[str, tuple[bool, int | None]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "phi3", "olmo2", "granite"), (False, None)),
    **dict.fromkeys(("smollm3", "cohere", "cohere2"), (True, None)),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), (True, 256)),
    "qwen3": (False, 128),
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a model in bytes, at `dtype_bytes` a number.

    weight_bytes: the weights read in a step, whatever the number of rows. embedding_bytes: the
    embedding table of the input, which is only looked up (0 where the output shares it).
    kv_bytes_per_token: keys and values of one token in all layers: 2 × layers × KV heads × head
    size × bytes (PagedAttention, Kwon et al., 2023, arXiv 2309.06180, section 3).
    attention_operations: a token, for each token before it. width: numbers that a token's
    activations take in the widest layer. vocabulary: numbers that its logits take.
    """

    weight_bytes: float
    embedding_bytes: float
    kv_bytes_per_token: float
    attention_operations: float
    width: int
    vocabulary: int
    dtype_bytes: int = 2

    @staticmethod
    def of(config: Mapping[str, Any], dtype_bytes: int = 2) -> Shape:
        """From a model's `config.json`, of a type in ALIKE.

        Raises KeyError for what is not known: another type, a mixture of experts, quantised weights
        (packed in ways of their own), or a config that lacks one of the sizes.
        """
        kind = config["model_type"]
        shared, usual_head = ALIKE[kind]
        more = [name for name in config if "expert" in name] + ["quantization_config"]
        if unknown := [name for name in (*more, "compression_config") if config.get(name)]:
            raise KeyError(f"the sizes with {unknown[0]}")
        hidden, layers = config["hidden_size"], config["num_hidden_layers"]
        heads = config["num_attention_heads"]
        if kind != "llama" and "num_key_value_heads" not in config:
            raise KeyError("num_key_value_heads")
        kv_heads = config.get("num_key_value_heads") or heads
        head = config.get("head_dim") or usual_head or hidden // heads
        attention = hidden * head * (2 * heads + 2 * kv_heads)
        mlp = 3 * hidden * config["intermediate_size"]
        table = hidden * config["vocab_size"]
        tied = config.get("tie_word_embeddings", shared)
        return Shape(
            weight_bytes=(layers * (attention + mlp) + table) * dtype_bytes,
            embedding_bytes=0 if tied else table * dtype_bytes,
            kv_bytes_per_token=2 * layers * kv_heads * head * dtype_bytes,
            attention_operations=4 * layers * heads * head,
            width=4 * hidden + 3 * config["intermediate_size"],
            vocabulary=config["vocab_size"],
            dtype_bytes=dtype_bytes,
        )

    @staticmethod
    def read(folder: str | Path) -> Shape:
        """From the `config.json` in a model's folder."""
        return Shape.of(json.loads((Path(folder) / "config.json").read_text()))
