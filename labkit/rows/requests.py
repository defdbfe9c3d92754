"""A row and its task → a request: the messages and the sampling parameters, as JSON text.

Requests go out and responses come back, joined by `row_id`, as in a batch file of OpenAI's API
(https://platform.openai.com/docs/guides/batch: `custom_id`). A user's rows stay where they are; no
name or type of theirs can meet one of Ray's (`prompt`, `messages`, `model`). Knows no engine.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import LabError, reason
from labkit.rows import responses
from labkit.tasks import Message, Row, Task

if TYPE_CHECKING:
    import ray.data

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


#: Rows whose requests are made at once: a table costs more than a row.
CHUNK = 256


def make(task: Task, rows: Sequence[Row], parameter: Parameter, first: int = 0) -> pa.Table:
    """The requests of these rows, with the columns of REQUEST; `row_id` counts from `first`.

    A row that can't be asked (no text, a failing `messages` function, a sampling parameter that is
    no number) has its reason in `error`, and a placeholder for what is asked.
    """
    sampling = _same_sampling(task, parameter) if rows else None
    made = [_request(task, row, parameter, sampling) for row in rows]
    places = list(range(first, first + len(rows)))
    columns = [places, *zip(*made, strict=True)] if made else [[]] * 4
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


def check_columns(task: Task, columns: Sequence[str]) -> None:
    """Raise LabError where the data lacks a column that the task says it needs."""
    for name in task.columns:
        if name not in columns:
            close = difflib.get_close_matches(name, map(str, columns), n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise LabError(
                f"The data has no column {name!r}, which the task needs; there are "
                f"{list(columns)}.{hint} A brace in a template that is no column is doubled: {{{{."
            )


def _dropped(name: str, value: Any) -> str:
    """What of an answer would be lost with this sampling parameter; '' for nothing."""
    if name in ("n", "best_of") and value not in (None, 1):
        return f"{value} answers a row ({name}={value}), and a row keeps one."
    wants = value is not None and value is not False  # 0 is a wish, too: the chosen token's own
    if wants and name in ("logprobs", "prompt_logprobs", "top_logprobs"):
        return f"log-probabilities ({name}={value}), and a row keeps its text alone."
    return ""


class Batches:
    """The requests of rows in memory, in batches of `size`, made as they are taken, each once.

    rows: how many there are, those that can't be asked among them. refused: the responses of these,
    as far as they are known; of all of them once all batches are made. size: may be set anew, for
    the batches that were not taken yet.
    """

    def __init__(self, task: Task, rows: Sequence[Row], parameter: Parameter, size: int):
        self.rows, self.size = len(rows), size
        self.refused = responses.table([])
        self._made = make(task, [], parameter)
        self._rest = self._make(task, rows, parameter)

    def first(self) -> pa.Table | None:
        """The batch that will be taken next; None where there is none."""
        while len(self._made) < self.size and (more := next(self._rest, None)) is not None:
            self._made = pa.concat_tables([self._made, more])
        return self._made.slice(0, self.size) if len(self._made) else None

    def left(self) -> pa.Table:
        """Those that are made and not taken yet."""
        return self._made

    def all(self) -> Self:
        """Make all of them now."""
        self._made = pa.concat_tables([self._made, *self._rest])
        return self

    def __iter__(self) -> Iterator[pa.Table]:
        while (batch := self.first()) is not None:
            self._made = self._made.slice(len(batch))
            # A copy: a slice would be sent with all rows of the table that it is a view of.
            yield batch.take(pa.array(range(len(batch)), pa.int64()))

    def _make(self, task: Task, rows: Sequence[Row], parameter: Parameter) -> Iterator[pa.Table]:
        for at in range(0, len(rows), CHUNK):
            made = make(task, rows[at : at + CHUNK], parameter, at)
            bad = pc.is_valid(made["error"])
            if refused := made.filter(bad).select(["row_id", "error"]).to_pylist():
                self.refused = pa.concat_tables([self.refused, responses.table(refused)])
            yield made.filter(pc.invert(bad))


def refused(asked: Batches | ray.data.Dataset) -> pa.Table:
    """The responses of the rows that can't be asked, as far as they are known (of a Dataset they
    come with the others)."""
    return asked.refused if isinstance(asked, Batches) else responses.table([])


def every(asked: Batches | ray.data.Dataset) -> pa.Table:
    """All requests of a job, without taking them."""
    if isinstance(asked, Batches):
        return asked.all().left()
    import ray

    return pa.concat_tables(ray.get(asked.to_arrow_refs()))


def sampling_of(text: str) -> dict[str, Any]:
    """The sampling parameters of a request, from its column `sampling`."""
    sampling: dict[str, Any] = json.loads(text)
    if bias := sampling.get("logit_bias"):  # JSON has text for keys
        sampling["logit_bias"] = {int(token): weight for token, weight in bias.items()}
    return sampling


def read(request: Row) -> tuple[list[Message], dict[str, Any]]:
    """(messages, sampling parameters) of one request."""
    return json.loads(request["messages"]), sampling_of(request["sampling"])


def _same_sampling(task: Task, parameter: Parameter) -> str | None:
    """The sampling parameters as JSON where all rows have the same, and they can be sent."""
    if not task.same_sampling or any(_dropped(*one) for one in task.sampling.items()):
        return None
    try:
        return _json({name: parameter(name, value) for name, value in task.sampling.items()})
    except Exception:  # each row has its reason
        return None


def _request(
    task: Task, row: Row, parameter: Parameter, same_sampling: str | None
) -> tuple[str, str, str | None]:
    """(messages, sampling, error) of one row."""
    try:
        messages = ", ".join([_message(message) for message in task.messages(row)])
        if not messages:
            raise ValueError("there is no message to send")
        if same_sampling is not None:
            return f"[{messages}]", same_sampling, None
        sampling = {name: parameter(name, value) for name, value in task.sampling_for(row).items()}
        if lost := [more for name, value in sampling.items() if (more := _dropped(name, value))]:
            raise ValueError(f"the row asks for {lost[0]}")
        return f"[{messages}]", _json(sampling), None
    except Exception as problem:  # the user's own function: any failure is this row's
        return *PLACEHOLDER, reason(problem)


def _message(message: Any) -> str:
    """One message as JSON text. Raises an error for what no chat template takes."""
    copy = dict(message)
    for name in ("role", "content"):
        if not isinstance(copy.get(name), str):
            kind = type(copy.get(name)).__name__
            raise TypeError(f"the {name!r} of a message must be text, not {kind}")
    if len(copy) > 2:
        return _json(copy)
    # Python makes an encoder anew for each dict, which takes longer than these two texts.
    return f'{{"role": {_json(copy["role"])}, "content": {_json(copy["content"])}}}'


def _json(value: Any) -> str:
    """JSON text. Raises an error for what is none: NaN, half of a surrogate pair, a set."""
    text = _ENCODER.encode(value)
    text.encode()
    return text


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be sent as JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_listed)
