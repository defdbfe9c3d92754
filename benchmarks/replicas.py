"""One engine against several, or against one on several cards: rows/s of each, on warm engines.

`python -m benchmarks.replicas --against 2x1 1x2` on a machine with two GPUs (or CPU cores to
share): two replicas, then one engine with tensor parallelism 2. `--gpu-share 0.5` puts two replicas
on one card. Take enough rows: each replica begins and ends with an engine that is half full.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import labkit
from benchmarks.about import about
from benchmarks.parity import WARM_UP
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Task, ask

ONE = (1, 1)


def counts(text: str) -> tuple[int, int]:
    """'2x1' → 2 replicas of tensor parallelism 1. Raises ValueError for other text."""
    replicas, parallel = text.split("x")
    return int(replicas), int(parallel)


def compare(rates: dict[str, list[float]]) -> dict[str, list[float]]:
    """The rows/s of each kind against '1x1': lowest, median and highest ratio."""
    one = rates["1x1"]
    return {
        name: [
            round(min(rate) / max(one), 3),
            round(statistics.median(rate) / statistics.median(one), 3),
            round(max(rate) / min(one), 3),
        ]
        for name, rate in rates.items()
        if rate is not one
    }


def main() -> None:
    """`--repeats` jobs on one engine, then on each of the others; print rows/s and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=counts, nargs="+", default=[(2, 1)], metavar="RxT")
    parser.add_argument("--gpu-share", type=float, default=1.0)
    parser.add_argument("--rows", type=int, help="default: eight times the rows in flight of one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    given = parser.parse_args()
    sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
    task = Task("replicas", ask("question"), sampling)
    questions = labkit.load_faq()["question"]
    number = given.rows or 8 * labkit.configure(given.model).rows_in_flight
    rows = [{"question": questions[i % len(questions)]} for i in range(number)]
    rates: dict[str, list[float]] = {}
    limits: dict[str, int] = {}
    for replicas, parallel in [ONE, *given.against]:
        name = f"{replicas}x{parallel}"
        spec = labkit.configure(
            given.model,
            warm=True,
            replicas=replicas,
            gpu_share=given.gpu_share if replicas > 1 else 1.0,
            tensor_parallel=parallel,
        )
        limits[name] = spec.limit
        rates[name] = _rates(task, rows, spec, given.repeats)
        print(f"{name} rows/s {', '.join(f'{r:,.1f}' for r in rates[name])}", flush=True)
        ratios = compare(rates)
        if given.out:
            report = {
                **about("replicas", spec),
                "rows": number,
                "max_tokens": given.max_tokens,
                "gpu_share": given.gpu_share,
                "rows_in_flight_of_a_replica": limits,
                "rows_per_s": rates,
                "ratios": ratios,
            }
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(report, indent=1) + "\n")
    labkit.stop()
    for name, (low, middle, high) in ratios.items():
        print(
            f"rows/s of {name} (replicas x tensor_parallel) against one engine: {middle:.2f} "
            f"(medians of {given.repeats}; {low:.2f} to {high:.2f}) on {spec.machine.name}, "
            f"{spec.model.name}, {number} rows of {given.max_tokens} tokens"
        )


def _rates(
    task: Task, rows: list[dict[str, str]], spec: ProcessorSpec, repeats: int
) -> list[float]:
    for _ in range(WARM_UP):
        labkit.run(task, rows[: spec.rows_in_flight], spec, progress=False)
    jobs = [labkit.run(task, rows, spec, progress=False) for _ in range(repeats)]
    return [job.metrics.rows_per_s for job in jobs]


if __name__ == "__main__":
    main()
