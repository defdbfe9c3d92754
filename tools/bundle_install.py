"""Install a bundle of the batch-inference lab, with no network: `python install.py FOLDER`.

Checks every hash, unpacks into FOLDER, and makes the lab ready there. It needs Python 3.11 or 3.12
and nothing else. Made by `labkit bundle`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

#: flashinfer is not in a bundle: without this the engine looks for it and dies at its start.
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to install; new, or empty")
    given = parser.parse_args()
    here, to = Path(__file__).resolve().parent, given.folder.resolve()
    manifest = json.loads((here / "manifest.json").read_text())
    python = "{}.{}".format(*sys.version_info)
    if python != manifest["python"]:
        raise SystemExit(
            f"This bundle is for Python {manifest['python']}, and this is {python}: "
            f"run it with python{manifest['python']}."
        )
    if to.exists() and any(to.iterdir()):
        raise SystemExit(f"{to} is not empty: name a new folder.")
    to.mkdir(parents=True, exist_ok=True)
    print("checking", flush=True)
    check(here, manifest)
    print("unpacking", flush=True)
    unpack([here / name for name in manifest["files"]], to, manifest["sha256"])
    begin = "make lab SKIP_INSTALL=1"
    if manifest["layout"] == "environment":
        settings = environment(to, manifest)
    else:
        settings = folder(to, manifest)
        begin = f"{sys.executable} -m jupyterlab notebooks/"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    (to / "env.sh").write_text("\n".join(lines) + "\n")
    script, lab = shlex.quote(f"{to}/env.sh"), shlex.quote(f"{to}/lab")
    print(f"Ready. Then:\n  . {script} && cd {lab} && {begin}")


def check(here: Path, manifest: dict) -> None:
    """Every file is there with its hash; or stop and name it."""
    for name, about in manifest["files"].items():
        file = here / name
        if not file.exists():
            raise SystemExit(f"{name} is missing: copy it beside install.py.")
        with file.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        if digest != about["sha256"]:
            raise SystemExit(f"{name} is damaged: its hash is not the manifest's. Copy it again.")


def unpack(parts: list[Path], to: Path, sha256: str) -> None:
    """The archive in its parts, in this order → files below `to`, and nowhere else."""
    with tempfile.TemporaryFile(dir=to) as whole:
        for part in parts:
            with part.open("rb") as data:
                shutil.copyfileobj(data, whole, 1 << 20)
        whole.seek(0)
        if hashlib.file_digest(whole, "sha256").hexdigest() != sha256:
            raise SystemExit("The parts do not make the archive that was packed: make it again.")
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:*") as archive:
            archive.extractall(to, filter="data")


def environment(to: Path, manifest: dict) -> dict[str, str]:
    """An environment of its own, made by the lab's set-up from the wheels alone."""
    settings = {"VENV": str(to / "venv"), "DEVICE": manifest["device"], **offline(to)}
    run([sys.executable, "scripts/setup.py"], to, settings)
    return {**settings, "PATH": f"{to}/venv/bin:" + os.environ.get("PATH", "")}


def folder(to: Path, manifest: dict) -> dict[str, str]:
    """The packages that the host lacks, on PYTHONPATH, before its own."""
    paths = [str(to / "site"), str(to / "lab")]
    if before := os.environ.get("PYTHONPATH"):
        paths.append(before)
    settings = {"PYTHONPATH": ":".join(paths), **jupyter(to), **bytecode(to), **offline(to)}
    # pip would do this: without it each of Ray's and vLLM's processes compiles all it imports, and
    # an engine starts a minute later. Some packages hold files for other Pythons: never mind those.
    compile_all = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "-j0",
        str(to / "site"),
        str(to / "lab"),
    ]
    subprocess.run(compile_all, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    run([sys.executable, "-m", "labkit", "fetch", *manifest["models"]], to, settings)
    return settings


def jupyter(to: Path) -> dict[str, str]:
    """Where Jupyter finds its pages, kernels, extensions and settings beside the host's own: it
    looks for them in Python's own folder."""
    share, etc = to / "site" / "share" / "jupyter", to / "site" / "etc" / "jupyter"
    settings = {
        name: ":".join(filter(None, [str(path), os.environ.get(name)]))
        for name, path in {"JUPYTER_PATH": share, "JUPYTER_CONFIG_PATH": etc}.items()
    }
    if (share / "lab").exists():  # else JupyterLab is the host's, with pages of its own
        settings["JUPYTERLAB_DIR"] = str(share / "lab")
    return settings


def bytecode(to: Path) -> dict[str, str]:
    """Keep compiled code in `to` where the host's own packages have none, as in many an image: else
    each of an engine's processes compiles them, too."""
    torch = importlib.util.find_spec("torch")
    if torch is None or Path(importlib.util.cache_from_source(str(torch.origin))).exists():
        return {}
    return {"PYTHONPYCACHEPREFIX": str(to / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}


def offline(to: Path) -> dict[str, str]:
    """pip from the wheels alone, no hub, the lab's caches inside the folder."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(to / "wheels"),
        "LABKIT_CACHE": str(to / "cache"),
        **SETTINGS,
    }


def run(command: list[str], to: Path, settings: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=to / "lab", env={**os.environ, **settings})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: see the lines above.")


if __name__ == "__main__":
    main()
