"""The learners of a class as processes of their own, each with what a seat has installed.

One program loads the lab, without Ray, vLLM, PyTorch or transformers, and forks a process for each
learner: a class whose thirty programs all load pandas at once on two cores would measure that. From
the fork on they share nothing; each has its own link, connections, threads and file of results.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from labkit.hardware.classroom_seat import CLASS
from labkit.paths import REPO

#: What a seat does not have (locks/seat.txt).
NOT_THERE = ("ray", "vllm", "torch", "transformers")
#: Rows that are a learner's own: no two rows of a class have the same number of words.
OWN_ROWS, STEP = 6, 100
#: The points of lesson 2's panel, as shares of the most rows in flight.
SHARES = (32, 8, 2, 1)


class Learners:
    """A program that loads the lab and waits for `go`. folder: for what each learner writes.
    repeats, rows, shares: of the panel (None: the lesson's own rows); its points are the engine's
    limit of rows in flight, divided by each of `shares`. cores: of the computers of the learners,
    as `taskset` has them (None: they are on those of the server)."""

    def __init__(
        self,
        folder: Path,
        repeats: int = 1,
        rows: int | None = None,
        shares: Sequence[int] = SHARES,
        cores: str | None = None,
    ):
        self.folder, self.links = folder, dict[str, str]()
        folder.mkdir()
        about = {"folder": str(folder), "repeats": repeats, "rows": rows, "shares": shares}
        apart = ["taskset", "-c", cores] if cores else []
        command = [
            *apart,
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.learners",
            json.dumps(about),
        ]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        env = {name: value for name, value in os.environ.items() if name != CLASS}
        pipe = subprocess.PIPE
        self.program = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=env | threads, cwd=REPO,
            process_group=0,
        )  # fmt: skip

    def go(self, links: Mapping[str, str]) -> None:
        """Fork a process for each seat; they begin at once. links: seat → its link."""
        assert self.program.stdin is not None and self.program.stdout is not None
        if self.program.stdout.readline() != "ready\n":
            raise RuntimeError("The lab was not loaded.")
        self.links = dict(links)
        self.program.stdin.write(json.dumps(self.links))
        self.program.stdin.close()

    def working(self) -> bool:
        """Whether one of them is not done. Raises RuntimeError where one has failed."""
        if self.program.poll():
            raise RuntimeError(f"A learner failed: {self.troubles()}")
        return self.program.returncode is None

    def results(self) -> dict[str, dict[str, Any]]:
        """What each seat has so far: `curves` (rows in flight → output tokens/s, of each panel) and
        `own` (words and input tokens of each of its own rows; None: not yet)."""
        found = {}
        for seat in self.links:
            file = self.folder / f"{seat}.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            told = [json.loads(line) for line in lines]
            curves = [one["curve"] for one in told if "curve" in one]
            found[seat] = {
                "curves": curves,
                "own": next((one["own"] for one in told if "own" in one), None),
            }
        return found

    def troubles(self) -> str:
        """What those that failed have said."""
        logs = [file for file in sorted(self.folder.glob("*.log")) if file.stat().st_size]
        return "; ".join(f"seat {file.stem}: {file.read_text()[-600:]}" for file in logs[:3])

    def end(self) -> None:
        """End those that still work."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.program.pid, 9)
        self.program.wait()


@contextlib.contextmanager
def loaded(folder: Path, repeats: int = 1, *more: Any) -> Iterator[Learners]:
    """`Learners` that don't outlive the block."""
    some = Learners(folder, repeats, *more)
    try:
        yield some
    finally:
        some.end()


def learn(seat: str, about: Mapping[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
    """What a learner does: the panel of lesson 2, `repeats` times, and a job with own rows. about:
    the arguments of `Learners`."""
    import pandas as pd

    import labkit
    from labkit import tasks
    from labkit.hardware.machine import quick

    machine, spec = labkit.this_machine(), labkit.configure(warm=True)
    prompts = labkit.load_prompts()
    alike = pd.concat([prompts] * 4, ignore_index=True).assign(max_tokens=12)
    alike = alike.head(
        max(about["rows"] or machine.rows(small=128, full=1280), spec.rows_in_flight)
    )
    points = labkit.in_flight(*(spec.rows_in_flight // share for share in about["shares"]))
    for _ in range(about["repeats"]):
        panel = labkit.panel(tasks.creative(), alike, points, spec)
        panel.run()
        table = panel.result().table
        for run in table.to_dict("records"):
            asked = min(len(alike), 2 * run["rows_in_flight"]) if quick() else len(alike)
            assert (run["rows"], run["failed"]) == (asked, 0), f"a row was lost: {run}"
        rates = table["output_tokens_per_s"]
        flight = [str(rows) for rows in table["rows_in_flight"]]
        write({"curve": dict(zip(flight, map(float, rates), strict=True))})
    mine = [int(seat) + STEP * number for number in range(OWN_ROWS)]
    task = tasks.Task("own", tasks.ask("text"), {"max_tokens": 4, "ignore_eos": True})
    job = labkit.run(task, [{"text": "a " * words} for words in mine], spec, progress=False)
    tokens = job.rows["num_input_tokens"]
    write({"own": [[words, int(count)] for words, count in zip(mine, tokens, strict=True)]})


def _fork(seat: str, link: str, about: Mapping[str, Any]) -> int:
    """A process for this learner; returns its id."""
    if pid := os.fork():
        return pid
    code, folder = 1, Path(about["folder"])
    try:
        log = os.open(folder / f"{seat}.log", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ[CLASS] = link
        with (folder / f"{seat}.jsonl").open("w", buffering=1) as file:
            learn(seat, about, lambda told: _line(file, told))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _line(file: TextIO, told: dict[str, Any]) -> None:
    print(json.dumps(told), file=file)


def main() -> None:
    """Load the lab, wait for the links, fork, and wait for all of them."""
    about = json.loads(sys.argv[1])
    for name in NOT_THERE:
        sys.modules[name] = None  # type: ignore[assignment]
    import labkit
    from labkit.charts import sweep_charts

    for name in ("configure", "in_flight", "load_prompts", "panel", "run", "this_machine"):
        getattr(labkit, name)
    sweep_charts.prediction({1: 1.0}).png()  # fonts are read once
    assert threading.active_count() == 1, "a fork has none of the threads"
    print("ready", flush=True)
    links = json.load(sys.stdin)
    children = {_fork(seat, link, about) for seat, link in links.items()}
    while children:
        pid, status = os.wait()
        children.discard(pid)
        if status:
            sys.exit(1)


if __name__ == "__main__":
    main()
