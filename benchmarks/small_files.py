"""What it is worth that the program reads small files itself: a warm engine answers one Parquet
file, read here and streamed, in turn.

    python -m benchmarks.small_files [--rows 300 20000] [--rounds 3]

A tiny model with random weights writes one token for each row, so that all but the engine counts.
Printed for each number of rows: the seconds of both ways, and the ratio of their medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

import labkit
from labkit.rows import user_files
from labkit.tasks import faq
from labkit.weights.catalogue import get
from labkit.weights.tiny import tiny_model

HERE, STREAMED = "read here", "streamed"
#: What `user_files` calls small, in bytes, for each way.
BYTES = {HERE: user_files.BYTES_HERE, STREAMED: 0}


def main() -> None:
    """Measure both ways in turn and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 20_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    task = replace(faq(max_tokens=1), allow_empty=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        spec = labkit.configure(get(str(tiny_model(home / "tiny"))), warm=True)
        labkit.run(task, [{"question": "the engine starts"}], spec, progress=False)
        for rows in given.rows:
            file = home / f"{rows}.parquet"
            texts = [f"What is {number} + {number}?" for number in range(rows)]
            pd.DataFrame({"id": range(rows), "question": texts}).to_parquet(file, index=False)
            seconds: dict[str, list[float]] = {way: [] for way in BYTES}
            for number in range(given.rounds):
                for way, user_files.BYTES_HERE in BYTES.items():
                    out, began = home / f"{rows}-{number}-{way}", time.monotonic()
                    labkit.write(task, file, out, spec, id_column="id", progress=False)
                    seconds[way].append(round(time.monotonic() - began, 2))
            here, streamed = (statistics.median(seconds[way]) for way in BYTES)
            print(f"{rows:,} rows: {seconds}, streamed takes {streamed / here:.2f}×", flush=True)
        labkit.stop()


if __name__ == "__main__":
    main()
