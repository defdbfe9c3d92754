"""Thirty learners on one engine: how long each waits, and whether their curves are those of one.

`python -m benchmarks.classroom --out class.json` opens a class on this machine, has one seat run
the panel of lesson 2 five times alone, then thirty at once, each a process of its own
(`benchmarks.learners`). The file is written as it goes: what is there when the time is over counts.
It holds every learner's curve beside those of one alone, and by the server's own records every
turn: when it came into the line, began and ended, and the sum of the turns before it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import labkit
from benchmarks import learners
from benchmarks.about import about
from benchmarks.learners import Learners
from labkit.classroom.seats import Seats
from labkit.paths import REPO

#: Seconds for a class to open; between two looks at it.
OPEN_S, LOOK_S = 300.0, 0.5


@contextlib.contextmanager
def opened(folder: Path, seats: int, *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`labkit classroom` as a program of its own: (its URL, the program)."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "labkit", "classroom", f"--seats={seats}"]
    command += [f"--folder={folder}", f"--sheet={folder / 'sheet.html'}", *more]
    with log.open("w") as lines:
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


def links(folder: Path, seats: int, url: str) -> dict[str, str]:
    """The link of each seat."""
    tokens = Seats(folder, seats)
    return {name: f"{url}/{tokens.token(name)}" for name in tokens.names()}


def records(folder: Path, table: str) -> list[dict[str, Any]]:
    """What the class's server noted: `turns`, or in `log` the runs of jobs; in order."""
    with contextlib.closing(sqlite3.connect(folder / "line.sqlite")) as line:
        line.row_factory = sqlite3.Row
        return [dict(row) for row in line.execute(f"SELECT * FROM {table} ORDER BY began")]


def waits(
    turns: Sequence[dict[str, Any]], away: tuple[float, float] | None = None
) -> list[dict[str, Any]]:
    """The turns, each with `waited`: seconds from its arrival to its begin, and `before`: how much
    of that others had turns. away: when there was no server; it is in neither. A turn without an
    end was cut then, or is under way."""
    gone, back = away or (math.inf, math.inf)

    def there(first: float, last: float) -> float:
        return max(0.0, last - first) - max(0.0, min(last, back) - max(first, gone))

    def end(turn: dict[str, Any]) -> float:
        if turn["ended"] is not None:
            return float(turn["ended"])
        return gone if turn["began"] < gone else math.inf

    found = []
    for turn in turns:
        came, began = turn["arrived"], turn["began"]
        others = [t for t in turns if t is not turn]
        parts = ((max(t["began"], came), min(end(t), began)) for t in others)
        before = sum(there(first, last) for first, last in parts if last > first)
        found.append({**turn, "waited": there(came, began), "before": before})
    return found


