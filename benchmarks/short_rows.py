"""Short answers, thousands of them: rows/s of `vllm.LLM.chat` and of warm labkit jobs.

    python -m benchmarks.short_rows [--engines 1 4 8] [--times 8] [--rounds 2] [--out FILE]

The 4,200 posts `--times` over, a label of structured output each: lesson 3's own job. Each system
is a program of its own, with equal engine settings; `--engines n` shares the card among n. Jobs in
turn, after one that warms up; the whole call counts. Rounds are appended to the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import labkit
from benchmarks.about import about
from benchmarks.parity import settings
from labkit import tasks
from labkit.rows import requests
from labkit.rows.sampling_values import for_vllm

CHAT = "vllm.LLM.chat"


def posts(times: int) -> list[dict[str, Any]]:
    """The posts, so many times over."""
    return [{"text": text} for text in labkit.load_posts()["text"]] * times


def chat(model: str | None, times: int, jobs: int) -> list[float]:
    """Rows/s of `LLM.chat` with the lab's engine settings."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    rows, task = posts(times), tasks.sentiment()
    llm = LLM(**settings(labkit.configure(model)))
    messages: Any = [task.messages(row) for row in rows]
    sampling = dict(task.sampling)
    choice = StructuredOutputsParams(**sampling.pop("structured_outputs"))
    params = SamplingParams(**sampling, structured_outputs=choice)
    rates = []
    for _ in range(jobs + 1):
        began = time.monotonic()
        outputs = llm.chat(messages, params, use_tqdm=False)
        rates.append(len(outputs) / (time.monotonic() - began))
        llm.reset_prefix_cache()
    return rates[1:]


def lab(model: str | None, times: int, jobs: int, engines: int) -> list[float]:
    """Rows/s of warm labkit jobs on so many engines of one card."""
    rows, task = posts(times), tasks.sentiment()
    share = 1 / engines if labkit.this_machine().device == "gpu" else 1.0
    spec = labkit.configure(model, warm=True, replicas=engines, gpu_share=share)
    rates = []
    for _ in range(jobs + 1):
        began = time.monotonic()
        job = labkit.run(task, rows, spec, progress=False)
        rates.append(len(job.answers) / (time.monotonic() - began))
        print(f"  mean rows in flight {job.metrics.mean_rows_in_flight:.0f}", file=sys.stderr)
    labkit.stop()
    return rates[1:]


def driver(times: int) -> float:
    """Seconds that the driver spends on the requests of a row, in microseconds."""
    rows = posts(times)
    began = time.monotonic()
    requests.make(tasks.sentiment(), rows, for_vllm)
    return (time.monotonic() - began) / len(rows) * 1e6


def ratio(rates: list[float], plain: list[float]) -> list[float]:
    """[lowest, of the medians, highest] of `rates` against `plain`."""
    medians = statistics.median(rates) / statistics.median(plain)
    pairs = min(rates) / max(plain), medians, max(rates) / min(plain)
    return [round(one, 3) for one in pairs]


def main() -> None:
    """Run the systems in turn; print the medians and their ratios to `LLM.chat`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", type=int, nargs="*", default=[1, 4, 8])
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="JSON lines: a line for each program")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        same = (given.model, given.times, given.jobs)
        rates = chat(*same) if given.one == CHAT else lab(*same, int(given.one))
        print(json.dumps([round(rate, 1) for rate in rates]))
        return
    print(f"requests: {driver(1):.0f} µs a row on the driver")
    where = about("short_rows", labkit.configure(given.model))
    all_rates: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for one in (CHAT, *map(str, given.engines)):
            command = [sys.executable, "-m", "benchmarks.short_rows", "--one", one]
            command += ["--times", str(given.times), "--jobs", str(given.jobs)]
            command += ["--model", given.model] if given.model else []
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{one} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
            name = one if one == CHAT else f"labkit, warm, {one} engine(s)"
            rates = json.loads(done.stdout.splitlines()[-1])
            all_rates.setdefault(name, []).extend(rates)
            print(f"{name}: {rates} rows/s {done.stderr.splitlines()[-1:]}", flush=True)
            if given.out:
                given.out.parent.mkdir(parents=True, exist_ok=True)
                with given.out.open("a") as file:
                    line = {**where, "times": given.times, "system": name, "rows_per_s": rates}
                    file.write(json.dumps(line) + "\n")
    plain = all_rates.pop(CHAT)
    for name, rates in all_rates.items():
        low, middle, high = ratio(rates, plain)
        print(f"{name} / {CHAT}: {middle:.2f} (medians; {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
