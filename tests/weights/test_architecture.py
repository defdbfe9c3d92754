"""What a model costs, by its config: against published sizes."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.weights.architecture import LLAMA_8B, Shape


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
