"""A source archive and a wheel of what is in the repository: `make dist`. Nothing is published.

Built in a copy, by setuptools of the lab's own environment, so that neither a network nor a file
that git ignores has a part in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import labkit
from labkit.errors import LabError
from tools.bundle import ROOT, copy_lab

OUT = ROOT / "build" / "dist"
BUILD = "import sys; from setuptools import build_meta as b; b.{what}(sys.argv[1])"


def version() -> str:
    """The version, where all that name one agree; else LabError."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if not stated == labkit.__version__ == (newest and newest[1]):
        raise LabError(
            f"pyproject.toml says {stated}, labkit.__version__ {labkit.__version__}, the first "
            f"heading of CHANGELOG.md {newest and newest[1]}: make them one."
        )
    return str(stated)


def dist(out: Path = OUT) -> list[Path]:
    """Write both into an emptied folder; their paths."""
    version()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "lab"
        copy_lab(copy)
        # The same files give the same archive: https://reproducible-builds.org/specs/source-date-epoch
        env = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
        for what in ("build_sdist", "build_wheel"):
            command = [sys.executable, "-c", BUILD.format(what=what), str(out.absolute())]
            done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)
            if done.returncode:
                raise LabError(f"setuptools could not build: {done.stderr[-500:]}")
    return sorted(out.iterdir())


if __name__ == "__main__":
    try:
        for file in dist():
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 2**20:.1f} MiB")
    except LabError as error:
        sys.exit(f"make dist: {error}")
