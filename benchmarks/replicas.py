"""One engine against several: the rows/s of each, in one run, on warm engines.

`python -m benchmarks.replicas --replicas 2` on a machine with two GPUs (or CPU cores to share),
`--gpu-share 0.5` for two replicas on one card, `--tensor-parallel 2` for one engine on two cards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import labkit
from labkit import metrics
from labkit.processor import ProcessorSpec
from labkit.tasks import Task, ask


def main() -> None:
    """`--repeats` jobs on one replica, then on several; print rows/s and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--gpu-share", type=float, default=1.0)
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    given = parser.parse_args()
    one = labkit.configure(given.model, warm=True)
    several = labkit.configure(
        given.model,
        warm=True,
        replicas=given.replicas,
        gpu_share=given.gpu_share,
        tensor_parallel=given.tensor_parallel,
    )
    sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
    task = Task("replicas", ask("question"), sampling)
    questions = labkit.load_faq()["question"]
    rows = [{"question": questions[i % len(questions)]} for i in range(given.rows)]
    found = {
        "one": _runs(task, rows, one, given.repeats),
        "several": _runs(task, rows, several, given.repeats),
    }
    labkit.stop()
    rates = {name: [m.rows_per_s for m in runs] for name, runs in found.items()}
    ratio = statistics.median(rates["several"]) / statistics.median(rates["one"])
    low, high = (
        min(rates["several"]) / max(rates["one"]), max(rates["several"]) / min(rates["one"]),
    )  # fmt: skip
    for name, rate in rates.items():
        print(f"{name:<8} rows/s {', '.join(f'{r:,.1f}' for r in rate)}")
    print(
        f"rows/s, {given.replicas} × tensor_parallel {given.tensor_parallel} against one engine: "
        f"{ratio:.2f} (medians of {given.repeats}; {low:.2f} to {high:.2f}) on {one.machine.name}, "
        f"{one.model.name}, {given.rows} rows of {given.max_tokens} tokens, GPU share "
        f"{given.gpu_share:g}"
    )
    if given.out:
        about = {"made": time.strftime("%Y-%m-%d"), "device": one.machine.name, **vars(given)}
        about |= {"model": one.model.name, "versions": dict(one.machine.versions)}
        report = {**about, "out": None, "rows_per_s": rates, "ratio": ratio}
        given.out.write_text(json.dumps(report, indent=1) + "\n")


def _runs(
    task: Task, rows: list[dict[str, str]], spec: ProcessorSpec, repeats: int
) -> list[metrics.Metrics]:
    labkit.run(task, rows, spec, progress=False)  # warms up
    return [labkit.run(task, rows, spec, progress=False).metrics for _ in range(repeats)]


if __name__ == "__main__":
    main()
