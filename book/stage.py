"""What the book is made of, laid out for Sphinx: its pages at their own paths, so that every link
between them holds, and the pictures of the lessons' outputs as files.

Nothing is executed: an output is shown as it was saved. It knows nothing of Sphinx.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "build" / "book" / "source"
HTML = ROOT / "build" / "site"
#: Files that Sphinx copies into the site as they are.
EXTRA = SOURCE.parent / "extra"
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "datasets/README.md"]
#: Pages name files of these folders; links to them become downloads.
FILES = ["labkit"]
PICTURE = re.compile(r'<img src="data:image/png;base64,([^"]+)"')


def lessons() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def picture_as_file(source: str, name: str, folder: Path) -> str:
    """The HTML of an output with its picture in a file beside the page, fetched when it comes into
    sight. Its size is given, so that nothing jumps meanwhile."""

    def put(found: re.Match[str]) -> str:
        png = base64.b64decode(found[1])
        width, height = struct.unpack(">II", png[16:24])  # of the header (PNG, section 11.2.2)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(png)
        return (
            f'<img src="outputs/{name}.png" width="{width}" height="{height}" loading="lazy" '
            f'class="chart"'
        )

    return PICTURE.sub(put, source, count=1)


def prepare(notebook: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """A lesson as the site shows it: of an output's forms the one with words beside its picture.

    A widget needs a kernel, so it is left out: what stands beside it was saved for readers without
    one (a panel's picture, a progress line)."""
    for number, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "text/html" in data:
                data.pop("image/png", None)
                source = "".join(data["text/html"])
                data["text/html"] = picture_as_file(source, f"{name}-{number:02}", folder)
            elif "image/png" in data:
                alt = html.escape("".join(data.get("text/plain", "")))
                picture = f'<img src="data:image/png;base64,{data.pop("image/png")}" alt="{alt}">'
                data["text/html"] = picture_as_file(picture, f"{name}-{number:02}", folder)
    notebook["metadata"].pop("widgets", None)
    return notebook


def stage(source: Path) -> None:
    """Lay out all sources in a folder, which is emptied first."""
    for folder in (source, EXTRA):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for page in PAGES:
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, source / page)
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.copytree(ROOT / "notebooks" / "pictures", source / "notebooks" / "pictures")
    shutil.copy(ROOT / "book" / "index.md", source / "index.md")
    for name in FILES:
        (source / name).symlink_to(ROOT / name)
    for path in lessons():
        notebook = json.loads(path.read_text())
        prepared = prepare(notebook, path.stem, EXTRA / "notebooks" / "outputs")
        (source / "notebooks" / path.name).write_text(json.dumps(prepared))


def facts() -> dict[str, str]:
    """Numbers of the front page, out of the saved lessons: the speed-up that lesson 1 measured, and
    how long each lesson takes."""
    found: dict[str, str] = {}
    for number, path in enumerate(lessons(), start=1):
        cells = json.loads(path.read_text())["cells"]
        time = re.search(r"^\*Time: (.+)\*$", "".join(cells[0]["source"]), re.M)
        found[f"time_{number}"] = time[1] if time else "–"
        for cell in cells:
            if "".join(cell["source"]).startswith("claims.speed_up("):
                said = "".join(cell["outputs"][0]["data"]["text/plain"])
                found["speed_up"] = re.findall(r"([\d.,]+)× that", said)[-1] + " times"
    return found
