"""Thirty learners on one engine: how long each waits, and whether their curves are those of one.

`python -m benchmarks.classroom` opens a class on this machine, has one seat run the panel of
lesson 2 five times alone, then thirty seats at once, each a program of its own, and prints waits
against the turns before them, and every point's range alone and in the class.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.classroom.seats import Seats
from labkit.hardware.classroom_seat import CLASS
from labkit.paths import REPO

#: Seconds for a class to open, and for all its seats.
OPEN_S, CLASS_S = 300.0, 3000.0
#: Seats that load the lab at the same time.
AT_ONCE = 3


def seat(repeats: int) -> None:
    """What a learner does, as a program: the panel of lesson 2, `repeats` times; prints JSON."""
    import pandas as pd

    import labkit
    import labkit.widgets.panel
    from labkit import tasks

    print("ready", flush=True)
    sys.stdin.readline()
    machine, spec = labkit.this_machine(), labkit.configure(warm=True)
    prompts = labkit.load_prompts()
    alike = pd.concat([prompts] * 4, ignore_index=True).assign(max_tokens=12)
    alike = alike.head(max(machine.rows(small=128, full=1280), spec.rows_in_flight))
    points = labkit.in_flight(*(spec.rows_in_flight // n for n in (32, 8, 2, 1)))
    curves = []
    for _ in range(repeats):
        panel = labkit.panel(tasks.creative(), alike, points, spec)
        panel.run()
        table = panel.result().table
        assert int(table["failed"].sum()) == 0
        assert set(table["rows"]) == {len(alike)}, "a row was lost, or came twice"
        rates = table["output_tokens_per_s"]
        curves.append(dict(zip(map(int, table["rows_in_flight"]), map(float, rates), strict=True)))
    print(json.dumps(curves))


@contextlib.contextmanager
def opened(folder: Path, seats: int, *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`labkit classroom` as a program of its own: (its URL, the program)."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "labkit", "classroom", f"--seats={seats}"]
    command += [f"--folder={folder}", f"--sheet={folder / 'sheet.html'}", *more]
    with log.open("a") as lines:
        server = subprocess.Popen(command, stdout=lines, stderr=lines, text=True, cwd=REPO)
    try:
        yield _url(server, log), server
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(60)
        server.kill()


def _url(server: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + OPEN_S
    while time.monotonic() < deadline and server.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("The class is open at "):
                return line.removeprefix("The class is open at ").split(": ")[0]
        time.sleep(0.2)
    raise RuntimeError(f"The class did not open: {log.read_text()[-2000:]}")


def all_started(url: str, tokens: list[str], repeats: int = 1) -> list[subprocess.Popen[str]]:
    """Seats as programs of their own: all load the lab, a few at a time; then all begin at once."""
    seats: list[subprocess.Popen[str]] = []
    for at in range(0, len(tokens), AT_ONCE):
        some = [_started(url, token, repeats) for token in tokens[at : at + AT_ONCE]]
        for one in some:
            assert one.stdout is not None
            if one.stdout.readline() != "ready\n":
                raise RuntimeError("A seat did not start.")
        seats += some
    for one in seats:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return seats


def _started(url: str, token: str, repeats: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.classroom", "--seat", str(repeats)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    env = {**os.environ, **threads, CLASS: f"{url}/{token}"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, cwd=REPO)


def curves(seats: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    """What they measured. None of them outlives this call."""
    found: list[dict[str, float]] = []
    try:
        for one in seats:
            said, _ = one.communicate(timeout=CLASS_S)
            if one.returncode:
                raise RuntimeError("A seat failed.")
            found += json.loads(said.splitlines()[-1])
    finally:
        ended(seats)
    return found


def ended(seats: list[subprocess.Popen[str]]) -> None:
    """End the seats that still run."""
    for one in seats:
        one.kill()
        one.wait()


def runs(folder: Path) -> list[dict[str, Any]]:
    """Every run of a job, as the class's line noted it."""
    with contextlib.closing(sqlite3.connect(folder / "line.sqlite")) as line:
        line.row_factory = sqlite3.Row
        return [dict(row) for row in line.execute("SELECT * FROM log ORDER BY began")]


def waits(found: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """(seconds from a turn's arrival to its begin, the sum of the turns between) of each turn."""
    turns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in found:
        turns.setdefault((run["seat"], run["turn"]), []).append(run)
    spans = {key: (t[0]["began"], t[-1]["finished"]) for key, t in turns.items()}
    waited = []
    for key, turn in turns.items():
        came, began = turn[0]["arrived"], turn[0]["began"]
        before = sum(
            max(0.0, min(end, began) - max(begin, came))
            for other, (begin, end) in spans.items()
            if other != key
        )
        waited.append((began - came, before))
    return waited


def main() -> None:
    """Open the class, measure alone, then all seats at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seat", type=int, metavar="REPEATS", help=argparse.SUPPRESS)
    parser.add_argument("--seats", type=int, default=30)
    parser.add_argument("--alone", type=int, default=5, help="panels of one seat alone")
    parser.add_argument("--model")
    given = parser.parse_args()
    if given.seat:
        seat(given.seat)
        return
    more = ["--port=0", *([f"--model={given.model}"] if given.model else [])]
    with tempfile.TemporaryDirectory() as name, opened(Path(name), given.seats, *more) as (url, _):
        folder = Path(name)
        tokens = Seats(folder, given.seats)
        alone = curves(all_started(url, [tokens.token("01")], given.alone))
        first = len(runs(folder))
        seats = all_started(url, [tokens.token(name) for name in tokens.names()])
        began = time.monotonic()
        together = curves(seats)
        took = time.monotonic() - began
        print(report(alone, together, runs(folder)[first:], took))


def report(
    alone: list[dict[str, float]],
    together: list[dict[str, float]],
    found: list[dict[str, Any]],
    took: float,
) -> str:
    """What was measured, in lines."""
    waited = waits(found)
    engine = sum(run["finished"] - run["began"] for run in found)
    over = [w / b for w, b in waited if b > 0.5]
    lines = [
        f"{len(together)} seats in {took:.0f} s, {len(found)} jobs, {len(waited)} turns; jobs took "
        f"{engine:.0f} s of it",
        f"wait for a turn: median {statistics.median(w for w, _ in waited):.1f} s, longest "
        f"{max(w for w, _ in waited):.1f} s; the longest by the turns before it: "
        f"{max(over, default=1.0):.2f}",
        f"{'rows in flight':>14} {'alone: lowest, median, highest':>32} {'class':>26}  inside",
    ]
    for point in alone[0]:
        one = sorted(curve[point] for curve in alone)
        all_ = sorted(curve[point] for curve in together)
        inside = sum(one[0] <= rate <= one[-1] for rate in all_)
        lines.append(
            f"{point:>14} {one[0]:>12,.0f} {statistics.median(one):>9,.0f} {one[-1]:>9,.0f} "
            f"{all_[0]:>10,.0f} {statistics.median(all_):>8,.0f} {all_[-1]:>8,.0f}  "
            f"{inside} of {len(all_)}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
