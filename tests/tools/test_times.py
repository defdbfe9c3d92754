"""docs/times.md is the one place for minutes: lessons, README and `make help` agree with it."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit.hardware import machine as machines
from labkit.hardware.nvidia import GPU
from tests.api.test_checkup import CPU_ONLY, WITH_GPU
from tools import times
from tools.execute_notebooks import lessons, section_seconds

ROOT = Path(__file__).resolve().parents[2]
NAMES = [path.name for path in lessons()]
KINDS = list(times.PHRASES)
COMMANDS = ("make run", "make test-fast", "make test", "make test-slow")


# --- measuring -----------------------------------------------------------------------------------


def test_a_machine_is_of_a_kind() -> None:
    kinds = [machines.Machine(2, 8, 8, 9, bfloat16=b) for b in (True, False)]
    assert [times.kind(machine) for machine in kinds] == KINDS[:2]
    assert times.kind(WITH_GPU) == "H100"
    assert times.kind(CPU_ONLY) == "8 cores with AVX-512"


def test_sections_are_timed_by_their_cells() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def cell(first: float, last: float) -> Any:
        noted = {
            "iopub.execute_input": (began + timedelta(seconds=first)).isoformat(),
            "shell.execute_reply": (began + timedelta(seconds=last)).isoformat(),
        }
        return new_code_cell("1", metadata={"execution": noted})

    heads = [new_markdown_cell(f"## {name}\n\n*Time: 1 min*\n\ntext") for name in "AB"]
    cells = [heads[0], cell(0, 1), cell(1, 3.5), heads[1], new_code_cell("never ran"), cell(4, 5)]
    assert section_seconds(new_notebook(cells=cells)) == {"A": 3.5, "B": 1.0}


@pytest.mark.parametrize("name", ["QUICK", "FULL", "LABKIT_MODEL", "LABKIT_REPLAY"])
def test_seconds_of_other_rows_or_models_are_not_the_page_s(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert times.as_a_reader()
    monkeypatch.setenv(name, "1")
    assert not times.as_a_reader()


def test_times_are_kept_by_kind_of_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "BUILD", tmp_path / "times")
    monkeypatch.setattr(machines, "detect", lambda: CPU_ONLY)
    times.record("lessons", "a", {"seconds": 1})
    times.record("lessons", "b", {"seconds": 2})
    noted = json.loads((tmp_path / "times" / "lessons.json").read_text())
    assert noted["times"] == {"a": {"seconds": 1}, "b": {"seconds": 2}}
    assert noted["kind"] == "8 cores with AVX-512" and noted["machine"].startswith("8 CPU cores, ")
    assert noted["versions"]["ray"] == "2.60.0"
    monkeypatch.setattr(machines, "detect", lambda: WITH_GPU)
    times.record("lessons", "b", {"seconds": 3})
    noted = json.loads((tmp_path / "times" / "lessons.json").read_text())
    assert noted["times"] == {"b": {"seconds": 3}} and noted["kind"] == "H100"


def test_a_broken_file_of_times_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "BUILD", tmp_path)
    (tmp_path / "tests.json").write_text("{")
    times.record("tests", "test", {"seconds": 1})
    assert json.loads((tmp_path / "tests.json").read_text())["times"] == {"test": {"seconds": 1}}


def test_another_card_has_a_kind_of_its_own() -> None:
    card = GPU(0, "Tesla P100-PCIE", 16, 15, (6, 0))
    assert times.kind(machines.Machine(8, 9, 9, 9, (card,), {"vllm": "1"})) == "Tesla P100-PCIE"


# --- the page and what is made from it -----------------------------------------------------------


def test_words_and_numbers_of_a_line_agree() -> None:
    """For any seconds, what is said is within half and twice of them."""
    for seconds in [*range(8, 200), 300, 1000, 4000]:
        said = times.numbers(times.line(dict.fromkeys(KINDS, float(seconds))))
        assert list(said) == KINDS
        assert all(seconds / 2 <= one <= 2 * seconds for one in said.values()), seconds
    assert times.line({KINDS[0]: 3.0, KINDS[1]: 5.0}) == "*Time: a few seconds*"
    mixed = times.line({KINDS[0]: 3.0, KINDS[1]: 62.0})
    assert mixed == "*Time: a few seconds on 2 CPU cores · 60 s without AVX-512*"
    assert times.numbers(mixed) == {KINDS[0]: 5.0, KINDS[1]: 60.0}


def test_the_page_has_every_lesson_section_and_command() -> None:
    page = times.page()
    for path in lessons():
        heads = ["all of it"]
        heads += [
            times.heading(cell["source"])
            for cell in nbformat.read(path, as_version=4)["cells"]
            if cell["cell_type"] == "markdown" and cell["source"].startswith("## ")
        ]
        timed = page[path.name]
        assert [name for name in heads if name in timed] == list(timed)
        assert "Recap" in heads and len(timed) >= 6
        for name, seconds in timed.items():
            assert seconds, f"{path.name}, {name}: no time at all"
    assert [name for name in page["Commands"] if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("path", lessons(), ids=NAMES)
def test_headings_say_what_was_measured(path: Path) -> None:
    """Each kind of machine that the page knows has a number, from half to twice the measured."""
    timed, seen = times.page()[path.name], []
    for cell in nbformat.read(path, as_version=4)["cells"]:
        name = times.heading(cell["source"]) if cell["source"].startswith("## ") else ""
        if cell["source"].startswith("# "):
            name = "all of it"
        if cell["cell_type"] != "markdown" or name not in timed:
            continue
        (said,) = [line for line in cell["source"].splitlines() if line.startswith(times.TIME)]
        seen.append(name)
        if "a few seconds*" in said and "·" not in said and "on " not in said:
            assert max(timed[name].values()) <= 15
            continue
        numbers = times.numbers(said)
        assert numbers.keys() == timed[name].keys() & times.PHRASES.keys()
        for kind, seconds in numbers.items():
            measured = timed[name][kind]
            assert measured / 2 <= max(seconds, 5), (name, kind)
            assert seconds <= max(10, 2 * measured), (name, kind)
    assert seen == list(timed)


def test_no_heading_has_minutes_of_its_own() -> None:
    for path in lessons():
        for cell in nbformat.read(path, as_version=4)["cells"]:
            if cell["cell_type"] == "markdown" and cell["source"].startswith("## "):
                assert not re.search(r"·.*(minute|second)", cell["source"].splitlines()[0])


def minutes(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(\d+) min", text)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_and_make_help_say_the_measured_minutes(command: str) -> None:
    """With AVX-512 and, where it was measured, without."""
    measured = times.page()["Commands"][command]
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    (help_line,) = [line for line in shown.splitlines() if line.strip().startswith(f"{command} ")]
    (row,) = [
        line for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(f"| `{command}`")
    ]  # fmt: skip
    for text in (help_line, row):
        for kind, number in zip(measured, minutes(text), strict=True):
            assert measured[kind] / 2 <= 60 * number <= 2 * measured[kind], (text, kind)


def test_the_lessons_lines_are_made_from_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(times, "PAGE", tmp_path / "times.md")
    (tmp_path / "times.md").write_text(
        f"# T\n\n## 1_a.ipynb\n\n| section | {KINDS[0]} | H100 |\n|---|---:|---:|\n"
        "| *all of it* | 1,200 | – |\n| Work | 31 | 12 |\n"
    )
    cells = [new_markdown_cell(text) for text in ("# A lesson", "## Work\n\nDo it.", "## Recap")]
    cells[1]["source"] = f"## Work\n\n{times.TIME}old*\n\nDo it.\n\nAgain."
    nbformat.write(new_notebook(cells=cells), tmp_path / "1_a.ipynb")
    assert times.put_into_lessons() == ["1_a.ipynb: A lesson", "1_a.ipynb: Work"]
    made = [c["source"] for c in nbformat.read(tmp_path / "1_a.ipynb", as_version=4)["cells"]]
    assert made == [
        "# A lesson\n\n*Time: 20 min on 2 CPU cores*",
        "## Work\n\n*Time: 30 s on 2 CPU cores · 10 s on an H100*\n\nDo it.\n\nAgain.",
        "## Recap",
    ]
    assert times.put_into_lessons() == []


def test_what_was_measured_here_goes_into_its_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "BUILD", tmp_path)
    monkeypatch.setattr(times, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(times, "PAGE", tmp_path / "times.md")
    monkeypatch.setattr(machines, "detect", lambda: WITH_GPU)
    head = f"| x | {KINDS[0]} | H100 |\n|---|---:|---:|\n"
    text = f"## Commands\n\n{head}| `make run` | 7 | – |\n| `make test` | 7 | 9 |\n\n"
    text += f"## 1_a.ipynb\n\n{head}| *all of it* | 7 | – |\n| Work | 7 | 9 |\n"
    (tmp_path / "times.md").write_text(text)
    (tmp_path / "1_a.ipynb").write_text("{}")
    assert times.put_into_page() == [] and (tmp_path / "times.md").read_text() == text
    times.record("lessons", "1_a.ipynb", {"seconds": 1234.5, "sections": {"Work": 0.2, "New": 3}})
    times.record("tests", "make test", {"seconds": 9.1})
    assert len(times.put_into_page()) == 3
    assert times.page() == {
        "Commands": {
            "make run": {KINDS[0]: 7, "H100": 1234},
            "make test": {KINDS[0]: 7, "H100": 9},
        },
        "1_a.ipynb": {
            "all of it": {KINDS[0]: 7, "H100": 1234},
            "Work": {KINDS[0]: 7, "H100": 1},
        },
    }
    assert times.put_into_page() == []
