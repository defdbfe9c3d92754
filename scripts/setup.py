"""Build the lab's environment from a lock: `make setup` runs this with a bare Python 3.11 or 3.12.

The first run takes minutes. A later one only compares a stamp; one that was cut short goes on.
`setup.py site` makes the environment of `make site` instead: Sphinx and nothing of the lab;
`setup.py hub` that of a JupyterHub (docs/hub.md), `setup.py s3` that of the tests' S3 server.
`setup.py here` installs the lock into the Python that runs it, for a notebook of another service.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "build" / "setup.log"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# An environment and, for a while, its downloads.
GIGABYTES = {"cpu": 5, "gpu": 16, "site": 0.5, "hub": 0.5, "s3": 0.5}
#: Environments apart from the lab's, and what is in them.
APART = {"site": "the book", "hub": "a JupyterHub", "s3": "a server of S3, for tests"}

# What a log says → why it failed, what to do. The first match counts: the surest stand first.
HINTS = [
    (r"No space left on device|Disk quota exceeded", "the disk is full",
     "free some space (5 GB for cpu, 16 GB for gpu), or set VENV and TMPDIR to a larger disk"),
    (r"DO NOT MATCH THE HASHES", "a downloaded file is not the one that the lock names",
     "run it again with PIP_NO_CACHE_DIR=1; if that fails too, your mirror serves another file"),
    (r"ensurepip|No module named '?venv", "this Python cannot make virtual environments",
     "Debian, Ubuntu: apt-get install python3-venv; or name another Python: PYTHON=python3.12"),
    (r"Permission denied|Read-only file system", "a folder may not be written to",
     "set VENV to a folder of yours: make setup VENV=FOLDER"),
    (r"(No matching distribution found for|Cannot install) torch==",
     "there is no such torch for this Python in PIP_FIND_LINKS or on the PyTorch CPU index",
     "check the network; set TORCH_INDEX to a mirror of that index, or PIP_FIND_LINKS to a folder "
     "with the wheel (unset it if it is for something else); or try the other of 3.11 and 3.12"),
    (r"from versions: none|Retrying|name resolution|onnection|timed out|unreachable|ProxyE|SSLE",
     "the network or the package index did not answer",
     "check the network and the proxy, then run it again: what is already there is kept"),
    (r"No matching distribution found|is not a supported wheel|requires a different Python",
     "a package of the lock has no build for this machine and Python",
     "use Python 3.11 or 3.12 on Linux (x86_64 or aarch64): make setup PYTHON=python3.12"),
    (r"MemoryError|Killed", "memory ran out", "close other programs and run it again"),
]  # fmt: skip


def choose_device(asked: str, path: str | None = None) -> str:
    """`cpu` or `gpu`; `auto` asks nvidia-smi, whose presence alone proves nothing."""
    if asked in ("cpu", "gpu"):
        return asked
    if asked != "auto":
        raise SystemExit(f"DEVICE={asked}? It is one of: auto, cpu, gpu.")
    tool = shutil.which("nvidia-smi", path=path)
    try:
        out = tool and subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "gpu" if out and out.returncode == 0 and "GPU " in out.stdout else "cpu"


def lock_step(device: str) -> str:
    """What the step that takes longest is called."""
    return f"packages of locks/{device}.txt"


def pip_steps(device: str, env: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The pip commands, in order. Nothing is resolved: the locks are complete."""
    lock = (lock_step(device), ["--require-hashes", "-r", f"locks/{device}.txt"])
    if device in APART:
        return [lock]
    steps = [lock, ("labkit", ["--no-build-isolation", "-e", "."])]
    if device == "cpu":  # first, since it is the one likely to fail: it has an index of its own
        links = bool(env.get("PIP_FIND_LINKS"))
        index = [] if links else ["--extra-index-url", env.get("TORCH_INDEX") or TORCH_INDEX]
        steps.insert(0, ("torch for the CPU", ["-r", "locks/torch-cpu.txt", *index]))
    return steps


