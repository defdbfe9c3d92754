"""Launch badges of the README and the first cell for notebooks elsewhere: `python -m tools.launch`.

Both need the lab's public address, which is one setting: `[tool.labkit] address` in pyproject.toml.
Where it is empty there are neither, since they would lead nowhere.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from tools.execute_notebooks import lessons

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- launch: made by `python -m tools.launch` -->\n", "<!-- end of launch -->\n"
#: The tag of the cell that this module puts in and takes out.
TAG = "install-elsewhere"
CELL = """\
# Only where the lab is missing, as on Colab: install it from its lock. It takes minutes.
import importlib.util, os, subprocess, sys

if importlib.util.find_spec("labkit") is None:
    around = [f for f in (os.pardir, "lab") if os.path.exists(os.path.join(f, "scripts/setup.py"))]
    if not around:
        subprocess.run(["git", "clone", "--depth=1", "{address}", "lab"], check=True)
    setup = os.path.join(*around[:1] or ["lab"], "scripts/setup.py")
    subprocess.run([sys.executable, setup, "here"], check=True)
    raise SystemExit("The lab is installed. Restart the kernel, then run all cells.")
"""
#: What opens the lab from an address of GitHub, and whether a person has seen it work.
PLACES = {
    "Colab": "https://colab.research.google.com/github/{name}/blob/HEAD/notebooks/{lesson}",
    "Codespaces": "https://codespaces.new/{name}",
}
TRIED: set[str] = set()


def address() -> str:
    """The public address, such as https://github.com/OWNER/NAME; empty where none is set."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["labkit"]
    stated = str(settings["address"])
    if stated and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", stated):
        raise LabError(
            f"[tool.labkit] address in pyproject.toml is {stated!r}: it is empty, or of the form "
            "https://github.com/OWNER/NAME (other hosts have no such badges)."
        )
    return stated


def badges(address: str) -> str:
    """The README's line of links; what nobody has tried says so."""
    if not address:
        return ""
    name = address.removeprefix("https://github.com/")
    links = []
    for place, link in PLACES.items():
        untried = "" if place in TRIED else " (not tried yet)"
        links.append(f"[{place}]({link.format(name=name, lesson=lessons()[0].name)}){untried}")
    return f"Open it elsewhere: {' · '.join(links)}\n"


def with_badges(readme: str, address: str) -> str:
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}{badges(address)}{END}{rest.split(END)[1]}"


def with_cell(notebook: dict[str, Any], address: str) -> dict[str, Any]:
    """A lesson with that cell before its first code cell, or without it; the others as they are."""
    cells = [c for c in notebook["cells"] if TAG not in c["metadata"].get("tags", [])]
    if address:
        first = next(n for n, cell in enumerate(cells) if cell["cell_type"] == "code")
        cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": TAG}
        cell |= {"metadata": {"tags": [TAG]}, "outputs": []}
        cell["source"] = CELL.format(address=address).rstrip().splitlines(keepends=True)
        cells.insert(first, cell)
    return notebook | {"cells": cells}


def main() -> None:
    README.write_text(with_badges(README.read_text(), address()))
    for path in lessons():
        notebook = json.loads(path.read_text())
        changed = with_cell(notebook, address())
        if changed != notebook:
            path.write_text(json.dumps(changed, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
