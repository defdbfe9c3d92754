"""Short answers, thousands of them: rows/s of `vllm.LLM.chat`, of labkit, and of other ways.

    python -m benchmarks.short_rows [--systems chat 1 8] [--times 8] [--rounds 2] [--out FILE]

The 4,200 posts `--times` over, a label of structured output each: lesson 3's own job. Each system
is a program of its own; jobs in turn, after one that warms up; the whole call counts, but for
`cold`, where the engine span does. Rounds are appended to the file. The systems:

- chat: `vllm.LLM.chat` with labkit's engine settings; all others are compared with it
- defaults: `vllm.LLM.chat` with vLLM's own
- 1, 2, 4, 8, …: a warm labkit job on so many engines of one card; auto: labkit's own choice
- cold: a labkit job that starts its engine; write: `labkit.write` on a warm one
- generate: `transformers.generate` (no structured output, two new tokens) in batches of 8, 16, 32
  and 64, the best of them
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import labkit
from benchmarks.about import about
from benchmarks.parity import settings
from labkit import tasks
from labkit.rows import requests
from labkit.rows.sampling_values import for_vllm

NAMES = {
    "chat": "vllm.LLM.chat",
    "defaults": "vllm.LLM.chat, vLLM's defaults",
    "cold": "labkit, cold (engine span)",
    "write": "labkit.write, warm",
    "generate": "transformers.generate",
}


#: So many of the posts; None: all of them.
POSTS: int | None = None


def posts(times: int) -> list[dict[str, Any]]:
    """The posts, so many times over."""
    return [{"text": text} for text in labkit.load_posts(POSTS)["text"]] * times


def chat(model: str | None, times: int, jobs: int, own: bool = False) -> list[float]:
    """Rows/s of `LLM.chat` with the lab's engine settings, or with vLLM's `own` defaults."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    rows, task = posts(times), tasks.sentiment()
    spec = labkit.configure(model)
    llm = LLM(model=spec.model.source) if own else LLM(**settings(spec))
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


def lab(model: str | None, times: int, jobs: int, engines: int | str) -> list[float]:
    """Rows/s of warm labkit jobs on so many engines of one card, or as many as labkit takes."""
    rows, task = posts(times), tasks.sentiment()
    number = engines if labkit.this_machine().device == "gpu" else "auto"
    spec = labkit.configure(model, warm=True, engines_per_gpu=number)
    rates = []
    for _ in range(jobs + 1):
        began = time.monotonic()
        job = labkit.run(task, rows, spec, progress=False)
        rates.append(len(job.answers) / (time.monotonic() - began))
        print(f"  {job.spec.replicas} engines, mean rows in flight ", end="", file=sys.stderr)
        print(f"{job.metrics.mean_rows_in_flight:.0f}", file=sys.stderr)
    labkit.stop()
    return rates[1:]


def cold(model: str | None, times: int, jobs: int) -> list[float]:
    """Rows/s over the engine span of labkit jobs that start their engine."""
    rates = []
    for _ in range(jobs):
        job = labkit.run(tasks.sentiment(), posts(times), labkit.configure(model), progress=False)
        rates.append(job.metrics.rows_per_s)
    labkit.stop()
    return rates


