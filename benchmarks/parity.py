"""A labkit job against plain `vllm.LLM.chat`: same rows, equal engine settings, in turn.

    python -m benchmarks.parity [--rows 256] [--repeats 3] [--model NAME]

Prints the engine-span output tokens/s of each run and the ratio of the medians. Every row writes
exactly its `max_tokens`, so both do the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import labkit
from labkit import metrics
from labkit.processor import ProcessorSpec
from labkit.tasks import Task, ask


def plain(
    spec: ProcessorSpec, task: Task, rows: list[dict[str, Any]], repeats: int = 1
) -> list[metrics.Metrics]:
    """Run `vllm.LLM.chat` with the spec's engine arguments; the same metrics as a job.

    One engine for all repeats: the startup of the first holds its start.
    """
    engine = {k: v for k, v in spec.layer("vllm").items() if k != "task_type"}
    request = {
        "engine": {"model": spec.model.source, **engine},
        "messages": [task.messages(row) for row in rows],
        "sampling": [task.sampling_for(row) for row in rows],
        "repeats": repeats,
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(request))
        # LLM runs its engine in this very process when multiprocessing is off, which keeps the
        # front end from working beside it: give it its own default.
        environment = {**os.environ, **spec.layer("environment")}
        environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.plain_vllm", str(asked), str(answered)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"plain vLLM failed:\n{done.stderr[-3000:]}")
        runs = json.loads(answered.read_text())
    return [metrics.compute(pd.DataFrame(r["rows"]), r["started"], r["finished"]) for r in runs]


def main() -> None:
    """Alternate the two `--repeats` times and print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--model")
    given = parser.parse_args()
    spec = labkit.configure(given.model)
    sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
    task = Task("parity", ask("question"), sampling)
    questions = labkit.load_faq()["question"]
    rows = [{"question": questions[i % len(questions)]} for i in range(given.rows)]
    found: dict[str, list[metrics.Metrics]] = {"labkit": [], "vllm.LLM.chat": []}
    for repeat in range(given.repeats):
        found["labkit"].append(labkit.run(task, rows, spec, progress=False).metrics)
        labkit.stop()
        found["vllm.LLM.chat"] += plain(spec, task, rows)
        for name, runs in found.items():
            one = runs[-1]
            print(
                f"{repeat + 1}  {name:<14} {one.output_tokens_per_s:8,.0f} output tokens/s  "
                f"engine span {one.engine_span_s:6.1f} s  startup {one.startup_s:6.1f} s",
                flush=True,
            )
    middle = {n: statistics.median(m.output_tokens_per_s for m in r) for n, r in found.items()}
    ratio = middle["labkit"] / middle["vllm.LLM.chat"]
    pairs = [
        a.output_tokens_per_s / b.output_tokens_per_s
        for a, b in zip(found["labkit"], found["vllm.LLM.chat"], strict=True)
    ]
    print(
        f"engine-span output tokens/s, labkit / vllm.LLM.chat: {ratio:.2f} "
        f"(medians of {given.repeats}; pairs {min(pairs):.2f}–{max(pairs):.2f}) on "
        f"{spec.machine.name}, {spec.model.name}, {given.rows} rows of {given.max_tokens} tokens, "
        f"{spec.rows_in_flight} rows in flight, max_num_seqs {spec['max_num_seqs']}"
    )


if __name__ == "__main__":
    main()
