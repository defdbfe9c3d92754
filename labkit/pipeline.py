"""What happens to a row on its way through Ray Data LLM: packed, asked, answered, unpacked.

The user's columns travel pickled in one column, so no name or type of theirs can clash with Ray's
own (`prompt`, `messages`, `model`, …), and they come back exactly as they went in.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from labkit.metrics import ROW_COLUMNS
from labkit.tasks import Message, Row, Task

ERROR = "__inference_error__"
ENGINE_TIMES = ROW_COLUMNS[:5]


def pack(rows: Sequence[Row], first_id: int = 0) -> pa.Table:
    """Rows → a table with `row_id` (int64) and `row` (pickled bytes)."""
    return pa.table(
        {
            "row_id": pa.array(range(first_id, first_id + len(rows)), pa.int64()),
            "row": pa.array([pickle.dumps(row) for row in rows], pa.binary()),
        }
    )


def question(task: Task, packed: Row) -> tuple[list[Message], dict[str, Any], str]:
    """(messages, sampling parameters, error) of one packed row; the error is '' for a good one.

    A row that can't be asked (no text, a failing `messages` function) becomes an error row: Ray's
    stages pass over rows whose error is set, and the job goes on.
    """
    row = pickle.loads(packed["row"])
    try:
        messages = [dict(message) for message in task.messages(row)]
        return messages, {name: plain(v) for name, v in task.sampling_for(row).items()}, ""
    except Exception as problem:  # the user's own function: any failure is this row's
        names = [*task.sampling, *task.sampling_columns]
        sampling = dict.fromkeys(names) | dict(task.sampling)
        return [{"role": "user", "content": ""}], sampling, reason(problem)


def preprocess(task: Task, *, ray_detokenizes: bool = False) -> Callable[[Row], Row]:
    """The `preprocess` of an engine's processor for this task."""
    extra = {"detokenize": False} if ray_detokenizes else {}

    def ask(packed: Row) -> Row:
        messages, sampling, error = question(task, packed)
        return {"messages": messages, "sampling_params": {**sampling, **extra}, ERROR: error}

    return ask


def plain(value: Any) -> Any:
    """A numpy scalar as a Python number (vLLM checks types); anything else unchanged."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def reason(problem: BaseException) -> str:
    """An exception in one line: its type and message."""
    return f"{type(problem).__name__}: {problem}".strip().splitlines()[0][:500]


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
        finished = [self.finish(row) for row in rows]
        times = {name: [(r.get("metrics") or {}).get(name) for r in rows] for name in ENGINE_TIMES}
        columns = {
            "row_id": pa.array([row["row_id"] for row in rows], pa.int64()),
            "answer": pa.array([pickle.dumps(answer) for answer, _ in finished], pa.binary()),
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
            return None, row[ERROR]
        try:
            return self.task.parse(row["generated_text"], pickle.loads(row["row"])), None
        except Exception as problem:  # the user's own function: any failure is this row's
            return None, f"the answer could not be read: {reason(problem)}"
