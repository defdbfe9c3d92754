"""Answer a batch file of OpenAI's form, as `vllm run-batch` does: requests in, answers out, each
joined by its `custom_id`; and go on after a stop."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from labkit.api.configure import configure
from labkit.api.write_job import write
from labkit.engines.dispatch import parameter_of
from labkit.errors import LabError, lab_errors
from labkit.metrics import Metrics
from labkit.paths import full_path
from labkit.progress import View
from labkit.rows import batch_file, chat_body
from labkit.rows.batch_file import Line
from labkit.rows.chat_body import BadBody
from labkit.settings.endpoint_spec import EndpointSpec
from labkit.settings.setting import JobSpec
from labkit.tasks import Message, Row, Task

ID = "custom_id"


@dataclass(frozen=True)
class Batch:
    """What a call of `run_batch` left. path: the file of answers, a line for each request.
    parts: the folder that the next call goes on from. rows: requests; failed: those without an
    answer; computed: rows of this call. metrics: of this call's rows; None where there were none.
    """

    path: Path
    parts: Path
    rows: int
    failed: int
    computed: int
    metrics: Metrics | None = field(repr=False)


@lab_errors("The batch file could not be answered")
def run_batch(
    file_in: str | Path,
    file_out: str | Path,
    spec: JobSpec | None = None,
    *,
    served_model_name: str | None = None,
    retry_failed: bool = False,
    verbose: bool = False,
    progress: bool | View = True,
    stall_s: float | None = None,
) -> Batch:
    """Answer the chat completions of `file_in` (see `rows.batch_file`) into `file_out`.

    spec: from `configure` or `endpoint`; None for this machine's defaults. The file names a model:
    it must be the spec's, or `served_model_name`, another name that the spec's model goes by.
    The answers are kept in the folder `file_out` + ".parts" while they come, and `file_out` is
    written from it at the end, whole, in the order of the requests. Called again, it computes only
    what is not there yet: after a kill, or with more requests. The folder can be deleted when no
    call is to go on from it. All requests must fit into memory.
    retry_failed, verbose, progress, stall_s: as in `labkit.write`.

    Parameters that a body leaves out are vLLM's own defaults, not those of the model's
    `generation_config.json` (`vllm run-batch --generation-config vllm`). A request whose
    `max_tokens` reaches beyond the context is answered up to its end; a server refuses it. With
    `warm=True` the finish reasons are the engine's own; a cold job's follow from the tokens.

    A body that can't be asked (an unknown field, stream=true, n=2, a parameter of a wrong type) is
    known before an engine starts, and is a line with status 400. Raises LabError for a file that
    OpenAI would refuse (`batch_file.read`), for requests that differ from those that were answered
    under the same id, and what `labkit.write` raises.
    """
    spec = spec or configure()
    out = full_path(file_out)
    parts = out.with_name(out.name + ".parts")
    lines = batch_file.read(full_path(file_in))
    model = _model(lines, spec, served_model_name)
    if out.exists() and not parts.exists():
        raise LabError(f"{out} is there already: name another file, or delete it.")
    task = chat_task(spec)
    bad = _bad_bodies(lines, task)
    rows = [{ID: line.custom_id, "body": line.text} for line in lines if line.number not in bad]
    _check_same(rows, parts)
    numbers, computed = None, 0
    if rows:
        out.parent.mkdir(parents=True, exist_ok=True)
        shown: dict[str, Any] = {"verbose": verbose, "progress": progress, "stall_s": stall_s}
        done = write(task, rows, parts, spec, id_column=ID, retry_failed=retry_failed, **shown)
        numbers, computed = done.metrics, done.computed
    # Ray's stages of a cold job drop a finish reason but that of a limit: the row ended by itself.
    ended = None if isinstance(spec, EndpointSpec) else "stop"
    every = _outputs(lines, bad, _answers(parts, ended), model)
    failed = _write(out, every)
    return Batch(out, parts, len(lines), failed, computed, numbers)


@dataclass(frozen=True)
class ChatTask(Task):
    """Each row is a request of its own. read: from a row to its messages and its sampling."""

    read: Callable[[Row], tuple[list[Message], dict[str, Any]]] = lambda row: ([], {})

    def sampling_for(self, row: Row) -> dict[str, Any]:
        """The sampling parameters of the row's own body."""
        return self.read(row)[1]


