"""What the book is made of: pages, pictures and links, before Sphinx sees them."""

from __future__ import annotations

import copy
import json
import re
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from book import stage
from book.stage import ROOT, facts, lessons, prepare

#: What stands in the book, as a reader of the repository knows it.
SOURCES = [ROOT / "book" / "index.md", *(ROOT / page for page in stage.PAGES)]
SOURCES += [*sorted((ROOT / "docs").rglob("*.md")), *lessons()]
IMG = re.compile(r"<img [^>]+>")


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def output(**data: Any) -> dict[str, Any]:
    forms = {"html": "text/html", "plain": "text/plain", "png": "image/png"}
    forms["widget"] = "application/vnd.jupyter.widget-view+json"
    output = {"output_type": "display_data", "data": {forms[k]: v for k, v in data.items()}}
    return {"metadata": {}, "cells": [{"cell_type": "code", "source": "", "outputs": [output]}]}


def html_of(notebook: dict[str, Any]) -> str:
    return "".join(notebook["cells"][0]["outputs"][0]["data"]["text/html"])


@pytest.mark.parametrize("form", ["in HTML", "alone", "with a widget"])
def test_a_picture_becomes_a_file_that_keeps_its_words(tmp_path: Path, form: str) -> None:
    import base64

    code = base64.b64encode(png(640, 480)).decode()
    embedded = f'<img src="data:image/png;base64,{code}" alt="Bars: 1 &lt; 2"><p>a panel</p>'
    shapes: dict[str, dict[str, Any]] = {
        "in HTML": {"html": embedded, "png": code, "plain": "Bars: 1 < 2"},
        "alone": {"png": code, "plain": ["Bars: ", "1 < 2"]},
        "with a widget": {"html": [embedded], "widget": {"model_id": "gone"}, "plain": "Panel()"},
    }
    made = prepare(output(**shapes[form]), "lesson", tmp_path / "outputs")
    (image,) = IMG.findall(html_of(made))
    assert 'alt="Bars: 1 &lt; 2"' in image and 'width="640" height="480"' in image
    assert (tmp_path / "outputs" / "lesson-00.png").read_bytes() == png(640, 480)
    assert "data:" not in image and 'src="outputs/lesson-00.png"' in image
    assert not [k for k in made["cells"][0]["outputs"][0]["data"] if "widget" in k or "png" in k]
    assert ("a panel" in html_of(made)) == (form != "alone")


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_a_lesson_needs_no_kernel_to_be_read(path: Path, tmp_path: Path) -> None:
    """Of each output something is left that a browser shows; each picture has words."""
    saved = json.loads(path.read_text())
    made = prepare(copy.deepcopy(saved), path.stem, tmp_path)
    outputs = [o for cell in made["cells"] for o in cell.get("outputs", [])]
    assert outputs and all(o.get("data") or o.get("text") for o in outputs)
    shown = {"text/html", "text/plain"}
    assert not {kind for o in outputs for kind in o.get("data", {})} - shown
    images = IMG.findall(" ".join("".join(o.get("data", {}).get("text/html", "")) for o in outputs))
    assert len(images) == len(list(tmp_path.glob("*.png"))) >= 3
    assert all(re.search(r'alt="[^"]{40,}"', image) for image in images)
    panels = [
        c for c in saved["cells"] if re.search(r"labkit\.(panel|replay)\(", "".join(c["source"]))
    ]
    pictured = [c for c in panels if "image/png" in str(c["outputs"])]
    assert pictured == panels, "a panel without its picture says nothing to a reader"


def test_the_front_page_says_what_lesson_1_measured() -> None:
    known = facts()
    said = re.findall(r"([\d.,]+× that)\.", lessons()[0].read_text())
    assert known["speed_up"].replace(" times", "× that") in said
    assert [known[f"time_{n}"][0].isdigit() for n in (1, 2, 3)] == [True] * 3


def test_every_page_has_one_place_in_the_book() -> None:
    index = (ROOT / "book" / "index.md").read_text()
    lines = "\n".join(re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)).splitlines()
    listed = [re.sub(r".*<(.+)>", r"\1", line) for line in lines if line and line[0] != ":"]
    pages = [path.relative_to(ROOT).with_suffix("").as_posix() for path in SOURCES[1:]]
    assert sorted(listed) == sorted(pages)


# --- links ---------------------------------------------------------------------------------------


def text(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def anchors(path: Path) -> set[str]:
    """As code hosts and MyST make them of headings."""
    lines = re.sub(r"^```.*?^```", "", text(path), flags=re.M | re.S).splitlines()
    heads = [re.sub(r"^#+ ", "", line) for line in lines if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w -]", "", head.lower().strip()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_has_its_page_and_every_anchor_its_heading(path: Path) -> None:
    home = ROOT if path.parent.name == "book" else path.parent
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(path)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (home / file).resolve() if file else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            missing.append(target)
    assert not missing


# --- the environment -----------------------------------------------------------------------------


def test_the_lock_of_the_book_is_whole() -> None:
    locks = ROOT / "locks"
    lock = (locks / "site.txt").read_text()
    wanted = re.findall(r"^([\w-]+==[\w.]+)$", (locks / "site.in").read_text(), re.M)
    entries = re.split(r"\n(?=\w)", lock)
    assert len(wanted) == 2 and len(entries) > 60
    assert all(re.search(rf"^{re.escape(pin)} ", lock, re.M) for pin in wanted)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|#|(?<!\w)/", lock)


def test_make_site_takes_an_environment_of_its_own() -> None:
    command = ["make", "-n", "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "scripts/setup.py site" in done and ".venv-site/bin/python" in done
    assert "labkit" not in done
