"""Measure a card for the recordings (datasets/recordings), on one warm engine.

`python -m benchmarks.record NAME FOLDER` writes, for the model of $LABKIT_MODEL or this machine's:

- NAME-in-flight.jsonl: throughput over rows in flight (`labkit.sweep`);
- NAME-batch-size.jsonl: batch size at a fixed product, with rows of very different lengths;
- NAME-timeline.csv: one job row by row.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import labkit
from labkit import tasks
from labkit.results.sweep_point import Point
from labkit.tasks import Task, ask

#: What the timeline chart reads of a row (`metrics.timeline`).
TIMES = ["queued_s", "scheduled_s", "first_token_s", "last_token_s", "num_generated_tokens"]


def main() -> None:
    """Record everything; an empty `--in-flight` or `--batch-size` leaves that part out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[1, 4, 16, 64, 256, 512, 1024])
    parser.add_argument("--product", type=int, default=256)
    parser.add_argument("--batch-size", type=int, nargs="*", default=[1, 4, 16, 64, 256])
    parser.add_argument("--mixed-rows", type=int, default=1024)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    engine = {"max_num_seqs": given.max_num_seqs} if given.max_num_seqs else None
    spec = labkit.configure(given.model, warm=True, engine=engine)
    prompts = labkit.load_prompts()
    mixed = prompts.iloc[[n % len(prompts) for n in range(given.mixed_rows)]]
    began = time.monotonic()
    labkit.start()

    one = spec.with_(**Point(64, given.product // 64)._asdict())
    labkit.run(tasks.creative(), mixed, one, progress=False)  # warms up
    times = labkit.run(tasks.creative(), mixed, one, progress=False).timeline().head(512)
    kept = times[TIMES].assign(batch=times["batch_uuid"].factorize()[0])
    kept["num_generated_tokens"] = kept["num_generated_tokens"].astype(int)
    kept[TIMES[:4]] -= kept["queued_s"].min()
    kept = kept.round(4)
    kept.to_csv(given.folder / f"{given.name}-timeline.csv", index=False)
    print(f"timeline: {time.monotonic() - began:.0f} s", flush=True)
    if given.batch_size:
        found = labkit.sweep(
            tasks.creative(),
            mixed,
            labkit.at_product(given.product, given.batch_size),
            spec,
            repeats=given.repeats,
            path=given.folder / f"{given.name}-batch-size.jsonl",
        )
        print(found.summary().round(2).to_string(index=False))
        print(f"batch size: {time.monotonic() - began:.0f} s", flush=True)
    if given.in_flight:
        sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
        faq = labkit.load_faq()["question"]
        rows = [{"question": faq[n % len(faq)]} for n in range(given.rows)]
        found = labkit.sweep(
            Task("equal lengths", ask("question"), sampling),
            rows,
            labkit.in_flight(*given.in_flight),
            spec,
            repeats=given.repeats,
            rounds=given.rounds,
            path=given.folder / f"{given.name}-in-flight.jsonl",
        )
        print(found.summary().round(2).to_string(index=False))
        print(f"rows in flight: {time.monotonic() - began:.0f} s", flush=True)
    labkit.stop()


if __name__ == "__main__":
    main()
