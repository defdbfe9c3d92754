"""A task from a template: any columns, choices, a schema, examples. What `labkit run` asks with."""

from __future__ import annotations

import functools
import json
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labkit.errors import LabError, lab_errors
from labkit.tasks.task import Message, Row, Task, user_text

#: Output tokens at most, where nothing is said: of a text, and of a JSON object.
MAX_TOKENS, MAX_TOKENS_JSON = 256, 512
#: The column of an example that holds its answer.
ANSWER = "answer"


class Template:
    """Text with `{column}` in it, any columns and any number; `{{` and `}}` are braces.

    Raises LabError for a brace that names no column (`{}`, `{a`, `{a:>5}`).
    """

    def __init__(self, text: str):
        self.text = text
        try:
            self.parts = list(string.Formatter().parse(text))
        except (ValueError, TypeError) as problem:
            raise self._wrong(str(problem)) from None
        for _, name, form, conversion in self.parts:
            if name is not None and (not name or form or conversion):
                marks = (
                    f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
                )
                raise self._wrong(f"{{{marks}}} names no column")
        self.columns = list(dict.fromkeys(name for _, name, *_ in self.parts if name))

    def _wrong(self, why: str) -> LabError:
        return LabError(
            f"The template {self.text!r} can't be filled in: {why}. It may hold columns, such as "
            "{text}; any other brace must be doubled, as {{ and }}."
        )

    def fill(self, row: Row) -> str:
        """The text for a row. Raises ValueError for a column that is missing or blank in it."""
        return "".join(
            before + (shown(row, name) if name else "") for before, name, *_ in self.parts
        )


def shown(row: Row, column: str) -> str:
    """A value as it stands in a prompt: text as it is, lists and dicts as JSON. Raises ValueError
    where it is missing or blank."""
    value = row.get(column)
    if value is None or isinstance(value, str) or (isinstance(value, float) and math.isnan(value)):
        return user_text(row, column)
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


@lab_errors("The task could not be made")
def prompt(
    template: str | None = None,
    *,
    system: str | None = None,
    messages: str | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    choices: Sequence[str] = (),
    schema: Any = None,
    max_tokens: int | None = None,
    sampling: Mapping[str, Any] | None = None,
    sampling_columns: Mapping[str, str] | None = None,
    name: str = "prompt",
) -> Task:
    """A task that fills a template with each row's columns.

    template: the user's turn, such as "Classify this post: {text}"; any columns, each of which must
    have a value in a row that is to be asked. messages: instead of a template, the column that
    holds a row's messages: a list of {"role", "content"}, or JSON text of one.
    system: the system message, before these.
    examples: rows shown first, with the template's columns and the right answer in `answer`.
    choices: the answers there are; structured output leaves the model no other, and an answer that
    is none of them is an error row.
    schema: a JSON schema (a dict) or a pydantic model: each answer is a dict that fits it, and the
    types of the files come from it. Choices and schemas are told in the system message, too, unless
    the prompt names all choices itself: a model must know what it may say.
    max_tokens: output tokens a row, at most: by default what the longest choice may take, 512 with
    a schema, else 256. sampling: vLLM's other parameters; temperature is 0 unless given.
    sampling_columns: from a parameter to the column that holds a row's own value.

    Raises LabError for what can't work, before anything starts.
    """
    if (template is None) == (messages is None):
        raise LabError("Give a template, or messages= with the column that holds the messages.")
    if choices and schema is not None:
        raise LabError("Give choices or a schema, not both: a choice is text, a schema's is JSON.")
    if max_tokens is not None and max_tokens < 1:
        raise LabError(f"max_tokens must be at least 1, not {max_tokens}.")
    form, told, parse, declared = _form(choices, schema)
    filled = Template(template) if template is not None else None
    if filled is not None and not filled.columns:
        raise LabError(
            f"The template {template!r} names no column: every row would be asked the same. Put "
            "one in braces, such as {text}."
        )
    if examples and filled is None:
        raise LabError("Examples need a template: with messages, put them among the messages.")
    words = f"{template} {system}"
    if choices and all(re.search(rf"(?<!\w){re.escape(c)}(?!\w)", words) for c in choices):
        told = ""
    before: list[Message] = []
    if first := "\n\n".join(filter(None, (system, told))):
        before.append({"role": "system", "content": first})
    for number, example in enumerate(examples):
        before += _example(filled, dict(example), number, choices, parse)

    def asked(row: Row) -> list[Message]:
        if filled is not None:
            return [*before, {"role": "user", "content": filled.fill(row)}]
        return _after(before, _listed(row, messages or ""))

    default = MAX_TOKENS_JSON if schema is not None else MAX_TOKENS
    if choices:  # a token holds a byte at least, and one ends the answer
        default = 1 + max(15, *(len(choice.encode()) for choice in choices))
    columns = dict(sampling_columns or {})
    settings = {"max_tokens": max_tokens or default, "temperature": 0.0, **form, **(sampling or {})}
    settings = {name: value for name, value in settings.items() if name not in columns}
    needed = [*(filled.columns if filled else [messages or ""]), *columns.values()]
    return Task(
        name,
        asked,
        settings,
        columns,
        parse or (lambda text, row: text.strip()),
        columns=tuple(dict.fromkeys(needed)),
        answer_schema=declared,
    )


