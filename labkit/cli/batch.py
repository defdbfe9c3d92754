"""`labkit batch`: a batch file of OpenAI's form in, a file of answers out."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from labkit.errors import LabError


def add(commands: Any) -> None:
    """The command and its options."""
    batch = commands.add_parser("batch", help="answer a batch file of OpenAI's form (JSON lines)")
    batch.add_argument("requests", type=Path, help="requests: custom_id, method, url, body a line")
    batch.add_argument("--out", type=Path, required=True, help="file to write; resumed")
    add_engine(batch)
    batch.add_argument("--served-model-name", help="the file's name for the model that answers")
    batch.add_argument("--retry-failed", action="store_true", help="ask failed requests again")
    batch.set_defaults(call=_batch)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who answers."""
    parser.add_argument("--model", help="registry name, Hugging Face id or folder")
    parser.add_argument("--endpoint", metavar="URL", help="a server instead of an engine")
    parser.add_argument("--key", metavar="VARIABLE", help="environment variable with its key")


def _batch(given: argparse.Namespace) -> int:
    """Answer the file; 1 where a request has no answer."""
    import labkit

    try:
        done = labkit.run_batch(
            given.requests,
            given.out,
            spec_of(given, given.requests),
            served_model_name=given.served_model_name,
            retry_failed=given.retry_failed,
        )
    finally:
        labkit.stop()
    print(
        f"{done.rows:,} requests in {done.path}: {done.computed:,} computed, {done.failed} failed"
    )
    if done.parts.exists():
        print(f"{done.parts} is what a second call goes on from; delete it when none is to come")
    return 1 if done.failed else 0


def spec_of(given: argparse.Namespace, requests: Path | None = None) -> Any:
    """The specification of the options of `add_engine`. requests: a batch file, whose model is
    asked of a server where no other is named."""
    import labkit
    from labkit.rows import batch_file

    if not given.endpoint:
        if given.key:
            raise LabError("--key is the key of an --endpoint.")
        return labkit.configure(given.model, warm=True)
    key = os.environ.get(given.key) if given.key else None
    if given.key and not key:
        raise LabError(f"The environment variable {given.key} holds no key.")
    model = given.model
    if not model and requests:
        model = batch_file.read(requests)[0].body.get("model")
    if not model:
        raise LabError("Name the server's model: --model.")
    return labkit.endpoint(given.endpoint, model, api_key=key)
