"""What a warm engine saves: the same job cold and warm, and a sweep of five points on one engine.

`python -m benchmarks.warm` prints the overhead (wall time minus engine span) of both, the ratio of
their engine-span throughput, and how long the sweep took with the engine's start included.
"""

from __future__ import annotations

import argparse
import statistics
import time

import labkit
from labkit import tasks
from labkit.settings.processor_spec import ProcessorSpec


def main() -> None:
    """Run `--repeats` cold jobs, as many warm ones, then the sweep from a stopped engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--sweep-tokens", type=int, default=24)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--model")
    given = parser.parse_args()
    cold = labkit.configure(given.model)
    warm = cold.with_(warm=True)
    task = tasks.faq(max_tokens=given.max_tokens)
    questions = labkit.load_faq()
    rows = [{"question": questions["question"][n % len(questions)]} for n in range(given.rows)]
    labkit.start()
    jobs = {name: [] for name in ("cold", "warm")}  # type: dict[str, list[labkit.Job]]
    jobs["cold"] = [_job("cold", task, rows, cold) for _ in range(given.repeats)]
    _job("warming up", task, rows, warm)
    jobs["warm"] = [_job("warm", task, rows, warm) for _ in range(given.repeats)]
    labkit.stop_engine()

    over = {n: statistics.median(_overhead(job) for job in found) for n, found in jobs.items()}
    rate = {
        n: statistics.median(job.metrics.output_tokens_per_s for job in found)
        for n, found in jobs.items()
    }
    first = jobs["cold"][0].answers["answer"]
    same = {n: int((found[-1].answers["answer"] == first).sum()) for n, found in jobs.items()}
    print(
        f"overhead of a job: cold {over['cold']:.1f} s, warm {over['warm']:.1f} s, cold / warm "
        f"{over['cold'] / over['warm']:.1f} (medians of {given.repeats}, {given.rows} rows)\n"
        f"engine-span output tokens/s, warm / cold: {rate['warm'] / rate['cold']:.2f}; "
        f"of {given.rows} answers of "
        f"the first cold job, the last warm job gives {same['warm']} in the same words, the last "
        f"cold job {same['cold']} (other batches, other rounding)"
    )
    began = time.monotonic()
    found = labkit.sweep(
        tasks.faq(max_tokens=given.sweep_tokens),
        rows,
        labkit.in_flight(*given.in_flight),
        warm,
        repeats=1,
        progress=False,
    )
    took = time.monotonic() - began
    labkit.stop()
    print(found.summary().round(2).to_string(index=False))
    print(
        f"{found.sentence()}\nsweep of {len(given.in_flight)} points × {given.rows} rows, the "
        f"engine's start included: {took:.0f} s\n{found.caption()}"
    )


def _job(
    name: str, task: labkit.Task, rows: list[dict[str, str]], spec: ProcessorSpec
) -> labkit.Job:
    job = labkit.run(task, rows, spec, progress=False)
    numbers = job.metrics
    print(
        f"{name:<10} wall {numbers.wall_s:5.1f} s  engine span {numbers.engine_span_s:5.1f} s  "
        f"overhead {_overhead(job):5.1f} s  {numbers.output_tokens_per_s:7,.0f} output tokens/s",
        flush=True,
    )
    return job


def _overhead(job: labkit.Job) -> float:
    return job.metrics.wall_s - job.metrics.engine_span_s


if __name__ == "__main__":
    main()
