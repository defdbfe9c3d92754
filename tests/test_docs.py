"""The README and the docs: every code block runs, every link and picture is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.notebooks import first_picture, lessons

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "datasets" / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for kind, code in BLOCK.findall(page.read_text()):
            if kind == language:
                found.append((str(page.relative_to(ROOT)), code))
    return found


def test_every_block_is_of_a_kind_that_is_run() -> None:
    kinds = {kind for page in PAGES for kind, _ in BLOCK.findall(page.read_text())}
    assert kinds <= {"python", "bash"}, "a block of another language is run by no test"


@pytest.mark.parametrize(("page", "code"), blocks("bash"))
def test_bash_blocks_name_what_exists(page: str, code: str) -> None:
    """Make resolves each target, and each module answers to --help (a real run is make's own)."""
    for line in code.splitlines():
        command = shlex.split(line, comments=True)
        if not command:
            continue
        if command[0] == "make":
            check = ["make", "-n", *command[1:]]
        else:
            assert command[:2] == ["python", "-m"], f"{page}: no test knows how to run {line!r}"
            check = [sys.executable, *command[1:3], "--help"]
        done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.engine
@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_blocks_run(page: str, code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{page}:\n{done.stderr[-3000:]}"
    assert "output tokens/s" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_and_pictures_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


def test_every_test_that_is_named_exists() -> None:
    """A promise in docs/reliability.md is worth its test; those marked slow are in test-slow."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(named) > 40
    for file, name in named:
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"


def test_the_readme_picture_is_the_first_chart_of_lesson_1() -> None:
    assert (ROOT / "docs" / "batching.png").read_bytes() == first_picture(lessons()[0])
