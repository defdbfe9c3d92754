"""Make locks/*.txt from locks/*.in, and the conda environments from the locks: `make lock`.

Versions that stand in a lock stay until an .in file asks for others, or UPGRADE=1 for the newest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
SCRATCH = ROOT / "build" / "lock"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
ENVIRONMENT = """\
# Made by `make lock` from {locks}: change locks/*.in, not this file.
# The list is complete, so pip must not add to it (it would fetch {why}):
#   PIP_NO_DEPS=1 conda env create -f {file}
#   conda activate {name}
#   make run VENV="$CONDA_PREFIX"
name: {name}
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - make
  - pip:
"""


def tidy(lock: str) -> str:
    """Take out of each marker what holds wherever the lab runs: Linux, its two kinds of machine,
    Python below 3.13."""
    lock = lock.replace(" and sys_platform == 'linux'", "")
    lock = re.sub(r"python_full_version < '3\.13' and ", "", lock)
    lock = re.sub(r" and python_full_version < '3\.13'", "", lock)
    lock = re.sub(r" ; \((?=.*'aarch64')(?=.*'x86_64')[^\n]*platform_machine[^\n]*\)", "", lock)
    return re.sub(r" ; (sys_platform == 'linux'|python_full_version < '3\.13')(?= |$)", "", lock)


def pins(lock: str) -> list[str]:
    """`name==version ; marker` of each package of a lock, without the hashes."""
    return [line.rstrip(" \\") for line in lock.splitlines() if re.match(r"\w", line)]


def environment(device: str) -> str:
    """The conda environment with exactly the pins of a lock."""
    if device == "cpu":
        names, file, name = ["cpu.txt", "torch-cpu.txt"], "environment.yml", "batch-lab"
        first, why = [f"--extra-index-url {TORCH_INDEX}"], "CUDA builds that break the CPU torch"
    else:
        names, file, name = ["gpu.txt"], "environment-gpu.yml", "batch-lab-gpu"
        first, why = [], "other versions"
    lines = [*first, *(pin for n in names for pin in pins((LOCKS / n).read_text())), "-e ."]
    head = ENVIRONMENT.format(
        locks=" and ".join(f"locks/{n}" for n in names), why=why, file=file, name=name
    )
    return head + "".join(f"      - {line}\n" for line in lines)


def compile_lock(uv: Path, device: str) -> None:
    """Resolve one lock for all machines at once (`[tool.uv] environments` in pyproject.toml)."""
    out, lock = SCRATCH / f"{device}.txt", LOCKS / f"{device}.txt"
    out.unlink(missing_ok=True)
    if lock.is_file() and os.environ.get("UPGRADE") != "1":
        out.write_text(lock.read_text())  # uv keeps the versions that it finds in its output file
    overrides = ["--override", "locks/overrides-cpu.txt"] if device == "cpu" else []
    command = [str(uv), "pip", "compile", f"locks/{device}.in", "-o", str(out), "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    subprocess.run([*command, "--quiet", *overrides], cwd=ROOT, check=True)
    lock.write_text(tidy(out.read_text()))
    print(f"locks/{device}.txt: {len(pins(lock.read_text()))} packages")


def compile_seat(uv: Path) -> None:
    """The lock of a seat of a class, for every system; with the versions of the CPU's lock."""
    out, lock = SCRATCH / "seat.txt", LOCKS / "seat.txt"
    command = [str(uv), "--no-config", "pip", "compile", "locks/seat.in", "-o", str(out)]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
    subprocess.run([*command, "--no-annotate", "--quiet"], cwd=ROOT, check=True)
    lock.write_text(out.read_text())
    print(f"locks/seat.txt: {len(pins(lock.read_text()))} packages")


def uv() -> Path:
    """The resolver, in an environment of its own."""
    if not (SCRATCH / "bin" / "uv").is_file():
        subprocess.run([sys.executable, "-m", "venv", SCRATCH], check=True)
    (pin,) = re.findall(r"^uv==.*$", (LOCKS / "base.in").read_text(), re.MULTILINE)
    subprocess.run([SCRATCH / "bin" / "python", "-m", "pip", "install", "-qq", pin], check=True)
    return SCRATCH / "bin" / "uv"


def main() -> None:
    resolver = uv()
    for device, name in (("cpu", "environment.yml"), ("gpu", "environment-gpu.yml")):
        compile_lock(resolver, device)
        (ROOT / name).write_text(environment(device))
        print(name)
    compile_seat(resolver)
    compile_lock(resolver, "site")
    compile_lock(resolver, "hub")
    compile_lock(resolver, "s3")


if __name__ == "__main__":
    main()
