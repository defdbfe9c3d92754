"""`labkit plan`: minutes, machine-hours and price of a job before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from labkit.cli.asked import add_options, asked
from labkit.errors import LabError


def add(commands: Any) -> None:
    """The command and its options."""
    plan = commands.add_parser("plan", help="minutes, machine-hours and price before the run")
    add_options(plan, "sentiment", 4200, "rows of the job")
    plan.add_argument("--batch", type=Path, metavar="FILE", help="a batch file instead of a task")
    plan.add_argument("--seconds", type=float, default=60.0, help="to measure for (default: 60)")
    plan.add_argument("--model", help="registry name, Hugging Face id or folder")
    words = "an hour of this machine, such as 0.40; of a recorded one, such as H100=2.50"
    plan.add_argument("--price", nargs="+", default=[], metavar="PRICE", help=words)
    plan.add_argument("--currency", default="", help="of the prices, such as EUR")
    plan.set_defaults(call=_plan)


def _plan(given: argparse.Namespace) -> int:
    """Print the plan."""
    import labkit
    from labkit.api.batch_job import chat_task
    from labkit.rows import batch_file

    prices = dict(map(_price, given.price))
    spec = labkit.configure(given.model, warm=True)
    if given.batch:
        task: Any = chat_task(spec)
        rows: Any = [{"body": line.text} for line in batch_file.read(given.batch)]
    else:
        task, rows = asked(given)
    try:
        print(
            labkit.plan(
                *(task, rows, spec),
                seconds=given.seconds,
                price_per_hour=prices or None,
                currency=given.currency,
            )
        )
    finally:
        labkit.stop()
    return 0


def _price(text: str) -> tuple[str, float]:
    """(machine, price an hour) of an option's value."""
    name, mark, value = text.rpartition("=")
    try:
        return name if mark else "here", float(value)
    except ValueError:
        words = f"--price must be a number such as 0.40, or H100=2.50, not {text!r}."
        raise LabError(words) from None
