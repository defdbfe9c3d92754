"""How long lessons and tests take, by kind of machine: written to build/times, read from docs.

`docs/times.md` is the one place for minutes. The lines below the lessons' headings are made from it
(`python -m labkit times`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.hardware import machine as machines
from labkit.results.measured_times import heading, kind, rows, tables

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "times"
PAGE = ROOT / "docs" / "times.md"
NOTEBOOKS = ROOT / "notebooks"
#: How the line with a section's times begins.
TIME = "*Time: "
#: How the line of a section calls each kind of machine, in this order.
PHRASES = {
    "2 cores with AVX-512": "on 2 CPU cores",
    "2 cores without AVX-512": "without AVX-512",
    "H100": "on an H100",
}


def as_a_reader() -> bool:
    """Whether lessons run here as they do by default: with other rows or another model than the
    machine's own (QUICK, LABKIT_MODEL, LABKIT_REPLAY, FULL on cores) their seconds are not those
    of the page."""
    names = ["QUICK", "LABKIT_MODEL", "LABKIT_REPLAY"]
    names += ["FULL"] if machines.detect().device == "cpu" else []  # on a GPU it is the default
    return not any(os.environ.get(name) for name in names)


def record(what: str, name: str, seconds: Mapping[str, Any]) -> None:
    """Put `seconds` under `name` into build/times/WHAT.json, with the machine that it is from.

    Times of another kind of machine that lie there are dropped.
    """
    machine = machines.detect()
    about = {
        "kind": kind(machine),
        "machine": f"{machine.name}, {machines.cpu_name()}",
        "versions": dict(machine.versions),
    }
    file = BUILD / f"{what}.json"
    noted: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # none there, or one that was cut
        noted = json.loads(file.read_text())
    if noted.get("kind") != about["kind"]:
        noted = {}
    noted |= about
    noted.setdefault("times", {})[name] = dict(seconds)
    BUILD.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(noted, indent=1, ensure_ascii=False) + "\n")


# --- the page ------------------------------------------------------------------------------------


def page() -> dict[str, dict[str, dict[str, float]]]:
    """What docs/times.md holds, in seconds."""
    return tables(PAGE.read_text())


def words(seconds: float) -> str:
    """Seconds as a reader wants them: to five, from a minute and a half on to minutes."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 90:
        step = 5 if seconds < 40 else 10
        return f"{step * round(seconds / step)} s"
    return f"{round(seconds / 60)} min"


def line(seconds: Mapping[str, float]) -> str:
    """The line below a heading: the time of the section on each kind of machine."""
    parts = [f"{words(seconds[k])} {phrase}" for k, phrase in PHRASES.items() if k in seconds]
    if {words(s) for s in seconds.values()} == {"a few seconds"}:
        parts = ["a few seconds"]
    return f"{TIME}{' · '.join(parts)}*"


def numbers(text: str) -> dict[str, float]:
    """{kind: seconds} of such a line; {} where it says that a section takes a few seconds."""
    found = {}
    for kind_, phrase in PHRASES.items():
        if said := re.search(rf"(\d+|a few) (s|min|seconds) {re.escape(phrase)}", text):
            count = 5.0 if said[1] == "a few" else float(said[1])
            found[kind_] = count * (60 if said[2] == "min" else 1)
    return found


def measured() -> tuple[str, dict[str, dict[str, float]]]:
    """(kind of machine, {section of the page: {row: seconds}}) of what lies in build/times."""
    kind_, found = "", {}  # type: str, dict[str, dict[str, float]]
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads((BUILD / "lessons.json").read_text())
        kind_, lessons = noted["kind"], noted["times"]
        found = {name: {"all of it": t["seconds"], **t["sections"]} for name, t in lessons.items()}
        if len(lessons) == len(list(NOTEBOOKS.glob("[0-9]*.ipynb"))):
            found["Commands"] = {"make run": sum(t["seconds"] for t in lessons.values())}
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads((BUILD / "tests.json").read_text())
        if noted["kind"] == (kind_ or noted["kind"]):
            kind_ = noted["kind"]
            commands = {name: times["seconds"] for name, times in noted["times"].items()}
            found["Commands"] = found.get("Commands", {}) | commands
    return kind_, found


def put_into_page() -> list[str]:
    """Write what was measured on this machine into its column of docs/times.md; what changed."""
    kind_, found = measured()
    lines, changed = PAGE.read_text().splitlines(), []
    for number, section, header, (name, *_) in rows(PAGE.read_text()):
        seconds = found.get(section, {}).get(name)
        if seconds is None or kind_ not in header:
            continue
        cells = lines[number].split("|")
        at, new = 1 + header.index(kind_), f" {max(1, round(seconds)):,} "
        if cells[at] != new:
            cells[at] = new
            lines[number] = "|".join(cells)
            changed.append(f"{section}, {name}: {new.strip()} s")
    PAGE.write_text("\n".join(lines) + "\n")
    return changed


def put_into_lessons() -> list[str]:
    """Write the line of each section of the lessons anew from docs/times.md; what changed.

    Outputs stay as they are.
    """
    import nbformat

    known, changed = page(), []
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook["cells"]:
            if cell["cell_type"] != "markdown" or not cell["source"].startswith("#"):
                continue
            whole = cell["source"].startswith("# ")
            name = "all of it" if whole else heading(cell["source"])
            seconds = known.get(path.name, {}).get(name)
            if not seconds:
                continue
            first, *rest = cell["source"].split("\n")
            body = "\n".join(r for r in rest if not r.startswith(TIME)).strip("\n")
            source = "\n\n".join(filter(None, [first, line(seconds), body]))
            if source != cell["source"]:
                cell["source"] = source
                changed.append(f"{path.name}: {first.lstrip('# ')}")
        nbformat.write(notebook, path)
    return changed
