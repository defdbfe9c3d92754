"""A row and its task → a request: the messages and the sampling parameters, as JSON text.

Requests go out and responses come back, joined by `row_id`, as in a batch file of OpenAI's API
(https://platform.openai.com/docs/guides/batch: `custom_id`). A user's rows stay where they are; no
name or type of theirs can meet one of Ray's (`prompt`, `messages`, `model`). Knows no engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import LabError, reason
from labkit.rows import responses
from labkit.tasks import Message, Row, Task

#: `row_id`: the place of the row in the user's data; null where rows are streamed: then they come
#: back in order, and in a column `row`. `error`: why the row can't be asked; null for a good one.
REQUEST = pa.schema(
    [("row_id", pa.int64()), ("messages", pa.string()), ("sampling", pa.string())]
    + [("error", pa.string())]
)
#: What stands in a row that can't be asked, where it can't be left out: cheap, and its answer is
#: not looked at.
PLACEHOLDER = ('[{"role": "user", "content": "-"}]', '{"max_tokens": 1}')
#: From the name and the value of a sampling parameter to what is sent; ValueError for a wrong one.
Parameter = Callable[[str, Any], Any]


def make(task: Task, rows: Sequence[Row], parameter: Parameter) -> pa.Table:
    """The requests of these rows, with the columns of REQUEST.

    A row that can't be asked (no text, a failing `messages` function, a sampling parameter that is
    no number) has its reason in `error`, and a placeholder for what is asked.
    """
    made = [_request(task, row, parameter) for row in rows]
    columns = [list(range(len(rows))), *zip(*made, strict=True)] if made else [[]] * 4
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, REQUEST, strict=True)], REQUEST)


def check_task(task: Any) -> None:
    """Raise LabError for what is no task, and for one that asks for more than one answer a row, or
    for what no answer holds: it would be computed, paid for and dropped."""
    if not isinstance(task, Task):
        raise LabError(
            f"Give a labkit.Task, such as labkit.tasks.faq() makes, not {type(task).__name__}."
        )
    for name, value in task.sampling.items():
        if more := _dropped(name, value):
            raise LabError(f"The task {task.name!r} asks for {more} Leave {name!r} out.")


def _dropped(name: str, value: Any) -> str:
    """What of an answer would be lost with this sampling parameter; '' for nothing."""
    if name in ("n", "best_of") and value not in (None, 1):
        return f"{value} answers a row ({name}={value}), and a row keeps one."
    wants = value is not None and value is not False  # 0 is a wish, too: the chosen token's own
    if wants and name in ("logprobs", "prompt_logprobs", "top_logprobs"):
        return f"log-probabilities ({name}={value}), and a row keeps its text alone."
    return ""


def split(requests: pa.Table, batch_size: int) -> tuple[list[pa.Table], pa.Table]:
    """(the batches to ask, the responses of the rows that can't be asked)."""
    bad = pc.is_valid(requests["error"])
    good = requests.filter(pc.invert(bad))
    every = pa.array(range(good.num_rows))
    # Copies: a slice would be sent with all rows of the table that it is a view of.
    batches = [good.take(every[at : at + batch_size]) for at in range(0, len(good), batch_size)]
    refused = requests.filter(bad).select(["row_id", "error"]).to_pylist()
    return batches, responses.table(refused)


def sampling_of(text: str) -> dict[str, Any]:
    """The sampling parameters of a request, from its column `sampling`."""
    sampling: dict[str, Any] = json.loads(text)
    if bias := sampling.get("logit_bias"):  # JSON has text for keys
        sampling["logit_bias"] = {int(token): weight for token, weight in bias.items()}
    return sampling


def read(request: Row) -> tuple[list[Message], dict[str, Any]]:
    """(messages, sampling parameters) of one request."""
    return json.loads(request["messages"]), sampling_of(request["sampling"])


def _request(task: Task, row: Row, parameter: Parameter) -> tuple[str, str, str | None]:
    """(messages, sampling, error) of one row."""
    try:
        messages = [_message(message) for message in task.messages(row)]
        if not messages:
            raise ValueError("there is no message to send")
        sampling = {name: parameter(name, value) for name, value in task.sampling_for(row).items()}
        if lost := [more for name, value in sampling.items() if (more := _dropped(name, value))]:
            raise ValueError(f"the row asks for {lost[0]}")
        return _json(messages), _json(sampling), None
    except Exception as problem:  # the user's own function: any failure is this row's
        return *PLACEHOLDER, reason(problem)


def _message(message: Any) -> Message:
    """A copy of one message. Raises an error for what no chat template takes."""
    copy = dict(message)
    for name in ("role", "content"):
        if not isinstance(copy.get(name), str):
            kind = type(copy.get(name)).__name__
            raise TypeError(f"the {name!r} of a message must be text, not {kind}")
    return copy


def _json(value: Any) -> str:
    """JSON text. Raises an error for what is none: NaN, half of a surrogate pair, a set."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_listed)
    text.encode()
    return text


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be sent as JSON")
