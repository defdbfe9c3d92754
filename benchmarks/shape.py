"""A model folder without weights: the shape of a large model, for honest speed without a download.

`python -m benchmarks.shape FOLDER` writes the config of Llama-3.1-8B and the tokenizer of SmolLM2;
with `LABKIT_LOAD_FORMAT=dummy` an engine fills it with random weights. Its text means nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from labkit.weights.architecture import LLAMA_8B
from labkit.weights.tiny import copy_tokenizer


def make(folder: Path) -> Path:
    """Write config and tokenizer into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA_8B, indent=1))
    copy_tokenizer(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(make(parser.parse_args().folder))