def by_uv(device: str, python: Path, env: Mapping[str, str]) -> bool:
    """Install the packages of a lock by uv, which fetches and unpacks many at once: minutes less.
    Compiled, as pip does it: else the first job of all would take minutes longer.
    False where it can't (a mirror or certificates that only pip knows): pip then says why."""
    lock = ROOT / "locks" / f"{device}.txt"
    own = LOG.parent / "uv.txt"
    own.write_text(of_package((ROOT / "locks" / "cpu.txt").read_text(), "uv"))
    pip = [str(python), "-m", "pip"]
    uv = [str(python), "-m", "uv", "pip", "install"]
    hashed = ["--no-deps", "--require-hashes", "-r"]
    shown = subprocess.run(
        [*pip, "config", "get", "global.index-url"], capture_output=True, env=env
    )
    index = env.get("PIP_INDEX_URL") or shown.stdout.decode().strip()
    found = {"UV_DEFAULT_INDEX": index} if index else {}
    found |= {"SSL_CERT_FILE": env["PIP_CERT"]} if env.get("PIP_CERT") else {}
    commands = [
        [*pip, "install", "--quiet", *hashed, str(own)],
        [*uv, "--compile-bytecode", "--python", str(python), *hashed, str(lock)],
    ]
    begin = time.monotonic()
    print("  packages of the lock, by uv ...", end="", flush=True)
    with LOG.open("a") as log:
        for command in commands:
            if subprocess.run(command, env={**env, **found}, stdout=log, stderr=log).returncode:
                print(" not here: pip takes its place")
                return False
    print(f" {time.monotonic() - begin:.0f} s")
    return True


def of_package(lock: str, name: str) -> str:
    """The lines of one package of a lock, with its hashes."""
    found = re.search(rf"^{re.escape(name)}==(?:[^\n]*\\\n)*[^\n]*\n", lock, re.MULTILINE)
    return found[0] if found else ""


def stamp(device: str, python: str, locks: Path) -> dict[str, str]:
    """What the environment is made of: when any of it changes, setup has work to do."""
    names = ["cpu.txt", "torch-cpu.txt"] if device == "cpu" else [f"{device}.txt"]
    digest = hashlib.sha256(b"".join((locks / name).read_bytes() for name in names)).hexdigest()
    return {"device": device, "python": python, "locks": digest}


def hint(log: str) -> tuple[str, str]:
    """Why a step failed and what to do, from what it printed."""
    for pattern, why, what in HINTS:
        if re.search(pattern, log):
            return why, what
    return "see the lines above", "mend that and run it again: what is already there is kept"


def python_version() -> str:
    return "{}.{}".format(*sys.version_info)