Parse = Callable[[str, Row], Any]


def _form(
    choices: Sequence[str], schema: Any
) -> tuple[dict[str, Any], str, Parse | None, dict[str, Any] | None]:
    """(what structured output is asked for, what the model is told of it, how an answer is read,
    the JSON schema). Raises LabError for what is no choice and no schema."""
    if choices:
        if isinstance(choices, str) or not all(isinstance(c, str) and c.strip() for c in choices):
            raise LabError(f"choices must be a list of words, not {choices!r}.")
        if len(set(choices)) < len(choices):
            raise LabError(f"A choice is there twice: {list(choices)}.")
        told = f"Answer with one of these, and nothing else: {', '.join(choices)}."
        return {"structured_outputs": {"choice": list(choices)}}, told, None, None
    if schema is None:
        return {}, "", None, None
    model = schema if hasattr(schema, "model_json_schema") else None
    declared: Any = model.model_json_schema() if model is not None else schema
    if not isinstance(declared, Mapping) or declared.get("type") != "object":
        raise LabError(
            "schema must be a JSON schema of an object, such as {'type': 'object', 'properties': "
            "{'name': {'type': 'string'}}}, or a pydantic model (the class)."
        )
    text = _checked(declared)
    told = f"Answer with a JSON object that fits this JSON schema, and nothing else: {text}"

    def parse(answer: str, row: Row) -> Any:
        found = json.loads(answer)
        for problem in _validator(text).iter_errors(found):
            raise ValueError(f"{problem.json_path}: {problem.message[:200]}")
        return found if model is None else model.model_validate(found).model_dump(mode="json")

    return {"structured_outputs": {"json": dict(declared)}}, told, parse, dict(declared)


@functools.lru_cache(maxsize=8)
def _validator(schema: str) -> Any:
    """What tells whether an answer fits a schema, given as text: made once in each process."""
    import jsonschema

    loaded = json.loads(schema)
    return jsonschema.validators.validator_for(loaded)(loaded)


def _checked(schema: Mapping[str, Any]) -> str:
    """A JSON schema as text. Raises LabError for what is none."""
    import jsonschema

    try:
        text = json.dumps(schema, ensure_ascii=False)
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except (TypeError, ValueError, jsonschema.SchemaError) as problem:
        raise LabError(f"This is no JSON schema: {str(problem).splitlines()[0]}.") from None
    return text


def _example(
    template: Template | None,
    example: Row,
    number: int,
    choices: Sequence[str],
    parse: Parse | None,
) -> list[Message]:
    """An example as two turns. Raises LabError for one that is no good."""
    assert template is not None
    try:
        asked, answer = template.fill(example), shown(example, ANSWER)
        if choices and answer not in choices:
            raise ValueError(f"its answer {answer!r} is none of the choices")
        if parse is not None:
            parse(answer, example)
    except (ValueError, TypeError) as problem:
        raise LabError(
            f"Example {number + 1} is of no use: {problem}. It needs the template's columns "
            f"({', '.join(template.columns)}) and the right answer in {ANSWER!r}."
        ) from None
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _listed(row: Row, column: str) -> list[Message]:
    """The messages that a row holds. Raises ValueError for none."""
    value: Any = row.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"column {column!r} holds no JSON list of messages") from None
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list) or not value or not all(isinstance(m, dict) for m in value):
        raise ValueError(f"column {column!r} holds no list of messages")
    # Parquet gives each message all keys of all: null for those that it has not.
    return [{key: part for key, part in message.items() if part is not None} for message in value]


def _after(before: list[Message], own: list[Message]) -> list[Message]:
    """The row's messages behind the system message; behind the row's own one, if it has one."""
    if not before or own[0].get("role") != "system":
        return [*before, *own]
    both = f"{own[0]['content']}\n\n{before[0]['content']}"
    return [{"role": "system", "content": both}, *own[1:]]
