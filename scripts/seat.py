"""Set up a seat of a class, and open it: needs Python 3.11 or 3.12 alone, on any system.

    python scripts/seat.py             makes the seat's environment (.seat; once, a minute or two)
    python scripts/seat.py LINK        and opens the first lesson in it, with your link of the class
    python scripts/seat.py replay      or without a class: the lessons are played back

With `--without-solutions` after it the lesson that opens is the one of a copy without solutions and
outputs (`course`, made once).

A seat has no vLLM, PyTorch or Ray: the class's engine answers, or a recording (docs/classroom.md).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "locks" / "seat.txt"
#: What the kernels of this environment load: see labkit/widgets/seat_cells.py.
KERNEL = 'c = get_config()\nc.InteractiveShellApp.extensions.append("labkit.widgets.seat_cells")\n'
#: In the place of a link: the lessons are played back, for when the network to the class fails.
REPLAY = "replay"
LESSON = "notebooks/01_faq_answers.ipynb"
#: The copy of the lessons without their solutions.
COURSE = "course"


def python_of(folder: Path) -> Path:
    """The Python of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def stamp() -> str:
    """What the environment is made of: when it changes, there is work to do."""
    return hashlib.sha256(LOCK.read_bytes() + sys.version.encode() + KERNEL.encode()).hexdigest()


def build(folder: Path) -> None:
    """Make the environment, or bring the one that is there up to the lock."""
    note = folder / "labkit-seat.json"
    try:
        if json.loads(note.read_text()) == stamp():
            print(f"{folder.name} is ready.")
            return
    except (OSError, ValueError):
        pass
    if folder.exists() and not (folder / "pyvenv.cfg").is_file():
        raise SystemExit(
            f"{folder} is there, and no virtual environment: set SEAT_VENV to another."
        )
    began = time.monotonic()
    print(f"Making {folder.name}: packages of about 130 MB, a minute or two …", flush=True)
    run([sys.executable, "-m", "venv", "--clear", str(folder)], "the virtual environment")
    pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--no-deps"]
    pip += ["--disable-pip-version-check"]
    run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(LOCK)], "the packages")
    run([*pip, "--no-build-isolation", "-e", str(ROOT)], "labkit")
    config = folder / "etc" / "ipython"
    config.mkdir(parents=True, exist_ok=True)
    (config / "ipython_kernel_config.py").write_text(KERNEL)
    note.write_text(json.dumps(stamp()))
    print(f"Ready in {time.monotonic() - began:.0f} s.")


def run(command: list[str], what: str) -> None:
    """Run a step; say which one failed."""
    if subprocess.run(command).returncode:
        raise SystemExit(
            f"FAILED: {what}. Look at the lines above (the network? the disk?), and run it again."
        )


def course(python: str) -> str:
    """The first lesson of the copy without solutions, which a learner works in from then on."""
    if not (ROOT / COURSE).exists():
        copy = [python, "-m", "labkit", "lessons", str(ROOT / COURSE), "--without-solutions"]
        run(copy, "the copy of the lessons")
    return f"{COURSE}/{LESSON}"


def main() -> None:
    """Make the seat, and open it where a link is given."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        raise SystemExit("A seat needs Python 3.11 or 3.12: python3.12 scripts/seat.py")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("link", nargs="?", help="your link of the class, or `replay`")
    words = "open a copy of the lessons without solutions and outputs"
    parser.add_argument("--without-solutions", action="store_true", help=words)
    given = parser.parse_args()
    folder = Path(os.environ.get("SEAT_VENV") or ROOT / ".seat").absolute()
    build(folder)
    link = given.link or os.environ.get("LABKIT_CLASS", "")
    if not link:
        print("With your link of the class: python scripts/seat.py LINK")
        return
    python = str(python_of(folder))
    env = {**os.environ, "PYTHONUTF8": "1"}  # Windows reads other bytes
    if link == REPLAY:
        env["LABKIT_REPLAY"] = "1"
    else:
        env["LABKIT_CLASS"] = link
    check = [python, "-c", "import labkit; print(labkit.doctor())"]
    if subprocess.run(check, env=env, cwd=ROOT).returncode:
        raise SystemExit("FAILED: the class could not be asked.")
    paths = [str(ROOT / "scripts" / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    env["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))  # no question about news
    lesson = course(python) if given.without_solutions else LESSON
    lab = [python, "-m", "jupyter", "lab", lesson, f"--ServerApp.root_dir={ROOT}"]
    raise SystemExit(subprocess.run(lab, env=env, cwd=ROOT).returncode)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\nStopped. Run it again to go on.") from None
