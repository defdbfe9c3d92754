"""Warm labkit jobs against plain `vllm.LLM.chat`: same rows, equal engine settings, in turn.

    python -m benchmarks.parity [--rows N] [--repeats 2] [--starts 2] [--model NAME]

Each start is a new program, from nothing: plain vLLM, labkit, plain vLLM, labkit. The first job of
a program ends its startup (from the program's own start to the first row scheduled). An engine's
first jobs are slower: WARM_UP are left out, and the `--repeats` after them count. Every row writes
exactly its `max_tokens`: the work is the same. Each side has a cache of its own for what it
compiles, empty in the first round: the first startup is one from nothing, a later one finds there
what the first compiled and measured. Startups are compared round by round.
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
from pathlib import Path
from typing import Any

import pandas as pd

import labkit
from benchmarks.about import about
from benchmarks.phases import facts, phases
from labkit import metrics
from labkit.settings.processor_spec import ProcessorSpec

#: Jobs of each program that do not count. On 2 CPU cores the first two wrote 528 and 514 output
#: tokens/s, the ten after them 602 to 660.
WARM_UP = 3
#: The two sides, each a program that reads a request and writes its runs.
PLAIN, LAB = "vllm.LLM.chat", "labkit"
PROGRAMS = {PLAIN: "benchmarks.plain_vllm", LAB: "benchmarks.lab_jobs"}


def start(side: str, request: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """One program's numbers: its startup in seconds, the phases of it, what vLLM said of memory and
    time, output tokens/s and overhead of each later job by its rows in flight ('' as configured).

    Raises SystemExit with the program's last words when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        began = time.time()
        asked.write_text(json.dumps({**request, "began": began}))
        done = subprocess.run(
            [sys.executable, "-m", PROGRAMS[side], str(asked), str(answered)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
        answer = json.loads(answered.read_text())
    runs = answer["runs"]
    found = [metrics.compute(pd.DataFrame(r["rows"]), r["started"], r["finished"]) for r in runs]
    check(side, request, answer, found[WARM_UP:])
    first = runs[0]["started"] + found[0].startup_s
    log = answer.get("log") or (done.stdout + done.stderr).splitlines()
    steps: dict[str, float] = answer.get("steps", {})
    rates: dict[str, list[int]] = {}
    for run, numbers in list(zip(runs, found, strict=True))[WARM_UP:]:
        rates.setdefault(str(run["in_flight"] or ""), []).append(round(numbers.output_tokens_per_s))
    return {
        "startup_s": round(first - began, 1),
        "phases_s": {**steps, **phases(log, began + sum(steps.values()), first)},
        "output_tokens_per_s": rates,
        "overhead_s": [round(m.wall_s - m.engine_span_s, 2) for m in found[WARM_UP:]],
        "bound": answer.get("bound", ""),  # of the last job
        "log": facts(log),
    }


def check(
    side: str, request: dict[str, Any], answer: dict[str, Any], found: list[metrics.Metrics]
) -> None:
    """Raise SystemExit unless the engine had these settings and every row all its tokens."""
    if answer.get("engine", request["engine"]) != request["engine"]:
        raise SystemExit(f"{side} had other settings: {answer['engine']}, not {request['engine']}")
    tokens = len(request["questions"]) * request["sampling"]["max_tokens"]
    if wrong := {m.output_tokens for m in found} - {tokens}:
        raise SystemExit(f"{side} wrote {wrong} tokens instead of {tokens}.")


def compare(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The ratios labkit / plain: throughput by rows in flight with its spread, startup by round."""

    def rates(side: str, limit: str) -> list[int]:
        return [rate for one in found[side] for rate in one["output_tokens_per_s"][limit]]

    theirs = rates(PLAIN, "")
    ratios = {}
    for limit in found[LAB][0]["output_tokens_per_s"]:
        ours = rates(LAB, limit)
        middle = statistics.median(ours) / statistics.median(theirs)
        spread = min(ours) / max(theirs), middle, max(ours) / min(theirs)
        ratios[limit] = [round(ratio, 3) for ratio in spread]
    starts = {side: [one["startup_s"] for one in ones] for side, ones in found.items()}
    return {
        "throughput_ratio_lowest_median_highest": ratios,
        "startup_s": starts,
        "startup_ratio": [
            round(ours / plain, 2) for ours, plain in zip(starts[LAB], starts[PLAIN], strict=True)
        ],
    }


def settings(spec: ProcessorSpec) -> dict[str, Any]:
    """What vLLM itself is given, the same on both sides."""
    given = {k: v for k, v in spec.layer("vllm").items() if k != "task_type"}
    return {"model": spec.model.source, **given}


def main() -> None:
    """Run both, `--starts` times each in turn; print the runs, the starts and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="default: twice the rows in flight")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--max-num-seqs", type=int)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[], help="try these, too")
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    given = parser.parse_args()
    engine = {"max_num_seqs": given.max_num_seqs} if given.max_num_seqs else None
    spec = labkit.configure(given.model, engine=engine, engines_per_gpu=1)
    number = given.rows or 2 * max(spec.rows_in_flight, *given.in_flight, 0)
    questions = labkit.load_faq()["question"]
    request = {
        "model": given.model,
        "max_num_seqs": spec["max_num_seqs"],
        "engine": settings(spec),
        "questions": [questions[n % len(questions)] for n in range(number)],
        "sampling": {"max_tokens": given.max_tokens, "temperature": 0.0, "ignore_eos": True},
        "warm_up": WARM_UP,
        "warm_up_rows": spec.rows_in_flight,
        "repeats": given.repeats,
        "in_flight": given.in_flight,
    }
    # LLM runs its engine in this very process when multiprocessing is off, which keeps the front
    # end from working beside it: give it its own default.
    plain = {**os.environ, **spec.layer("environment")}
    plain.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    environments = {PLAIN: plain, LAB: dict(os.environ)}
    # What one side compiles and measures must not speed up the other's start.
    with tempfile.TemporaryDirectory() as caches:
        for n, environment in enumerate(environments.values()):
            environment["VLLM_CACHE_ROOT"] = os.path.join(caches, str(n))
        report(given, spec, request, environments)


def report(
    given: argparse.Namespace,
    spec: ProcessorSpec,
    request: dict[str, Any],
    environments: dict[str, dict[str, str]],
) -> None:
    """Start each side in turn, print what it took, write the file, print the ratios."""
    number = len(request["questions"])
    where = {
        **about("parity", spec),
        "rows": number,
        "max_tokens": given.max_tokens,
        "rows_in_flight": spec.rows_in_flight,
        "settings": {k: v for k, v in settings(spec).items() if k != "model"},
    }
    found: dict[str, list[dict[str, Any]]] = {PLAIN: [], LAB: []}
    for _ in range(given.starts):
        for side, ones in found.items():
            ones.append(start(side, request, environments[side]))
            last = ones[-1]
            print(f"{side}: startup {last['startup_s']} s, of which {last['phases_s']}")
            print(f"  output tokens/s {last['output_tokens_per_s']}", flush=True)
            if given.out:
                given.out.parent.mkdir(parents=True, exist_ok=True)
                given.out.write_text(json.dumps({**where, "starts": found}, indent=1) + "\n")
    ratios = compare(found)
    if given.out:
        given.out.write_text(json.dumps({**where, **ratios, "starts": found}, indent=1) + "\n")
    for limit, (low, middle, high) in ratios["throughput_ratio_lowest_median_highest"].items():
        print(
            f"engine-span output tokens/s, labkit / vllm.LLM.chat, {limit or spec.rows_in_flight} "
            f"rows in flight: {middle:.2f} (medians; {low:.2f} to {high:.2f})"
        )
    startups = ", ".join(f"{ratio:.2f}" for ratio in ratios["startup_ratio"])
    print(
        f"startup, labkit / vllm.LLM.chat, the first one from nothing: {startups}; "
        f"on {spec.machine.name}, {spec.model.name}, {number} rows of {given.max_tokens} tokens, "
        f"max_num_seqs {spec['max_num_seqs']}, {given.starts} starts each with {given.repeats} jobs"
    )


if __name__ == "__main__":
    main()
