"""A batch file of OpenAI's API: a request a line, joined to its answer by `custom_id`.

The form is that of OpenAI's reference (https://platform.openai.com/docs/api-reference/batch) and of
`vllm run-batch`: `custom_id`, `method`, `url`, `body` in; `id`, `custom_id`, `response`, `error`
out. As at OpenAI, what is wrong with the file refuses the file, before anything is computed; what
is wrong with one body is that line's own error. Knows no engine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.tasks import Row

URL = "/v1/chat/completions"
#: So many of a file's problems are told one by one.
TOLD = 10
#: Errors of an engine that are about the request, not about the engine.
_ROWS_OWN = re.compile(r"ValueError|ValidationError|the chat template:")
_HTTP = re.compile(r"HTTP (\d{3}):")


@dataclass(frozen=True)
class Line:
    """A request: its line in the file (from 1), and what was asked."""

    number: int
    custom_id: str
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The body as JSON, the same for the same body."""
        return json.dumps(self.body, sort_keys=True)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line. code: OpenAI's word for it."""

    number: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"line {self.number} ({self.code}): {self.message}"


def read(path: str | Path) -> list[Line]:
    """The requests of a file, in its order; blank lines are passed over.

    Raises LabError, with all lines at fault, where OpenAI refuses a file: a line that is no JSON or
    not of the form, no `custom_id` or one that was there before, another method or url, requests to
    several models, no request at all.
    """
    lines: list[Line] = []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for number, raw in _raw_lines(Path(path)):
        try:
            line = _line(number, raw)
            if line.custom_id in first:
                raise _Bad("duplicate_custom_id", _twice(line.custom_id, first))
        except _Bad as bad:
            problems.append(Problem(number, *bad.args))
            continue
        first[line.custom_id] = number
        lines.append(line)
    problems += _other_models(lines)
    if not lines and not problems:
        problems = [Problem(1, "empty_file", "there is no request in it")]
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems[:TOLD])
        more = f"\n  and {len(problems) - TOLD:,} more" if len(problems) > TOLD else ""
        raise LabError(
            f"{path} is no batch file: {len(problems):,} of its lines can't be used, and nothing "
            f"was computed.\n{told}{more}\nMend or remove these lines."
        )
    return lines


class _Bad(Exception):
    """(code, message) of a line that refuses the file."""


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:  # JSON's own text may hold other line ends than \n
            for number, raw in enumerate(file, 1):
                raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                if raw.strip():
                    yield number, raw
    except OSError as problem:
        raise LabError(f"{path} can't be read: {problem.strerror}.") from problem


def _line(number: int, raw: bytes) -> Line:
    try:
        found = json.loads(raw.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as problem:
        raise _Bad("invalid_json_line", f"it is no JSON ({problem})") from None
    if not isinstance(found, dict):
        raise _Bad("invalid_json_line", "it is no JSON object")
    name = found.get("custom_id")
    if not isinstance(name, str) or not name:
        raise _Bad("missing_required_parameter", "custom_id must be a text of its own")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _Bad("invalid_custom_id", "custom_id holds half of a surrogate pair") from None
    if found.get("method") != "POST":
        raise _Bad("invalid_method", f"method must be 'POST', not {found.get('method')!r:.40}")
    if found.get("url") != URL:
        raise _Bad("url_mismatch", f"url must be {URL!r}, not {found.get('url')!r:.60}")
    if not isinstance(found.get("body"), dict):
        raise _Bad("missing_required_parameter", "body must be an object")
    return Line(number, name, found["body"])


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _twice(custom_id: str, first: dict[str, int]) -> str:
    return f"custom_id {custom_id!r:.60} is that of line {first[custom_id]}"


def _other_models(lines: list[Line]) -> list[Problem]:
    """Lines that ask another model than the first line does."""
    wanted = lines[0].body.get("model") if lines else None
    return [
        Problem(line.number, "model_mismatch", f"the model is {model!r:.60}, not {wanted!r:.60}")
        for line in lines
        if (model := line.body.get("model")) != wanted
    ]


def answer(line: Line, row: Row, model: str, created: int) -> dict[str, Any]:
    """The line of an answer: a chat completion. row: `answer` (its text), `finish_reason`,
    `num_input_tokens`, `num_generated_tokens` (None: not known). created: Unix seconds."""
    tokens = {"prompt_tokens": row["num_input_tokens"]}
    tokens["completion_tokens"] = row["num_generated_tokens"]
    known = None not in tokens.values()
    tokens["total_tokens"] = sum(tokens.values()) if known else None
    message = {"role": "assistant", "content": row["answer"] or "", "refusal": None}
    body = {
        "id": f"chatcmpl-{_name(line)}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": row["finish_reason"],
            }
        ],
        "usage": tokens if known else None,
    }
    return _output(line, 200, body, None)


def refusal(line: Line, message: str, param: str | None = None) -> dict[str, Any]:
    """The line of a request that was not answered. OpenAI has the reason in the body, vLLM in
    `error`: it stands in both, so that either reader sees it."""
    status = _status(message) if param is None else 400
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": kind}
    return _output(line, status, {"error": error}, {"code": kind, "message": message})


def _status(message: str) -> int:
    """The HTTP status of an engine's or a server's error."""
    if said := _HTTP.search(message):
        return int(said[1])
    return 400 if _ROWS_OWN.search(message) else 500


def _output(line: Line, status: int, body: dict[str, Any], error: Any) -> dict[str, Any]:
    name = _name(line)
    response = {"status_code": status, "request_id": f"labkit-batch-{name}", "body": body}
    return {
        "id": f"labkit-{name}",
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }


def _name(line: Line) -> str:
    """A name that is the same whenever the same request is asked."""
    return hashlib.sha256(f"{line.custom_id} {line.text}".encode()).hexdigest()[:32]
