"""Measure a card for the recordings: parity with plain vLLM and both sweeps, on one engine each.

`python -m benchmarks.record NAME FOLDER` writes, for the model of $LABKIT_MODEL or this machine's:

- NAME-in-flight.jsonl: throughput over rows in flight (`labkit.sweep`);
- NAME-batch-size.jsonl: batch size at a fixed product, with rows of very different lengths;
- NAME-timeline.csv: one job row by row;
- NAME-parity.json: warm jobs of the lab against `vllm.LLM.chat`, in turn, with equal settings, and
  what the start of each took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import labkit
from benchmarks.parity import plain
from labkit import metrics, tasks
from labkit.curves import Point
from labkit.tasks import Task, ask


def main() -> None:
    """Record everything, or with `--only` some of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--in-flight", type=int, nargs="+", default=[1, 4, 16, 64, 256, 512, 1024, 2048]
    )
    parser.add_argument("--product", type=int, default=512)
    parser.add_argument("--batch-size", type=int, nargs="*", default=[1, 4, 16, 64, 256, 512])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    spec = labkit.configure(given.model, warm=True)
    sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
    task = Task("equal lengths", ask("question"), sampling)
    faq = labkit.load_faq()["question"]
    rows = [{"question": faq[n % len(faq)]} for n in range(given.rows)]
    labkit.start()

    began = time.monotonic()
    ours = [_job(task, rows, spec) for _ in range(given.repeats + 1)]
    print(f"{given.repeats + 1} warm jobs: {time.monotonic() - began:.0f} s", flush=True)
    labkit.sweep(
        task,
        rows,
        labkit.in_flight(*given.in_flight),
        spec,
        repeats=given.repeats,
        rounds=given.rounds,
        path=given.folder / f"{given.name}-in-flight.jsonl",
    )
    prompts = labkit.load_prompts()
    mixed = prompts.iloc[[n % len(prompts) for n in range(given.rows // 2)]]
    if given.batch_size:
        labkit.sweep(
            tasks.creative(),
            mixed,
            labkit.at_product(given.product, given.batch_size),
            spec,
            repeats=given.repeats,
            path=given.folder / f"{given.name}-batch-size.jsonl",
        )
    one = spec.with_(**Point(64, given.product // 64)._asdict())
    times = labkit.run(tasks.creative(), mixed, one, progress=False).timeline()
    names = ["queued_s", "scheduled_s", "first_token_s", "last_token_s", "num_generated_tokens"]
    times = times.head(512)
    kept = times[[*names, "batch_uuid"]].assign(batch=times["batch_uuid"].factorize()[0])
    kept = kept.drop(columns="batch_uuid").round(4)
    kept.to_csv(given.folder / f"{given.name}-timeline.csv", index=False)
    labkit.stop()

    theirs = plain(spec, task, rows, given.repeats + 1)
    found = {"labkit": ours, "vllm.LLM.chat": theirs}
    report: dict[str, Any] = {
        name: {
            "startup_s": runs[0].startup_s,
            "output_tokens_per_s": [m.output_tokens_per_s for m in runs[1:]],
            "overhead_s": [m.wall_s - m.engine_span_s for m in runs[1:]],
        }
        for name, runs in found.items()
    }
    middle = {n: statistics.median(r["output_tokens_per_s"]) for n, r in report.items()}
    report["ratio"] = middle["labkit"] / middle["vllm.LLM.chat"]
    report |= {
        "made": time.strftime("%Y-%m-%d"),
        "device": spec.machine.name,
        "model": spec.model.name,
        "versions": dict(spec.machine.versions),
        "rows": given.rows,
        "max_tokens": given.max_tokens,
        "max_num_seqs": spec["max_num_seqs"],
        "max_num_batched_tokens": spec["max_num_batched_tokens"],
        "rows_in_flight": spec.rows_in_flight,
    }
    text = json.dumps(report, indent=1)
    (given.folder / f"{given.name}-parity.json").write_text(text + "\n")
    print(text)


def _job(task: Task, rows: list[dict[str, str]], spec: Any) -> metrics.Metrics:
    found = labkit.run(task, rows, spec, progress=False).metrics
    print(
        f"startup {found.startup_s:.1f} s, engine span {found.engine_span_s:.1f} s, "
        f"{found.output_tokens_per_s:,.0f} output tokens/s",
        flush=True,
    )
    return found


if __name__ == "__main__":
    main()
