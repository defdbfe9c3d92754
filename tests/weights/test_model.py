"""weights.model: what a folder holds, and what its weights take in memory."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ModelError
from labkit.hardware.machine import GIB
from labkit.weights.catalogue import get
from tests.weights.test_catalogue import LLAMA, folder_of


@pytest.mark.parametrize(
    "config",
    [{}, {"text_config": LLAMA}, {"hidden_size": "wide"}, LLAMA | {"model_type": "mixtral"},
     LLAMA | {"hidden_size": "wide"}, LLAMA | {"num_attention_heads": 0, "head_dim": None}],
)  # fmt: skip
def test_the_costs_of_another_architecture_stay_unknown(
    config: dict[str, Any], tmp_path: Path
) -> None:
    found = get(str(folder_of(tmp_path / "m", config)))
    assert found.shape is None and found.weights_gib == pytest.approx(found.weights_gib or 0)


def hole(file: Path, gib: float) -> None:
    with file.open("wb") as opened:
        opened.truncate(int(gib * GIB))


@pytest.mark.parametrize(
    ("files", "index", "dtype", "gib"),
    [
        ({"model.safetensors": 3}, None, "bfloat16", 3),
        ({"model-1.safetensors": 2, "model-2.safetensors": 1}, None, None, 3),
        ({"model-1.safetensors": 3, "consolidated.safetensors": 3}, None, None, 3),
        ({"model-1.safetensors": 3, "consolidated-1.safetensors": 3, "consolidated-2.safetensors":
          3}, {"a": "model-1.safetensors"}, None, 3),
        ({"model.safetensors": 3, "pytorch_model.bin": 3, "x.pth": 3}, None, None, 3),
        ({"model.safetensors": 3, "old.safetensors": 9}, {"a": "model.safetensors"}, None, 3),
        ({"model.safetensors": 3}, {"a": "not-there.safetensors"}, None, 3),
        ({"consolidated.safetensors": 3}, None, None, 3),
        ({"pytorch_model-1.bin": 1, "pytorch_model-2.bin": 2, "training_args.bin": 1,
          "optimizer.bin": 6}, None, None, 3),
        ({"model.safetensors": 3}, None, "float32", 1.5),
        ({"pytorch_model.bin": 3}, None, "float32", 1.5),
    ],
)  # fmt: skip
def test_weights_count_once_and_as_they_are_loaded(
    files: dict[str, float], index: Any, dtype: str | None, gib: float, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"torch_dtype": dtype}))
    for name, size in files.items():
        hole(tmp_path / name, size)
    if index:
        whole = json.dumps({"weight_map": index})
        (tmp_path / "model.safetensors.index.json").write_text(whole)
    assert get(str(tmp_path)).weights_gib == gib


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.sampled_from(["float64", "float32", "float16", "int32", "int8", "uint8"]),
                  st.integers(1, 50), st.integers(1, 3)),
        min_size=1,
    )
)  # fmt: skip
def test_tensors_count_once_at_16_bits_and_packed_ones_as_they_are(tensors: Any) -> None:
    """Each tensor in one or more files, of any type."""
    import numpy as np
    from safetensors.numpy import save_file

    expected = 0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(LLAMA))
        for number in range(3):
            parts = {n: np.zeros(size, kind) for n, (kind, size, copies) in tensors.items()
                     if number < copies}  # fmt: skip
            if parts:
                save_file(parts, Path(folder, f"{number}.safetensors"), metadata={"format": "pt"})
        for kind, size, _ in tensors.values():
            expected += size * (2 if "float" in kind else np.dtype(kind).itemsize)
        assert get(folder).weights_gib == pytest.approx(expected / GIB)


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    found = get(str(folder_of(tmp_path / "mine", weights=3 * 2**29)))
    assert (found.name, found.source) == ("mine", str(tmp_path / "mine"))
    assert (found.weights_gib, found.context, found.why) == (1.5, 131072, "named by you")
    assert found.is_local


def test_a_folder_may_be_relative_or_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    assert get("models/mine").source == str(tmp_path / "models" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get("~/models/mine").source == str(tmp_path / "models" / "mine")


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no config.json"):
        get(str(tmp_path))


def test_a_folder_with_a_broken_config(tmp_path: Path) -> None:
    for text in ('{"cut off', "[]", "null", "7"):
        (folder_of(tmp_path / "m") / "config.json").write_text(text)
        with pytest.raises(ModelError, match="config.json is broken"):
            get(str(tmp_path / "m"))


def test_a_folder_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no .*safetensors"):
        get(str(folder))
    monkeypatch.setenv("LABKIT_LOAD_FORMAT", "dummy")  # a shape to measure, with no weights
    assert get(str(folder)).weights_gib == pytest.approx(8.03e9 * 2 / 2**30, rel=0.001)
