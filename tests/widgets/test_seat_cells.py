"""The lessons' cells on a seat without Ray: those that need it show what was recorded, and say so;
all others run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.paths import REPO
from labkit.widgets.seat_cells import NOTE, SeatCells, recorded

NOTEBOOKS = REPO / "notebooks"
IMPORT = "import ray\n"


def transformed(*cells: str, outputs: dict[str, Any] | None = None) -> list[str]:
    seat = SeatCells(outputs or {})
    return ["".join(seat.transform(cell.splitlines(keepends=True))) for cell in cells]


@pytest.mark.parametrize(
    "cell",
    [
        "x = ray.data.range(3)",
        "def f():\n    return ray.nodes()",
        "from vllm import LLM\nLLM('m')",
        "import torch as t\nt.zeros(3)",
        "with labkit.serve(model) as server:\n    print(server.url)",
        "with labkit.local_nodes(2):\n    pass",
    ],
)
def test_a_cell_that_needs_an_engine_of_its_own_is_shown(cell: str) -> None:
    *_, shown = transformed(IMPORT, cell)
    assert shown == f"__labkit_seat_cells__.show({cell!r})\n"


@pytest.mark.parametrize(
    "cell", ["x = 1", "labkit.run(task, rows)", "import pandas as pd\npd.DataFrame()", "x = (", ""]
)
def test_all_others_run_as_they_are(cell: str) -> None:
    assert transformed(IMPORT, cell)[1] == cell


def test_what_uses_what_was_not_made_is_shown_until_it_is_made() -> None:
    cells = ["x = ray.get(1)", "y = x + 1", "y", "y = 5", "y", "x"]
    found = ["show(" in cell for cell in transformed(IMPORT, *cells)[1:]]
    assert found == [True, True, True, False, False, True]
    *_, own = transformed(IMPORT, "x = ray.get(1)", "x = 5\nx")
    assert own == "x = 5\nx", "a cell that makes it itself"


def test_an_import_is_left_out_where_the_rest_can_run() -> None:
    cell = "import ray\nimport pandas as pd\nn = 1\nn"
    assert transformed(cell) == ["import pandas as pd\nn = 1\nn\n"]


def test_rows_of_a_frame_stand_for_their_dataset() -> None:
    cell = "job = labkit.run(task, ray.data.from_pandas(posts), spec)\njob"
    assert transformed(IMPORT, cell)[1] == "job = labkit.run(task, posts, spec)\njob\n"


def lesson(name: str) -> tuple[list[str], list[bool]]:
    """(the code cells of a lesson, whether each is shown instead of run)."""
    cells = json.loads(next(NOTEBOOKS.glob(f"{name}*.ipynb")).read_text())["cells"]
    codes = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return codes, [cell.startswith("__labkit") for cell in transformed(*codes)]


@pytest.mark.parametrize(("name", "most"), [("01", 3), ("02", 0), ("03", 8)])
def test_of_the_lessons_only_what_is_done_by_hand_is_shown(name: str, most: int) -> None:
    codes, shown = lesson(name)
    assert sum(shown) <= most < len(codes) / 4, [c for c, s in zip(codes, shown, strict=True) if s]
    known = recorded(NOTEBOOKS)
    for code, one in zip(codes, shown, strict=True):
        assert not one or code.strip() in known


def test_the_outputs_are_the_recorded_ones_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [
        {"output_type": "stream", "text": ["up to 16\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["(2, ", "True)"]}},
    ]
    seat = SeatCells({"ray.nodes()": outputs})
    seat.show("ray.nodes()\n")
    said = capsys.readouterr().out
    assert "up to 16" in said and "(2, True)" in said and "HTML" in said
    seat.show("something else")
    assert "up to 16" not in capsys.readouterr().out


def test_what_a_seat_left_in_a_lesson_is_not_recorded(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "display_data", "data": {}, "metadata": {"labkit": "seat"}},
        {"output_type": "stream", "text": ["x"]},
    ]
    cell = {"cell_type": "code", "source": ["ray.x()"], "outputs": outputs}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell, {"cell_type": "markdown"}]}))
    (tmp_path / "b.ipynb").write_text("{")
    assert recorded(tmp_path) == {"ray.x()": outputs[1:]}
    assert NOTE
