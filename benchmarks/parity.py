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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import labkit
from benchmarks.phases import engine_log, facts, phases
from labkit import cluster, metrics
from labkit.processor import ProcessorSpec
from labkit.tasks import Task, ask


@dataclass(frozen=True)
class Side:
    """One system's runs on one engine. startup_s and phases: of its first run, from the call to the
    first row scheduled. log: what vLLM said of memory and time."""

    runs: list[metrics.Metrics]
    phases: dict[str, float]
    log: list[str]

    def report(self) -> dict[str, Any]:
        """Its numbers without the first run, which warms up."""
        later = self.runs[1:] or self.runs
        return {
            "startup_s": round(self.runs[0].startup_s, 1),
            "phases_s": self.phases,
            "output_tokens_per_s": [round(m.output_tokens_per_s) for m in later],
            "overhead_s": [round(m.wall_s - m.engine_span_s, 2) for m in later],
            "log": self.log,
        }


def ours(spec: ProcessorSpec, task: Task, rows: list[dict[str, Any]], repeats: int = 1) -> Side:
    """Run the lab's jobs on a warm engine; the first starts Ray and the engine."""
    began = time.time()
    jobs = [labkit.run(task, rows, spec, progress=False) for _ in range(repeats)]
    lines = engine_log(cluster.log_folder() or "")
    labkit.stop()
    first = began + jobs[0].metrics.startup_s
    # `run` counts from its own call, which starts Ray before anything else.
    return Side([job.metrics for job in jobs], phases(lines, began, first), facts(lines))


def plain(spec: ProcessorSpec, task: Task, rows: list[dict[str, Any]], repeats: int = 1) -> Side:
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
    found = [metrics.compute(pd.DataFrame(r["rows"]), r["started"], r["finished"]) for r in runs]
    lines = (done.stdout + done.stderr).splitlines()
    began = runs[0]["started"]
    return Side(found, phases(lines, began, began + found[0].startup_s), facts(lines))


def main() -> None:
    """Run both, `--repeats` times on an engine each; print the runs, the starts and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    given = parser.parse_args()
    engine = {"max_num_seqs": given.max_num_seqs} if given.max_num_seqs else None
    spec = labkit.configure(given.model, warm=True, engine=engine)
    sampling = {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True}
    task = Task("parity", ask("question"), sampling)
    questions = labkit.load_faq()["question"]
    rows = [{"question": questions[i % len(questions)]} for i in range(given.rows)]
    found = {
        "labkit": ours(spec, task, rows, given.repeats + 1),
        "vllm.LLM.chat": plain(spec, task, rows, given.repeats + 1),
    }
    report: dict[str, Any] = {name: side.report() for name, side in found.items()}
    middle = {n: statistics.median(r["output_tokens_per_s"]) for n, r in report.items()}
    mine, theirs = (report[name]["output_tokens_per_s"] for name in found)
    report |= {
        "ratio": round(middle["labkit"] / middle["vllm.LLM.chat"], 3),
        "lowest_ratio": round(min(mine) / max(theirs), 3),
        "highest_ratio": round(max(mine) / min(theirs), 3),
        "startup_ratio": round(
            report["labkit"]["startup_s"] / report["vllm.LLM.chat"]["startup_s"], 2
        ),
        "made": time.strftime("%Y-%m-%d"),
        "device": spec.machine.name,
        "model": spec.model.name,
        "versions": dict(spec.machine.versions),
        "rows": given.rows,
        "max_tokens": given.max_tokens,
        "rows_in_flight": spec.rows_in_flight,
        "settings": {s.name: s.value for s in spec.settings if s.layer == "vllm"},
    }
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(report, indent=1) + "\n")
    for name in found:
        one = report[name]
        print(f"{name}: startup {one['startup_s']} s, of which {one['phases_s']}")
        print(f"  output tokens/s {one['output_tokens_per_s']}, overhead s {one['overhead_s']}")
    print(
        f"engine-span output tokens/s, labkit / vllm.LLM.chat: {report['ratio']:.2f} "
        f"(medians of {given.repeats} on one engine each; {report['lowest_ratio']:.2f} to "
        f"{report['highest_ratio']:.2f}); startup {report['startup_ratio']:.2f} times as long, on "
        f"{spec.machine.name}, {spec.model.name}, {given.rows} rows of {given.max_tokens} tokens, "
        f"{spec.rows_in_flight} rows in flight, max_num_seqs {spec['max_num_seqs']}"
    )


if __name__ == "__main__":
    main()