def points(
    alone: Sequence[dict[str, float]], together: Sequence[dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Rows in flight → lowest, median and highest output tokens/s of one alone and of the class,
    how many learners are within the range of one alone, how many would be if only chance told them
    apart, how far the others are outside at most (a share of its end), and how likely chance alone
    parts the two so far (`chance`)."""
    found: dict[str, dict[str, Any]] = {}
    for point in alone[0] if alone else ():
        one, all_ = ([curve[point] for curve in curves] for curves in (alone, together))
        low, high = min(one), max(one)
        outside = [max(low / rate, rate / high) - 1 for rate in all_ if not low <= rate <= high]
        found[point] = {
            "alone": _range(one),
            "class": _range(all_) if all_ else None,
            "inside": len(all_) - len(outside),
            "of": len(all_),
            "inside_by_chance": round(len(all_) * (len(one) - 1) / (len(one) + 1), 1),
            "chance": round(chance(one, all_), 3) if all_ else None,
            "outside_at_most": round(max(outside, default=0.0), 4),
        }
    return found


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely two samples of one kind lie as far apart as these, either way round: the test of
    Mann and Whitney, by the normal distribution."""
    pairs = sum((a < b) + (a == b) / 2 for a in one for b in other)
    n, m = len(one), len(other)
    return math.erfc(abs(pairs - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 6))


def _range(rates: Sequence[float]) -> list[float]:
    return [round(number, 1) for number in (min(rates), statistics.median(rates), max(rates))]


def measure(
    seats: int, alone: int, panel: Sequence[Any], note: Callable[..., None], *more: str
) -> None:
    """Open a class, measure one seat alone, then all at once; `note` is told what is known. panel:
    rows, shares and cores of `Learners`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            learners.loaded(folder / "alone", alone, *panel) as one,
            learners.loaded(folder / "class", 1, *panel) as all_,
            opened(folder, seats, "--port=0", *more) as (url, _),
        ):
            every = links(folder, seats, url)
            first = next(iter(every))
            note(state="one seat alone")
            one.go({first: every[first]})
            for found in _watched(one):
                note(alone=found[first]["curves"])
            before, jobs = len(records(folder, "turns")), len(records(folder, "log"))
            note(state="all seats")
            all_.go(every)
            for found in _watched(all_):
                note(
                    learners={s: told["curves"][0] for s, told in found.items() if told["curves"]},
                    own={s: told["own"] for s, told in found.items()},
                    turns=waits(records(folder, "turns")[before:]),
                    runs=records(folder, "log")[jobs:],
                )
            note(state="done")


def _watched(some: Learners) -> Iterator[dict[str, dict[str, Any]]]:
    working = True
    while working:
        time.sleep(LOOK_S)
        working = some.working()
        yield some.results()


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """What follows from what was measured: the points, and the waits in numbers."""
    together = list(measured.get("learners", {}).values())
    found: dict[str, Any] = {"points": points(measured.get("alone", []), together)}
    turns = [turn for turn in measured.get("turns", []) if turn["ended"] is not None]
    if turns:
        waited = [turn["waited"] for turn in turns]
        over = [turn["waited"] - turn["before"] for turn in turns]
        longest = max(turns, key=lambda turn: turn["waited"])
        found |= {
            "took_s": max(t["ended"] for t in turns) - min(t["arrived"] for t in turns),
            "turns_s": sum(t["ended"] - t["began"] for t in turns),
            "jobs_s": sum(run["finished"] - run["began"] for run in measured.get("runs", [])),
            "waited_s": _range(waited),
            "longest_wait_by_turns_before": longest["waited"] / max(longest["before"], 1e-9),
            "waited_beyond_turns_before_s": max(over),
        }
    own = [row for rows in measured.get("own", {}).values() for row in rows or []]
    found["own_rows"] = len(own)
    found["rows_of_others"] = strangers(own)
    return found


def strangers(own: Sequence[Sequence[int]]) -> int:
    """How many rows have not the input tokens of their own words: a word is one token, and the
    chat template adds as many to each."""
    added = [tokens - words for words, tokens in own]
    return sum(one != statistics.mode(added) for one in added) if added else 0


def main() -> None:
    """Measure, write the file as it goes, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seats", type=int, default=30)
    parser.add_argument("--alone", type=int, default=5, help="panels of one seat alone")
    parser.add_argument("--rows", type=int, help="of a run (default: as in lesson 2)")
    parser.add_argument(
        "--shares", type=int, nargs="+", default=learners.SHARES,
        help="points of the panel: the most rows in flight, divided by these (default: all four)",
    )  # fmt: skip
    parser.add_argument("--seats-on", metavar="CORES", help="cores of the learners' programs alone")
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    given = parser.parse_args()
    began = time.monotonic()
    measured = {**about("classroom", labkit.configure(given.model)), "seats": given.seats}

    def note(**more: Any) -> None:
        if more.get("state", measured.get("state")) != measured.get("state"):
            print(f"{time.monotonic() - began:4.0f} s  {more['state']}", flush=True)
        measured.update(more)
        if given.out is not None:
            part = given.out.with_name(f"{given.out.name}.part")
            part.write_text(json.dumps({**measured, **summary(measured)}, indent=1))
            part.replace(given.out)

    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
    note(state="the engine starts")
    model = [f"--model={given.model}"] if given.model else []
    try:
        panel = (given.rows, given.shares, given.seats_on)
        measure(given.seats, given.alone, panel, note, *model)
    finally:
        print(report(measured))


def report(measured: dict[str, Any]) -> str:
    """What was measured, in lines."""
    found = summary(measured)
    lines = []
    if "took_s" in found:
        low, median, high = found["waited_s"]
        lines = [
            f"{len(measured['learners'])} learners in {found['took_s']:.0f} s, "
            f"{len(measured['turns'])} turns of {found['turns_s']:.0f} s in all, "
            f"{found['jobs_s']:.0f} s of it jobs; "
            f"{found['rows_of_others']} of {found['own_rows']} own rows came from others",
            f"wait for a turn: lowest {low:.1f} s, median {median:.1f} s, longest {high:.1f} s, "
            f"which is {found['longest_wait_by_turns_before']:.3f} times the turns before it; "
            f"at most {found['waited_beyond_turns_before_s']:.2f} s beyond them",
        ]
    alone = "alone: lowest, median, highest"
    head = f"{'rows in flight':>14} {alone:>32} {'class':>28}"
    lines.append(f"{head}  inside  (by chance)  off at most  median  chance")
    for point, one in found["points"].items():
        line = f"{point:>14} {_shown(one['alone']):>32} {_shown(one['class']):>28}"
        if one["of"]:
            line += f"  {one['inside']:>2} of {one['of']:<2} ({one['inside_by_chance']:>7})"
            line += f" {one['outside_at_most']:>12.1%} {one['class'][1] / one['alone'][1]:>7.2f}"
            line += f" {one['chance']:>7.2f}"
        lines.append(line)
    return "\n".join(lines)


def _shown(rates: Sequence[float] | None) -> str:
    return "–" if rates is None else " ".join(f"{rate:>9,.0f}" for rate in rates)


if __name__ == "__main__":
    main()
