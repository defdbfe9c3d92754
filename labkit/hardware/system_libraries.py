"""Libraries of the system that vLLM's CPU build loads and a bare system lacks, such as libnuma."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path


def missing(folder: Path | None = None) -> list[str]:
    """Names such as `libnuma.so.1`; none where all are there, or nobody can tell (no `ldd`).

    folder: where vLLM is installed; by default this Python's. What PyTorch brings does not count:
    it is loaded before. Without one of them vLLM goes on, and each engine fails at its start.
    """
    if folder is None:
        spec = importlib.util.find_spec("vllm")
        if spec is None or not spec.submodule_search_locations:
            return []
        folder = Path(spec.submodule_search_locations[0])
    brought = {file.name for file in (folder.parent / "torch" / "lib").glob("*.so*")}
    files = [str(file) for file in folder.glob("_C*.so")]
    try:
        told = subprocess.run(["ldd", *files], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted({*re.findall(r"^\s*(\S+) => not found", told, re.M)} - brought)
