"""`labkit sweep`: throughput over rows in flight or batch sizes, measured, and drawn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from labkit.cli.asked import add_options, asked
from labkit.errors import LabError


def add(commands: Any) -> None:
    """The command and its options."""
    sweep = commands.add_parser("sweep", help="measure throughput over batch sizes")
    add_options(sweep, "faq", 64, "rows of a run")
    sweep.add_argument(
        "--in-flight", type=int, nargs="+", metavar="N", help="rows in flight (1 4 16 32 64)"
    )
    sweep.add_argument(
        "--batch-size", type=int, nargs="+", metavar="B", help="with --batches or --at"
    )
    sweep.add_argument("--batches", type=int, nargs="+", metavar="M", help="max_concurrent_batches")
    sweep.add_argument("--at", type=int, help="hold the rows in flight here, vary the batch size")
    sweep.add_argument("--repeats", type=int, default=3)
    sweep.add_argument("--rounds", type=int, help="rows of a run, in multiples of rows in flight")
    sweep.add_argument("--model", help="registry name, Hugging Face id or folder")
    sweep.add_argument("--out", type=Path, help="JSON-lines file; what is in it is not run again")
    sweep.add_argument("--chart", type=Path, help="picture to write, such as build/sweep.png")
    sweep.set_defaults(call=_sweep)


def _sweep(given: argparse.Namespace) -> int:
    import labkit
    from labkit import charts
    from labkit.charts.style import png

    task, rows = asked(given)
    draw: Any = charts.saturation
    points = labkit.in_flight(*(given.in_flight or (1, 4, 16, 32, 64)))
    if given.batch_size and given.at:
        draw, points = charts.batch_sizes, labkit.at_product(given.at, given.batch_size)
    elif given.batch_size:
        draw, points = (
            charts.heat_map,
            labkit.grid(given.batch_size, given.batches or [1]),
        )
    elif given.at or given.batches:
        raise LabError("--at and --batches need --batch-size.")
    spec = labkit.configure(given.model, warm=True)
    try:
        found = labkit.sweep(
            task, rows, points, spec, repeats=given.repeats, rounds=given.rounds, path=given.out
        )
    finally:
        labkit.stop()
    print(found.summary().round(2).to_string(index=False))
    print(f"{found.sentence()}\n{found.caption()}")
    if given.chart:
        given.chart.parent.mkdir(parents=True, exist_ok=True)
        given.chart.write_bytes(png(draw, found))
    failed = int(found.table["failed"].sum())
    if failed:
        print(f"{failed:,} rows failed over all runs: they are in no number above")
    return 1 if failed else 0
