"""A model: where its weights lie, and how large they are, by the files of its folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.errors import ModelError
from labkit.hardware.machine import GIB
from labkit.weights.architecture import Shape


@dataclass(frozen=True)
class Model:
    """Weights that vLLM can load.

    `source` is a local folder or a Hugging Face id; `weights_gib` the size in memory, packed or at
    16 bits (a hub's: by its shape; None if unknown); `context` the longest prompt plus answer in
    tokens; `shape` what config.json tells of its costs; `why` the reason for this choice; `note`
    what a reader must know of this copy of the weights ('' for the original).
    """

    name: str
    source: str
    why: str
    weights_gib: float | None = None
    context: int | None = None
    shape: Shape | None = None
    note: str = ""

    def table(self) -> pd.DataFrame:
        """What a reader wants to know of it: a row a fact (columns `what`, `value`)."""
        size = f"{self.weights_gib:.2g} GiB in memory" if self.weights_gib else "unknown"
        facts = {
            "model": self.name,
            "chosen because": self.why,
            "weights": f"{size}; {self.note or 'the original ones, or a copy of your own'}",
            "longest row": f"{self.context:,} tokens" if self.context else "unknown",
        }
        return pd.DataFrame({"value": facts}).rename_axis("what")

    @property
    def is_local(self) -> bool:
        """True when the weights lie in a folder of this machine."""
        return Path(self.source).is_dir()


#: Ends of files that a training leaves beside the weights.
NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


def from_folder(name: str, folder: Path, why: str) -> Model:
    """The model of a folder. Raises ModelError where it holds none that vLLM could load."""
    if not os.path.isfile(folder / "config.json"):
        raise ModelError(
            f"{folder} is not a model: it has no config.json. Point to a folder that holds "
            "config.json, the tokenizer files and *.safetensors."
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        context = config.get("max_position_embeddings")
        weights = _weight_files(folder)
        stored = _stored_gib(weights, config)
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{folder} is not a model: its config.json is broken: {error}") from error
    except OSError as error:
        raise ModelError(
            f"{folder} can't be read: {error}. Ask its owner for the right."
        ) from error
    if not weights and os.environ.get("LABKIT_LOAD_FORMAT") != "dummy":
        raise ModelError(f"{folder} is not a model: it has no *.safetensors file.")
    return Model(
        name=name,
        source=str(folder.resolve()),
        why=why,
        weights_gib=stored or size_gib(config),
        context=context,
        shape=shape_of(config),
    )


def _weight_files(folder: Path) -> list[Path]:
    """The files that vLLM loads: safetensors, else .bin; those of the index where there is one, so
    that a second copy in other files does not count (its `filter_duplicate_safetensors_files`)."""
    for pattern, index in (
        ("*.safetensors", "model.safetensors.index.json"),
        ("*.bin", "pytorch_model.bin.index.json"),
    ):
        files = [f for f in sorted(folder.glob(pattern)) if not f.name.endswith(NO_WEIGHTS)]
        with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
            listed = set(json.loads((folder / index).read_text())["weight_map"].values())
            files = [file for file in files if file.name in listed] or files
        if files:
            return [f for f in files if not f.name.startswith("consolidated")] or files
    return []


def _stored_gib(files: list[Path], config: Mapping[str, Any]) -> float:
    """GiB that these weights take in memory: numbers of 32 bits are loaded at 16, packed ones as
    they are. By the headers of safetensors (https://huggingface.co/docs/safetensors), each tensor
    once; else by the size of the file."""
    tensors: dict[str, float] = {}
    full = "float32" in (config.get("torch_dtype"), config.get("dtype"))
    for file in files:
        try:
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                header = json.loads(opened.read(length if length < 10**8 else 0))
            for name, about in header.items():
                if name != "__metadata__":
                    begin, end = about["data_offsets"]
                    tensors[name] = (end - begin) / {"F64": 4, "F32": 2}.get(about["dtype"], 1)
        except (ValueError, KeyError, TypeError, AttributeError):
            tensors[file.name] = file.stat().st_size / (2 if full else 1)
    return sum(tensors.values()) / GIB


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """What its config.json tells of its costs; None for an architecture that is not known."""
    try:
        return Shape.of(config)
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def size_gib(config: Mapping[str, Any]) -> float | None:
    """GiB of weights by the shape, at 16 bits; None for an unknown one."""
    shape = shape_of(config)
    return (shape.weight_bytes + shape.embedding_bytes) / GIB if shape else None
