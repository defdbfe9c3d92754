"""What `labkit run` asks and who answers, by its options: a task and a specification."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from labkit.errors import LabError


def task_of(given: argparse.Namespace) -> Any:
    """The task of `--prompt` and its like."""
    import labkit
    from labkit.rows import user_files

    examples = user_files.opened(given.few_shot) if given.few_shot else None
    sampling, columns = _values(given.sampling), {}
    for name, value in list(sampling.items()):
        if isinstance(value, str) and value[:1] + value[-1:] == "{}":
            columns[name] = sampling.pop(name) and value[1:-1]
    if given.prompt is None and given.messages is None:
        raise LabError('Say what is to be asked: --prompt "…{column}…", or --messages COLUMN.')
    return labkit.prompt(
        given.prompt,
        system=given.system,
        messages=given.messages,
        examples=[row for table in examples.tables() for row in table.to_pylist()]
        if examples
        else (),
        choices=_choices(given.choices),
        schema=_schema(given.schema),
        max_tokens=given.max_tokens,
        sampling=sampling,
        sampling_columns=columns,
    )


def _choices(text: str | None) -> list[str]:
    if text is None:
        return []
    found: Any = [choice.strip() for choice in text.split(",") if choice.strip()]
    if text.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(text)
        except ValueError as problem:
            raise LabError(f"--choices {text!r} is no JSON list: {problem}.") from None
    if not found or not isinstance(found, list):
        raise LabError(f"--choices {text!r} names none: give a,b,c (or a JSON list).")
    return found


def _schema(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as problem:
        raise LabError(f"--schema {path} can't be read as JSON: {problem}.") from None


def _values(pairs: list[str]) -> dict[str, Any]:
    """`name=value` pairs; a value is JSON where it can be read so, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equal, value = pair.partition("=")
        if not equal or not name.strip():
            raise LabError(f"{pair!r} is no NAME=VALUE, such as temperature=0.7.")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def spec_of(given: argparse.Namespace) -> Any:
    """Who answers: a server, or engines of the job's own."""
    import labkit

    if given.endpoint:
        if not given.model:
            raise LabError("--endpoint needs --model: the name by which the server knows it.")
        key = os.environ.get(given.api_key_env) if given.api_key_env else None
        if given.api_key_env and not key:
            raise LabError(f"The variable {given.api_key_env}, which holds the key, is not set.")
        rename = {pair.partition("=")[0]: pair.partition("=")[2] or None for pair in given.rename}
        return labkit.endpoint(
            given.endpoint,
            given.model,
            api_key=key,
            rows_in_flight=16 if given.in_flight is None else given.in_flight,
            batch_size=given.batch_size,
            rename=rename,
        )
    if given.api_key_env or given.rename or given.in_flight is not None:
        raise LabError("--api-key-env, --rename and --in-flight go with --endpoint.")
    return labkit.configure(
        given.model,
        batch_size=given.batch_size,
        max_concurrent_batches=given.max_concurrent_batches,
        replicas=given.replicas,
        tensor_parallel=given.tensor_parallel,
        engine=_values(given.engine),
    )
