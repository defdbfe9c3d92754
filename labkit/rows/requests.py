"""What happens to a row on its way through Ray Data LLM: packed, asked, answered, unpacked.

The user's columns travel pickled in one column, so no name or type of theirs can clash with Ray's
own (`prompt`, `messages`, `model`, …), and they come back exactly as they went in.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labkit.metrics import ROW_COLUMNS
from labkit.rows import sampling_values as parameters
from labkit.tasks import Message, Row, Task

ERROR = "__inference_error__"
ENGINE_TIMES = ROW_COLUMNS[:5]


@dataclass(frozen=True)
class _Lost:
    """Travels in place of a row that can't."""

    why: str


def dump(value: Any) -> bytes:
    """A value as bytes that every worker and the notebook can read.

    As Ray sends functions: a class of the notebook goes along with its objects.
    """
    from ray import cloudpickle

    data: bytes = cloudpickle.dumps(value)
    return data


def pack(rows: Sequence[Row], first_id: int = 0) -> pa.Table:
    """Rows → a table with `row_id` (int64) and `row` (pickled bytes).

    A row that can't be pickled (it holds an open file, a lock, …) becomes an error row later on.
    """
    return pa.table(
        {
            "row_id": pa.array(range(first_id, first_id + len(rows)), pa.int64()),
            "row": pa.array([_packed(row) for row in rows], pa.binary()),
        }
    )


def _packed(row: Row) -> bytes:
    try:
        return dump(row)
    except Exception as problem:  # whatever the user's own objects raise
        return dump(_Lost(f"the row can't be sent to a worker: {reason(problem)}"))


def unpack(data: bytes) -> Row:
    """A row of `pack`. Raises ValueError for one that could not be packed."""
    row: Row | _Lost = pickle.loads(data)
    if isinstance(row, _Lost):
        raise ValueError(row.why)
    return row


def question(
    task: Task, packed: Row, parameter: Callable[[str, Any], Any] = parameters.number
) -> tuple[list[Message], dict[str, Any], str]:
    """(messages, sampling parameters, error) of one packed row; the error is '' for a good one.

    parameter: from a name and a value to what is sent; a ValueError makes an error row.

    A row that can't be asked (no text, a failing `messages` function, a sampling parameter that is
    no number) becomes an error row: Ray's stages pass over rows whose error is set, and the job
    goes on.
    """
    try:
        row = unpack(packed["row"])
        messages = [_message(message) for message in task.messages(row)]
        if not messages:
            raise ValueError("there is no message to send")
        return messages, {n: parameter(n, v) for n, v in task.sampling_for(row).items()}, ""
    except Exception as problem:  # the user's own function: any failure is this row's
        names = [*task.sampling, *task.sampling_columns]
        sampling = dict.fromkeys(names) | dict(task.sampling)
        return [{"role": "user", "content": ""}], sampling, reason(problem)


def _message(message: Any) -> Message:
    """A copy of one message. Raises an error for what no chat template or Arrow column takes."""
    found = dict(message)
    for name in ("role", "content"):
        if not isinstance(found.get(name), str):
            kind = type(found.get(name)).__name__
            raise TypeError(f"the {name!r} of a message must be text, not {kind}")
    for value in found.values():
        if isinstance(value, str):
            value.encode()  # half of a surrogate pair is no Unicode text
    return found


def preprocess(task: Task, *, ray_detokenizes: bool = False) -> Callable[[Row], Row]:
    """The `preprocess` of an engine's processor for this task."""
    extra: dict[str, Any] = {"output_kind": parameters.FinalOnly()}
    if ray_detokenizes:
        extra["detokenize"] = False

    def ask(packed: Row) -> Row:
        messages, sampling, error = question(task, packed, parameters.for_vllm)
        sampled = parameters.Parameters({**sampling, **extra})
        return {"messages": messages, "sampling_params": sampled, ERROR: error}

    return ask


def reason(problem: BaseException) -> str:
    """An exception in one line that Arrow can hold: its type and message."""
    try:
        words = str(problem)
    except Exception:  # an exception of the user's own, whose text fails in its turn
        words = ""
    return unicode(f"{type(problem).__name__}: {words}".strip().splitlines()[0][:500])


def unicode(text: str) -> str:
    """The same text; halves of surrogate pairs, which no file could hold, are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


class Finish:
    """The last stage: reads the answer, keeps the row's times and drops the rest.

    An actor of its own that starts beside the engine: as a plain task it would start when the
    first answers come and take the CPU from the engine (measured: half the throughput on 2 cores).
    """

    def __init__(self, task: Task, with_row: bool):
        self.task = task
        self.with_row = with_row

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.table(batch.to_pylist())

    def table(self, rows: list[Row]) -> pa.Table:
        """The finished rows, with the columns of `metrics.ROW_COLUMNS` and their answers."""
        finished = [_sendable(*self.finish(row)) for row in rows]
        times = {name: [(r.get("metrics") or {}).get(name) for r in rows] for name in ENGINE_TIMES}
        columns = {
            "row_id": pa.array([row["row_id"] for row in rows], pa.int64()),
            "answer": pa.array([answer for answer, _ in finished], pa.binary()),
            "error": pa.array([error for _, error in finished], pa.string()),
            **{name: pa.array(values, pa.float64()) for name, values in times.items()},
            "num_input_tokens": pa.array([r.get("num_input_tokens") for r in rows], pa.int64()),
            "num_generated_tokens": pa.array(
                [r.get("num_generated_tokens") for r in rows], pa.int64()
            ),
            "batch_uuid": pa.array([r.get("batch_uuid") for r in rows], pa.string()),
        }
        if self.with_row:
            columns["row"] = pa.array([row["row"] for row in rows], pa.binary())
        return pa.table(columns)

    def joined(self, batch: tuple[list[Row], list[Row]]) -> pa.Table:
        """The finished rows of (packed rows, what the engine said of each)."""
        return self.table([{**row, **said} for row, said in zip(*batch, strict=True)])

    def finish(self, row: Row) -> tuple[Any, str | None]:
        """(answer, error) of one row that came out of the engine."""
        if row.get(ERROR):
            return None, unicode(row[ERROR])
        try:
            return self.task.parse(row["generated_text"], unpack(row["row"])), None
        except Exception as problem:  # the user's own function: any failure is this row's
            return None, f"the answer could not be read: {reason(problem)}"


def _sendable(answer: Any, error: str | None) -> tuple[bytes, str | None]:
    """(the pickled answer, error): tried here, as what can't be read back would end the job."""
    try:
        data = dump(answer)
        pickle.loads(data)
        return data, error
    except Exception as problem:  # whatever the user's own objects raise
        return dump(None), f"the answer can't be sent back: {reason(problem)}"
