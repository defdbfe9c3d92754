"""Models from their own repository on the Hugging Face hub, at a pinned revision, by their hashes.

The hub's client runs in a process of its own: it alone tries again for half a minute where there is
no network, and a look-up of a name can't be stopped at all. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE,
HF_HOME and proxies count as they do for that client.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ModelError
from labkit.weights.model_folder import made_once

#: Seconds without anything new, by what the client does. It writes to disk in steps of 10 MB
#: (huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE): who gets one in 30 s is better off with the
#: package, which has a third of the size.
PATIENCE_S = {"starting": 30.0, "asking": 5.0, "fetching": 30.0}
#: In a folder that came from the hub: where its weights are from, for a reader.
ORIGIN = "labkit-origin.json"


class HubError(ModelError):
    """The hub's copy can't be had; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Repository:
    """What is taken from a repository of the hub.

    `revision` is a commit; `files` maps names to the sha256 of their content, the weights last;
    `stored` says in which type the weights are.
    """

    id: str
    revision: str
    files: Mapping[str, str]
    size: str
    needs_gib: float
    stored: str = "bf16"

    @property
    def origin(self) -> str:
        """Where the weights come from, for a reader."""
        return (
            f"the original in {self.stored} from the Hugging Face hub, {self.id} at "
            f"{self.revision[:12]} (SHA-256 {list(self.files.values())[-1][:12]}…)"
        )


REPOSITORIES: Mapping[str, Repository] = {
    "smollm2-135m": Repository(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        files=dict(
            zip(
                ("config.json", "generation_config.json", "special_tokens_map.json")
                + ("tokenizer.json", "tokenizer_config.json", "model.safetensors"),
                (
                    "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a",
                    "87b916edaaab66b3899b9d0dd0752727dff6666686da0504d89ae0a6e055a013",
                    "2b7379f3ae813529281a5c602bc5a11c1d4e0a99107aaa597fe936c1e813ca52",
                    "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
                    "4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df",
                    "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
                ),
                strict=True,
            )
        ),
        size="271 MB",
        needs_gib=0.6,
    ),
}


def ensure(repository: Repository, folder: Path) -> Path:
    """The folder with the repository's files; fetched on first use, then reused.

    Raises HubError where the hub's copy can't be had, and ModelError where the folder can't be
    made, from wherever.
    """

    def make(scratch: Path) -> Path:
        built = scratch / "built"
        built.mkdir()
        _download(repository, built, scratch / "log")
        for name, sha256 in repository.files.items():
            with (built / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                raise HubError(f"its {name} is not the expected file (sha256 {digest[:12]}…)")
        shutil.rmtree(built / ".cache", ignore_errors=True)  # the client's own notes
        (built / ORIGIN).write_text(json.dumps({"origin": repository.origin}) + "\n")
        return built

    return made_once(folder, repository.needs_gib, make)


def origin(folder: Path) -> str | None:
    """What a folder notes of where it is from; None for one that is not from the hub."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / ORIGIN).read_text())["origin"])
    return None


def _download(repository: Repository, to: Path, log: Path) -> None:
    """Let the client fetch all files, and end it where nothing new comes for too long."""
    # Plain HTTP goes through proxies, and needs no host but the hub's and its CDN's.
    off = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY")
    quiet = dict.fromkeys(off, "1")
    command = [sys.executable, "-m", __name__, repository.id, repository.revision, str(to)]
    with log.open("wb") as told:
        client = subprocess.Popen(
            [*command, *repository.files],
            env={**quiet, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.DEVNULL,
        )
    try:
        most, deadline = -1, 0.0
        while client.poll() is None:
            does = [line for line in log.read_text().splitlines() if line in PATIENCE_S]
            patience = PATIENCE_S[does[-1] if does else "starting"]
            # The most so far: a file that breaks off at one place for ever is not news.
            if (now := _bytes(to) + log.stat().st_size) > most:
                most, deadline = now, time.monotonic() + patience
            if time.monotonic() > deadline:
                raise HubError(f"nothing came from it for {patience:.0f} s")
            time.sleep(0.05)
    finally:
        client.kill()
        client.wait()
    if client.returncode:
        raise HubError((log.read_text().splitlines() or ["its client did not start"])[-1])


def _bytes(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # renamed meanwhile
            size += file.stat().st_size
    return size


# --- the client's process ------------------------------------------------------------------------


def client(repository: str, revision: str, to: str, *files: str) -> None:
    """Fetch files of a repository into a folder; those that are in the client's own cache are
    copied, and where all of them are, no network is asked."""
    import huggingface_hub as hub

    for name in files:
        there = hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(there, str):
            shutil.copyfile(there, Path(to, name))
    lacking = [name for name in files if not Path(to, name).exists()]
    if lacking:
        print("asking", flush=True)
        url = hub.hf_hub_url(repository, lacking[0], revision=revision)
        hub.get_hf_file_metadata(url, timeout=PATIENCE_S["asking"])  # it does not try again
    print("fetching", flush=True)
    for name in lacking:
        hub.hf_hub_download(repository, name, revision=revision, local_dir=to)


def _why(problem: BaseException) -> str:
    """Why a request failed, without its address, which may hold a password."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    causes = [problem]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set"
        if code := getattr(getattr(cause, "response", None), "status_code", None):
            return f"it answered {code}" + (" (is HF_TOKEN right?)" if code in (401, 403) else "")
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return f"{cause.strerror} ({type(cause).__name__})"
    return f"the connection failed ({type(causes[-1]).__name__})"


if __name__ == "__main__":
    try:
        client(*sys.argv[1:])
    except Exception as error:  # whatever it is: the parent says it, and takes the package
        print(_why(error), flush=True)
        sys.exit(1)
