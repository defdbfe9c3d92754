"""A response: what an engine or a server says to one request; and the answer that is read from it.

Knows no engine: each of them makes tables with the columns of RESPONSE.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labkit.errors import printable, reason
from labkit.metrics import CUT, ROW_COLUMNS
from labkit.tasks import Row, Task

#: The engine's own times of a row (see `metrics.ROW_COLUMNS`).
TIMES = ROW_COLUMNS[:5]
COUNTS = ("num_input_tokens", "num_generated_tokens")
#: Input tokens that the engine's prefix cache had; null where it is not told.
CACHED = "num_cached_tokens"
#: What is known of an answer's times, tokens and end: the columns of `Job.rows`.
ABOUT = (*ROW_COLUMNS, "finish_reason", CACHED)
#: `finish_reason` as in OpenAI's API ("stop", "length"); null where it is not known. `error`: null
#: for a row that was answered. All but `row_id` and `error` are null in one that was not.
RESPONSE = pa.schema(
    [("row_id", pa.int64()), ("text", pa.string()), ("finish_reason", pa.string())]
    + [("error", pa.string())]
    + [(name, pa.float64()) for name in TIMES]
    + [(name, pa.int64()) for name in (*COUNTS, CACHED)]
    + [("batch_uuid", pa.string())]
)
NO_ANSWER = "the engine gave no answer and no reason: its log may have one"
#: The finish reasons that are no end of an answer (vLLM's; "repetition" is one, too).
GIVEN_UP = ("abort", "error")


def table(rows: Sequence[Row]) -> pa.Table:
    """Rows with some of the columns of RESPONSE → a table with all of them."""
    columns = [pa.array([row.get(f.name) for row in rows], f.type) for f in RESPONSE]
    return pa.table(columns, RESPONSE)


def of_engine(
    row_id: int | None,
    error: str | None,
    *,
    text: str | None,
    times: Row | None,
    counts: tuple[int | None, int | None],
    finish_reason: str | None,
    batch_uuid: str | None,
    cached: int | None = None,
) -> Row:
    """One row of `table`, looked at: an answer without sensible times is none, nor is one that the
    engine gave up."""
    if not error and finish_reason in GIVEN_UP:
        error = f"the engine ended it: {finish_reason}"
    if not error and not _sensible(times):
        error = NO_ANSWER
    if error or times is None:
        return {"row_id": row_id, "error": printable(error or NO_ANSWER)}
    known = {"row_id": row_id, "text": text, "finish_reason": finish_reason}
    known |= {CACHED: cached} | {name: times.get(name) for name in TIMES}
    return {**known, **dict(zip(COUNTS, counts, strict=True)), "batch_uuid": batch_uuid}


def _sensible(times: Row | None) -> bool:
    """Whether these are a row's times: there, above 0, one after the other. vLLM has zeros in a row
    that failed inside it. The first token's may be missing."""
    arrived, *steps = ((times or {}).get(name) for name in TIMES)
    queued, scheduled, first, last = steps
    if not all(arrived and at and at > 0 for at in (queued, scheduled, last)):
        return False
    known = [queued, scheduled, *([first] if first else []), last]
    return known == sorted(known)


@dataclass(frozen=True)
class Answered:
    """Responses with the answers read from them.

    table: the columns of RESPONSE; `error` is set where the answer can't be read, too.
    answers: what the task's `parse` made of each text; None in a row with an error.
    rows: the user's rows where they came with the responses, else None.
    """

    table: pa.Table
    answers: list[Any]
    rows: list[Row] | None = None


def answered(task: Task, responses: pa.Table, rows: Sequence[Row], *, aligned: bool) -> Answered:
    """Read the answers. rows: those of the responses if `aligned`, else all, by their `row_id`."""
    own = list(rows) if aligned else [rows[at] for at in responses["row_id"].to_pylist()]
    texts, errors = responses["text"].to_pylist(), responses["error"].to_pylist()
    cut = [finish == CUT for finish in responses["finish_reason"].to_pylist()]
    same = task.sampling if task.same_sampling else None
    answers: list[Any] = [None] * len(own)
    for at, (text, error, row) in enumerate(zip(texts, errors, own, strict=True)):
        if error is None:
            try:
                sampling = task.sampling_for(row) if same is None else same
                errors[at] = _no_answer(task, text or "", sampling, cut[at])
                answers[at] = None if errors[at] else task.parse(text or "", row)
            except Exception as problem:  # the user's own function: any failure is this row's
                errors[at] = f"the answer could not be read: {reason(problem)}"
    at = RESPONSE.get_field_index("error")
    table = responses.select(RESPONSE.names)
    table = table.set_column(at, RESPONSE.field(at), pa.array(errors, pa.string()))
    return Answered(table, answers, own if aligned else None)


def _no_answer(task: Task, text: str, sampling: Mapping[str, Any], cut: bool) -> str | None:
    """Why a text is no answer of this task; None for one that is."""
    if task.any_text:
        return None
    why = " (cut at max_tokens)" if cut else ""
    if not text.strip():
        return None if task.allow_empty else f"the model wrote no text{why}"
    wanted = sampling.get("structured_outputs")
    wanted = wanted if isinstance(wanted, dict) else {}
    choices = wanted.get("choice")
    if choices and text not in choices and text.strip() not in choices:
        return printable(f"the answer {text[:80]!r} is none of the {len(choices)} choices{why}")
    if wanted.get("json") or wanted.get("json_object"):
        try:
            json.loads(text)
        except ValueError as problem:
            return printable(f"the answer {text[:80]!r} is no JSON{why}: {problem}")
    return None