def chat_task(spec: JobSpec) -> ChatTask:
    """The task whose rows hold the body of a chat completion, as JSON text in `body`."""
    parameter, to_server = parameter_of(spec), isinstance(spec, EndpointSpec)

    def read(row: Row) -> tuple[list[Message], dict[str, Any]]:
        return chat_body.read(json.loads(row["body"]), parameter, to_server=to_server)

    return ChatTask(
        "chat completions",
        lambda row: read(row)[0],
        parse=lambda text, row: text,
        any_text=True,
        read=read,
    )


def _model(lines: list[Line], spec: JobSpec, served_model_name: str | None) -> str:
    """The name of the model that the file asks for. Raises LabError where it is not the spec's."""
    wanted = lines[0].body.get("model")
    names = [spec.model.name, spec.model.source, served_model_name]
    if wanted is None:
        return served_model_name or spec.model.name
    if wanted not in names:
        raise LabError(
            f"The file asks for the model {wanted!r}, and {spec.model.name!r} would answer. If it "
            f"is to, say so: served_model_name={wanted!r} (--served-model-name)."
        )
    return str(wanted)


def _bad_bodies(lines: list[Line], task: ChatTask) -> dict[int, BadBody]:
    """Line number → what is wrong with its body, known before anything is asked."""
    bad = {}
    for line in lines:
        try:
            task.read({"body": line.text})
        except BadBody as problem:
            bad[line.number] = problem
    return bad


def _check_same(rows: list[Row], parts: Path) -> None:
    """Raise LabError where a request was answered under the same id with another body."""
    before = _columns(parts, [ID, "body"])
    if before is None or not rows:
        return
    both = pd.DataFrame(rows).merge(before, on=ID, suffixes=("", "_before"))
    if len(other := both[both["body"] != both["body_before"]]):
        raise LabError(
            f"{len(other):,} requests differ from those that {parts} holds answers to, the first "
            f"with the custom_id {other[ID].iloc[0]!r}. Name another file for the answers, or give "
            "changed requests ids of their own."
        )


def _columns(parts: Path, names: list[str]) -> pd.DataFrame | None:
    """Columns of the parts as they are in the files; None where there are none."""
    files = sorted(parts.glob("part-*.parquet"))
    if not files:
        return None
    tables = [pq.read_table(file, columns=names).to_pandas() for file in files]
    return pd.concat(tables, ignore_index=True)


def _answers(parts: Path, ended: str | None) -> dict[str, Row]:
    """custom_id → the row of its answer. ended: the finish reason of one that has none."""
    found: dict[str, Row] = {}
    for file in sorted(parts.glob("part-*.parquet")):
        table = pq.read_table(file)
        for row in table.drop_columns("body").to_pylist():
            found[row[ID]] = {**row, "finish_reason": row["finish_reason"] or ended}
    return found


def _outputs(
    lines: list[Line], bad: dict[int, BadBody], answers: dict[str, Row], model: str
) -> Iterator[tuple[dict[str, Any], bool]]:
    """(the line of the output, whether it is an answer) of each request."""
    created = int(time.time())
    for line in lines:
        if problem := bad.get(line.number):
            message = f"line {line.number}: {problem}"
            yield batch_file.refusal(line, message, problem.param), False
            continue
        row = answers[line.custom_id]
        if row["error"] is None:
            yield batch_file.answer(line, row, model, created), True
        else:
            yield batch_file.refusal(line, row["error"]), False


def _write(out: Path, every: Iterator[tuple[dict[str, Any], bool]]) -> int:
    """Write the output, whole or not at all; how many lines are no answers."""
    failed = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    new = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with new.open("w", encoding="utf-8") as file:
            for output, is_answer in every:
                failed += not is_answer
                file.write(json.dumps(output) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, out)
    finally:
        new.unlink(missing_ok=True)
    return failed
