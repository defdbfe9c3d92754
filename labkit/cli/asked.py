"""What `sweep`, `tune` and `plan` ask: a task of the lessons over so many of its rows."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any


def add_options(parser: argparse.ArgumentParser, task: str, rows: int, what: str) -> None:
    """The options --task, --rows and --max-tokens, with these defaults. what: the rows' meaning."""
    parser.add_argument("--task", choices=["faq", "creative", "sentiment"], default=task)
    parser.add_argument("--rows", type=int, default=rows, help=f"{what} (default: {rows})")
    parser.add_argument("--max-tokens", type=int, help="output tokens a row, at most")


def asked(given: argparse.Namespace) -> tuple[Any, Any]:
    """(the task, its rows) of these options; rows in turn, if need be."""
    import labkit
    from labkit import tasks

    tables = {
        "faq": labkit.load_faq,
        "creative": labkit.load_prompts,
        "sentiment": labkit.load_posts,
    }
    task: labkit.Task = getattr(tasks, given.task)()
    rows = tables[given.task]()
    if given.max_tokens:
        rows["max_tokens"] = given.max_tokens
        columns = {**task.sampling_columns, "max_tokens": "max_tokens"}
        task = replace(task, sampling_columns=columns)
    rows = rows.iloc[[n % len(rows) for n in range(given.rows)]].reset_index(drop=True)
    return task, rows
