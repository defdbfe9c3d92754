"""What a learner sends, looked at: nothing of it is run, and what no lesson asks for is refused."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from labkit.errors import LabError
from labkit.rows import wire
from labkit.rows.requests import REQUEST
from labkit.rows.sampling_values import KINDS, LISTS, for_vllm
from labkit.settings.setting import NEED_NO_RELOAD, check_counts

#: Sampling parameters that a class takes: those that only say how an answer is drawn, and its end.
NOT_TAKEN = {"n", "logprobs", "prompt_logprobs", "flat_logprobs", "logprob_token_ids"}
NOT_TAKEN |= {"skip_clone", "stream_interval", "output_text_buffer_length", "detokenize"}
NOT_TAKEN |= {"routed_experts_prompt_start", "trace_decode_token_ids", "thinking_token_budget"}
TAKEN = ({*KINDS, *LISTS} - NOT_TAKEN) | {"logit_bias", "structured_outputs"}
#: Forms of an answer that it takes: a pattern can take longer to read than a turn.
FORMS = {"choice", "json", "json_object"}
ROLES = {"system", "user", "assistant"}
#: Rows in flight at most, and characters of a turn's name and of a job's.
MOST_IN_FLIGHT, NAME = 4096, 64


def looked_at(body: bytes) -> tuple[str, pa.Table, dict[str, int]]:
    """(the turn's name, the requests, the knobs) of a job that was sent.

    Raises LabError for anything that is no job of the lab's own form.
    """
    sent = wire.loads(body)
    if not isinstance(sent, dict) or set(sent) != {"turn", "requests", "knobs"}:
        raise LabError("A job has a turn, requests and knobs.")
    turn, knobs = sent["turn"], sent["knobs"]
    if not isinstance(turn, str) or not is_name(turn):
        raise LabError("A turn's name has letters and digits.")
    if not isinstance(knobs, dict) or set(knobs) != set(NEED_NO_RELOAD):
        raise LabError(f"The knobs of a job are {', '.join(NEED_NO_RELOAD)}.")
    check_counts(knobs)
    if any(value is None or value > MOST_IN_FLIGHT for value in knobs.values()):
        raise LabError(f"The knobs of a job are whole numbers up to {MOST_IN_FLIGHT:,}.")
    table = wire.from_columns(sent["requests"], REQUEST)
    _check(table)
    return turn, table, knobs


def is_name(text: str) -> bool:
    """Whether a text can name a job or a turn."""
    return text.isascii() and text.isalnum() and len(text) <= NAME


def _check(table: pa.Table) -> None:
    places = table["row_id"].to_pylist()
    if not places:
        raise LabError("There are no rows to run.")
    if None in places or len(set(places)) < len(places) or table["error"].null_count < len(table):
        raise LabError("Each request has a place of its own, and no error.")
    for text in set(table["sampling"].to_pylist()):
        _check_sampling(_read(text, "sampling parameters"))
    for text in table["messages"].to_pylist():
        messages = _read(text, "messages")
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise LabError("Messages are a list of roles (system, user, assistant) and texts.")


def _read(text: Any, what: str) -> Any:
    if not isinstance(text, str):
        raise LabError(f"A request has its {what}.")
    return wire.loads(text.encode("utf-8", "replace"))


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and set(message) == {"role", "content"}
        and message["role"] in ROLES
        and isinstance(message["content"], str)
    )


def _check_sampling(sampling: Any) -> None:
    if not isinstance(sampling, dict):
        raise LabError("Sampling parameters are a dict.")
    if other := set(sampling) - TAKEN:
        raise LabError(f"A class takes no sampling parameter {sorted(other)[0]!r:.40}.")
    for name, value in sampling.items():
        try:
            for_vllm(name, value)
        except (ValueError, TypeError, RecursionError) as problem:
            raise LabError(str(problem)[:200]) from problem
    form = sampling.get("structured_outputs")
    if form is not None and (not isinstance(form, dict) or set(form) - FORMS):
        raise LabError(f"A class takes answers in the forms {', '.join(sorted(FORMS))}.")
    if form and len(json.dumps(form)) > 65536:
        raise LabError("The form of an answer is too large for a class.")