def last_lines(log: str, count: int = 20) -> list[str]:
    """The end of a log without pip's warnings, of which there can be hundreds."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("WARNING")]
    return lines[-count:]


def run(name: str, command: list[str], env: Mapping[str, str]) -> None:
    """Run one step: its output goes to the log, one line with its seconds to the screen."""
    begin, lines, pipe = time.monotonic(), [], subprocess.PIPE
    show = partial(print, end="", flush=True)
    show(f"  {name} ...")
    process = subprocess.Popen(
        command, env=env, text=True, errors="replace", stdout=pipe, stderr=subprocess.STDOUT
    )
    with process, LOG.open("a") as log:
        for line in process.stdout or ():
            log.write(line)
            lines.append(line)
            if sys.stdout.isatty():
                packages = sum(line.startswith(("Collecting ", "Processing ")) for line in lines)
                show(f"\r  {name} ... {packages} packages, {time.monotonic() - begin:.0f} s ")
    seconds = time.monotonic() - begin
    if process.returncode == 0:
        over = f"\r  {name}:" if sys.stdout.isatty() else ""
        print(f"{over} {seconds:.0f} s" + " " * (24 if over else 0))
        return
    text = "".join(lines)
    why, what = hint(text + ("Killed" if process.returncode == -9 else ""))
    print(f"\nFAILED after {seconds:.0f} s: {name}. The end of build/setup.log:")
    print("\n".join("    " + line for line in last_lines(text)))
    raise SystemExit(f"Why: {why}.\nDo:  {what}.")


def read_record(venv: Path) -> dict[str, str]:
    """What setup wrote into an environment that it made; nothing if it made none, or was cut."""
    try:
        record: dict[str, str] = json.loads((venv / "labkit-setup.json").read_text())
    except (OSError, ValueError):
        return {}
    return record


def works(python: Path, version: str) -> bool:
    """Whether an environment's own Python runs, is of that version and has pip."""
    code = f"import pip, sys; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    try:
        return subprocess.run([python, "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


def build(venv: Path, want: dict[str, str], old: dict[str, str]) -> None:
    """Make the environment, or bring the one that is there up to the locks."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    if venv.is_dir() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").is_file():
        raise SystemExit(f"{venv} is there, and no virtual environment. Name another: VENV=FOLDER")
    free = shutil.disk_usage(next(p for p in venv.absolute().parents if p.is_dir())).free / 1e9
    if free < GIGABYTES[want["device"]]:
        print(f"  note: {free:.1f} GB free; this needs about {GIGABYTES[want['device']]} GB")
    env = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    python = venv / "bin" / "python"
    moved = any(old.get(key, want[key]) != want[key] for key in ("device", "at"))
    if moved or not works(python, want["python"]):
        base = getattr(sys, "_base_executable", sys.executable)  # never the one being cleared
        run(f"virtual environment {venv}", [base, "-m", "venv", "--clear", str(venv)], env)
    record = venv / "labkit-setup.json"
    record.write_text(json.dumps({**want, "locks": "unfinished"}))
    install(python.absolute(), want["device"], env)
    record.write_text(json.dumps(want))


def install(python: Path, device: str, env: Mapping[str, str]) -> None:
    """The packages of a lock, into the environment of this Python."""
    pip = [str(python), "-m", "pip", "install", "--no-deps", "--progress-bar", "off"]
    quick = by_uv(device, python, env)
    for name, arguments in pip_steps(device, env):
        if not (quick and name == lock_step(device)):
            run(name, pip + arguments, env)


def make(venv: Path, want: dict[str, str], old: dict[str, str], what: str) -> None:
    """Build an environment, if it is not there as it should be."""
    if {**want, "asked": old.get("asked")} == {"asked": None, **old}:
        print(f"{venv} is ready: {what}")
    else:
        print(f"Setting up {venv}: {what}")
        build(venv, want, old)


def apart(name: str) -> None:
    """An environment of its own beside the lab's, on any system: such as `.venv-site`."""
    os.chdir(ROOT)
    venv, python = Path(f".venv-{name}"), python_version()
    want = stamp(name, python, ROOT / "locks") | {"at": str(venv.absolute())}
    make(venv, want, read_record(venv), f"{APART[name]}, Python {python}")


def here() -> None:
    """The lab into the Python that runs this: the kernel of a service that brings its own."""
    os.chdir(ROOT)
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    device = choose_device(os.environ.get("DEVICE") or "auto")
    print(f"Installing the lab for the {device.upper()} into {sys.prefix}")
    install(Path(sys.executable), device, {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def main() -> None:
    os.chdir(ROOT)
    venv = Path(os.environ.get("VENV") or ".venv")
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise SystemExit("vLLM is built for Linux (x86_64, aarch64): use WSL 2 or a container.")
    if os.environ.get("SKIP_INSTALL") == "1" or (venv / "conda-meta").is_dir():
        print(f"{venv}: taken as it is, nothing installed")
    else:
        old = read_record(venv)
        asked = os.environ.get("DEVICE") or "auto"
        asked = asked if asked != "auto" else old.get("asked", "auto")  # a choice lasts
        python = python_version()
        want = stamp(choose_device(asked), python, ROOT / "locks")
        want |= {"asked": asked, "at": str(venv.absolute())}
        make(venv, want, old, f"{want['device'].upper()}, Python {python}")
    if subprocess.run([venv.absolute() / "bin" / "python", "-m", "labkit", "fetch"]).returncode:
        raise SystemExit("FAILED: fetching model and posts. Mend what it says, run it again.")


if __name__ == "__main__":
    try:
        asked = "".join(sys.argv[1:])
        if asked in APART:
            apart(asked)
        else:
            {"here": here}.get(asked, main)()
    except KeyboardInterrupt:
        raise SystemExit("\nStopped. Run it again to go on: what is there is kept.") from None
    except OSError as error:
        raise SystemExit(
            "FAILED: {}\nWhy: {}.\nDo:  {}.".format(error, *hint(str(error)))
        ) from None
