"""One row at a time against many rows in flight, on this machine.

    python -m benchmarks.batching [--rows 64] [--repeats 1] [--model NAME]

Prints engine-span output tokens/s of each and their ratio. Every row writes exactly its
`max_tokens`, so each row is the same work.
"""

from __future__ import annotations

import argparse
import statistics

import labkit
from labkit.tasks import Task, ask


def main() -> None:
    """Run both `--repeats` times, in turn; print each rate and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--model")
    given = parser.parse_args()
    spec = labkit.configure(given.model, batch_size=16)
    alone = spec.with_(batch_size=1, max_concurrent_batches=1)
    sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
    task = Task("batching", ask("question"), sampling)
    questions = labkit.load_faq()
    a_few = questions.head(max(8, given.rows // 4))
    many = questions.head(given.rows)
    rates: dict[str, list[float]] = {"one at a time": [], "batched": []}
    for _ in range(given.repeats):
        for name, rows, which in (("one at a time", a_few, alone), ("batched", many, spec)):
            job = labkit.run(task, rows, which, progress=False)
            rates[name].append(job.metrics.output_tokens_per_s)
            flight = min(len(rows), which.rows_in_flight)
            print(
                f"{name:<14} {len(rows):4} rows, {flight:4} in flight: "
                f"{rates[name][-1]:8,.1f} output tokens/s",
                flush=True,
            )
    ratio = statistics.median(rates["batched"]) / statistics.median(rates["one at a time"])
    print(
        f"batched / one at a time: {ratio:.1f}× on {spec.machine.name}, {spec.model.name}, "
        f"{given.max_tokens} tokens a row"
    )


if __name__ == "__main__":
    main()
