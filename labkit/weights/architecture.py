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
        """From a model's `config.json` (Llama, Qwen2, Mistral and others built alike).

        Raises KeyError for a config that lacks one of the sizes.
        """
        hidden, layers = config["hidden_size"], config["num_hidden_layers"]
        heads = config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        head = config.get("head_dim") or hidden // heads
        attention = hidden * head * (2 * heads + 2 * kv_heads)
        mlp = 3 * hidden * config["intermediate_size"]
        table = hidden * config["vocab_size"]
        tied = config.get("tie_word_embeddings", False)
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