def write(model: str | None, times: int, jobs: int) -> list[float]:
    """Rows/s of `labkit.write` on a warm engine."""
    rows = [{"id": n, **row} for n, row in enumerate(posts(times))]
    spec, rates = labkit.configure(model, warm=True), []
    for _ in range(jobs + 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            options = {"id_column": "id", "progress": False}
            done = labkit.write(tasks.sentiment(), rows, folder, spec, **options)  # type: ignore[arg-type]
            rates.append(done.rows / (time.monotonic() - began))
    labkit.stop()
    return rates[1:]


def generate(
    model: str | None, times: int, jobs: int, batch_sizes: Sequence[int] = (8, 16, 32, 64)
) -> list[float]:
    """Rows/s of `transformers.generate` in its best batch size, the rows sorted by length."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = labkit.configure(model)
    device = "cuda" if spec.machine.device == "gpu" else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(spec.model.source, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    kind = getattr(torch, spec["dtype"])
    llm: Any = AutoModelForCausalLM.from_pretrained(spec.model.source, dtype=kind).to(device)
    task = tasks.sentiment()
    prompts = [
        tokenizer.apply_chat_template(
            task.messages(row), tokenize=False, add_generation_prompt=True
        )
        for row in posts(times)
    ]
    prompts.sort(key=len)
    best: list[float] = [0.0]
    for size in batch_sizes:
        rates = []
        for _ in range(jobs):
            began = time.monotonic()
            for at in range(0, len(prompts), size):
                batch = tokenizer(prompts[at : at + size], return_tensors="pt", padding=True)
                llm.generate(**batch.to(device), max_new_tokens=2, do_sample=False)
            rates.append(len(prompts) / (time.monotonic() - began))
        print(f"  batches of {size}: {statistics.median(rates):.1f}", file=sys.stderr)
        best = max(best, rates, key=statistics.median)
    return best


def driver(times: int) -> float:
    """Seconds that the driver spends on the requests of a row, in microseconds."""
    rows = posts(times)
    began = time.monotonic()
    requests.make(tasks.sentiment(), rows, for_vllm)
    return (time.monotonic() - began) / len(rows) * 1e6


def ratios(rounds: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """{system: [lowest, median, highest]} of its medians against those of `LLM.chat` in the same
    round, one value a round."""
    found: dict[str, list[float]] = {}
    for one in rounds:
        plain = statistics.median(one[NAMES["chat"]])
        for name, rates in one.items():
            if name != NAMES["chat"]:
                found.setdefault(name, []).append(statistics.median(rates) / plain)
    return {
        name: [round(n, 3) for n in (min(some), statistics.median(some), max(some))]
        for name, some in found.items()
    }


def collected(files: Sequence[Path]) -> dict[str, Any]:
    """Files of `--out`, one round each, as a recording."""
    lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    rounds = [{line["system"]: line["rows_per_s"] for line in some} for some in lines]
    commands = [some[0]["command"].partition(" --out")[0] for some in lines]
    kept = ("made", "device", "model", "versions", "times")
    about = {name: lines[0][0][name] for name in kept}
    return {**about, "command": "; ".join(commands), "rounds": rounds, "ratios": ratios(rounds)}


def main() -> None:
    """Run the systems in turn; print the medians and their ratios to `LLM.chat`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="*", default=["chat", "1", "4", "8"])
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--posts", type=int, help="a sample of so many, for a slow machine")
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="JSON lines: a line for each program")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--collect", type=Path, nargs="+", help="print these files as a recording")
    given = parser.parse_args()
    if given.collect:
        print(json.dumps(collected(given.collect), indent=1))
        return
    global POSTS
    POSTS = given.posts
    if given.one:
        same = (given.model, given.times, given.jobs)
        others = {"cold": cold, "write": write, "generate": generate}
        if given.one in ("chat", "defaults"):
            rates = chat(*same, own=given.one == "defaults")
        else:
            number = int(given.one) if given.one.isdecimal() else given.one
            rates = others[given.one](*same) if given.one in others else lab(*same, number)
        print(json.dumps([round(rate, 1) for rate in rates]))
        return
    print(f"requests: {driver(1):.0f} µs a row on the driver")
    where = about("short_rows", labkit.configure(given.model))
    rounds: list[dict[str, list[float]]] = []
    for _ in range(given.rounds):
        rounds.append({})
        for one in dict.fromkeys(["chat", *given.systems]):
            command = [sys.executable, "-m", "benchmarks.short_rows", "--one", one]
            command += ["--times", str(given.times), "--jobs", str(given.jobs)]
            command += ["--model", given.model] if given.model else []
            command += ["--posts", str(given.posts)] if given.posts else []
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{one} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
            name = NAMES.get(one, f"labkit, warm, {one} engine(s)")
            rates = json.loads(done.stdout.splitlines()[-1])
            rounds[-1][name] = rates
            print(f"{name}: {rates} rows/s {done.stderr.splitlines()[-1:]}", flush=True)
            if given.out:
                given.out.parent.mkdir(parents=True, exist_ok=True)
                with given.out.open("a") as file:
                    line = {**where, "times": given.times, "system": name, "rows_per_s": rates}
                    file.write(json.dumps(line) + "\n")
    for name, (low, middle, high) in ratios(rounds).items():
        spread = f"{low:.2f} to {high:.2f} in {len(rounds)} rounds"
        print(f"{name} / {NAMES['chat']}: {middle:.2f} (medians; {spread})")


if __name__ == "__main__":
    main()
