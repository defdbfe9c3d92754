"""Execute the lessons from end to end, as a reader would."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from labkit.errors import JobFailed, LabError, reason
from tools import times

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def lessons() -> list[Path]:
    """The lessons' notebooks in their order."""
    return sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))


def execute(
    paths: Sequence[Path], out: Path | None = None, *, cell_timeout_s: int = 1800
) -> dict[str, float]:
    """Run each notebook in a fresh kernel and save it with its outputs; seconds by name.

    out: the folder for the executed copies; None writes in place. The seconds of each section of a
    lesson go to build/times/lessons.json. Raises JobFailed with the failing cell and its error,
    after saving what ran.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    if not paths:
        raise LabError(f"There are no notebooks in {NOTEBOOKS}.")
    took: dict[str, float] = {}
    for path, notebook in [(path, _read(path)) for path in map(_found, paths)]:
        print(f"{path.name} … ", end="", flush=True)
        client = NotebookClient(
            notebook,
            timeout=cell_timeout_s,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],  # no word on encryption of local ports
            resources={"metadata": {"path": str(path.parent)}},
        )
        began = time.monotonic()
        try:
            client.execute()
        except CellExecutionError as error:
            raise JobFailed(f"{path.name} stopped at a cell that failed:\n{error}") from error
        finally:
            spent = section_seconds(notebook)
            target = path if out is None else out / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            _tidy(notebook)
            scratch = target.with_suffix(".tmp")
            nbformat.write(notebook, scratch)
            os.replace(scratch, target)
        took[path.name] = time.monotonic() - began
        if path.resolve() in lessons() and times.as_a_reader():
            times.record("lessons", path.name, {"seconds": took[path.name], "sections": spent})
        print(f"{took[path.name]:.0f} s → {os.path.relpath(target)}", flush=True)
    return took


def _found(path: Path) -> Path:
    """A notebook by its path, or a lesson by the name of its file."""
    for place in (path, NOTEBOOKS / path):
        if place.is_file():
            return place
    names = ", ".join(lesson.name for lesson in lessons())
    raise LabError(f"There is no notebook {path}: name its path, or one of the lessons: {names}.")


def _read(path: Path) -> Any:
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as problem:  # nbformat raises errors of JSON, of schemas and its own
        raise LabError(f"{path} can't be read as a notebook: {reason(problem)}.") from problem


def section_seconds(notebook: Any) -> dict[str, float]:
    """Seconds by section (the text of its `##` heading) that an executed notebook's cells took.

    From the times that nbclient notes in a cell's metadata
    (https://nbclient.readthedocs.io/en/latest/client.html).
    """
    spent: dict[str, float] = {}
    section = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and cell["source"].startswith("## "):
            section = times.heading(cell["source"])
        noted = cell["metadata"].get("execution", {})
        if {"iopub.execute_input", "shell.execute_reply"} <= noted.keys():
            began, ended = (
                datetime.fromisoformat(noted[name])
                for name in ("iopub.execute_input", "shell.execute_reply")
            )
            spent[section] = spent.get(section, 0.0) + (ended - began).total_seconds()
    return {name: round(seconds, 1) for name, seconds in spent.items()}


def first_picture(path: Path) -> bytes:
    """The first PNG among a notebook's outputs; raises LabError when there is none."""
    import nbformat

    for cell in nbformat.read(path, as_version=4)["cells"]:
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                return base64.b64decode(picture)
    raise LabError(f"{path.name} has no picture among its outputs.")


def _tidy(notebook: dict) -> None:
    """Drop what changes with every run and says nothing: cell timings, the Python build, and the
    inner state of widgets, which JupyterLab does not read from an untrusted notebook; and the
    widgets that left a picture, as it would say "model not found" in place of that."""
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"].pop("application/vnd.jupyter.widget-view+json", None)
    notebook["metadata"].pop("widgets", None)
    info = notebook["metadata"].get("language_info", {})
    info["version"] = "3"
