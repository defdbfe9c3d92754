"""The line of a class: whose turn it is, how long a turn may be, and who must wait.

A turn is what a seat does in one go: a job, or the jobs of a sweep one after the other, up to a
limit of rows and seconds. Turns are taken in rounds: in each round every seat that waits has one,
first the seat whose last turn is the longest ago (round robin; Nagle, 1985, RFC 970, section 6).
Whoever comes new waits for one turn of each other seat at most.

The line is a file (`LineFile`): a server that ends in the middle loses no job. What was being run
is run again, as a whole: a job's responses are kept when it is done, and all of them are of one
run. Knows no engine, no HTTP, no table and no clock but the one that it is given.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from labkit.classroom.line_file import DONE, FAILED, RUNNING, WAITING, Job, LineFile
from labkit.errors import LabError

#: A job that was begun so often and never ended is given up: it may be what ends the server.
MOST_ATTEMPTS = 3
GIVEN_UP = f"It was begun {MOST_ATTEMPTS} times and cut each time: it is not tried again."
#: So many turns tell how long one takes.
REMEMBERED = 20


class NoSuchJob(LabError):
    """There is no such job of this seat: never there, cancelled, or forgotten."""


class TooMuch(LabError):
    """More than a seat may have in line, or a turn may hold."""


@dataclass(frozen=True)
class Limits:
    """What a seat may ask for.

    rows: of a job, and of all jobs of a turn (lesson 2's panel has 6,400 on a GPU). seconds: no job
    begins later than this in a turn, and none takes longer. waiting: jobs of one seat in line.
    away_s: a seat that has not asked for so many seconds is passed over, and what runs for it is
    stopped. gap_s: a turn waits so long for its next job. keep_s: seconds that a job nobody asks
    for is kept.
    """

    rows: int = 8192
    seconds: float = 60.0
    waiting: int = 8
    away_s: float = 10.0
    gap_s: float = 2.0
    keep_s: float = 3600.0


@dataclass
class _Open:
    """The turn under way. number: its place in the table of turns. over: it has no more jobs."""

    seat: str
    turn: str
    round: int
    began: float
    number: int
    rows: int = 0
    busy: bool = True
    over: bool = False
    idle_since: float = 0.0


def _turn(job: Any) -> tuple[str, str]:
    """Whose turn a job of the line belongs to, and its name."""
    return job["seat"], job["turn"]


class TurnQueue:
    """The line, in a file; every call may come from any thread.

    on_change: called, in any thread, after each change that a waiting seat may want to hear of.
    """

    def __init__(
        self,
        file: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.limits, self.clock = limits or Limits(), clock
        self.on_change: list[Callable[[], None]] = []
        self.changed = threading.Condition(threading.RLock())
        self.file = LineFile(file)
        # Whoever was in line when the server ended has `away_s` to be heard of again.
        self._seen = dict.fromkeys(self.file.jobs(), clock())
        self._done_rows: dict[str, int] = {}
        self._open: _Open | None = None
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self.file.cut(MOST_ATTEMPTS, GIVEN_UP)

    def close(self) -> None:
        """Let go of the file."""
        with self.changed:
            self.file.close()

    # --- for seats -------------------------------------------------------------------------------

    def add(self, job: str, seat: str, turn: str, rows: int, requests: str, knobs: str) -> None:
        """Put a job in line; a job that is there already stays as it is.

        Raises TooMuch beyond the limits, NoSuchJob where another seat has a job of this name.
        """
        with self.changed:
            there = self.file.job(job)
            if there is not None and there["seat"] != seat:
                raise NoSuchJob("There is no such job of this seat.")
            self._seen[job] = self.clock()
            if there is not None:
                return
            if rows > self.limits.rows:
                raise TooMuch(
                    f"A job of this class has at most {self.limits.rows:,} rows, not {rows:,}: "
                    "take fewer rows."
                )
            self._make_room(seat)
            self.file.add(job, seat, turn, self._round(seat, turn), rows, requests, knobs)
            self._change()

    def status(self, job: str, seat: str) -> dict[str, Any]:
        """How far a job is; asking keeps it in line. `state`; of one that waits `before` (turns
        before its own) and `wait_s` (None: not known yet); `rows` and `rows_done`; `attempt`;
        `words`, why it failed."""
        with self.changed:
            row = self._of(job, seat)
            self._seen[job] = self.clock()
            told = {name: row[name] for name in ("state", "rows", "attempt", "words")}
            told["rows_done"] = self._done_rows.get(job, 0) if row["state"] == RUNNING else 0
            if row["state"] == WAITING:
                told["before"], told["wait_s"] = self._place(row)
            return told

    def result(self, job: str, seat: str) -> dict[str, Any]:
        """A finished job: `responses` (JSON text; None where there are none), `arrived`, `began`
        and `finished` (Unix seconds). It stays until `forget`. Raises NoSuchJob before its end."""
        with self.changed:
            row = self._of(job, seat)
            self._seen[job] = self.clock()
            if row["state"] not in (DONE, FAILED):
                raise NoSuchJob("This job has not ended.")
            return self.file.result(job)

    def forget(self, job: str, seat: str) -> None:
        """Take a job out: its result was fetched, or it is cancelled, which ends it if it runs."""
        with self.changed:
            self._of(job, seat)
            self._drop(job)
            self._change()

    def end_turn(self, seat: str, turn: str) -> None:
        """The seat has no more jobs for this turn: the next seat need not wait for one."""
        with self.changed:
            now = self._open
            if now and (now.seat, now.turn) == (seat, turn):
                now.over = True
                if not now.busy:
                    self._close_turn()
                    self._change()

    # --- for the board ---------------------------------------------------------------------------

    def overview(self) -> dict[str, Any]:
        """The line as all may see it: `turn` (None: the engine is free) with its `seat`, `rows` and
        `rows_done`; `waiting`, in order, each with its `seat` and `wait_s` (None: not known)."""
        with self.changed:
            now, turn = self._open, None
            if now is not None:
                done = now.rows - self.file.running_rows() + sum(self._done_rows.values())
                turn = {"seat": now.seat, "rows": now.rows, "rows_done": done}
            waiting = [
                {"seat": seat, "wait_s": self._wait_s(at)}
                for at, (seat, _) in enumerate(self._next_turns())
            ]
            return {"turn": turn, "waiting": waiting}

    # --- for the engine --------------------------------------------------------------------------

    def next(self) -> Job | None:
        """The job whose turn it is, from now on running; None where there is none."""
        with self.changed:
            self._tidy()
            now, row = self._open, None
            if now is not None and (row := self._next_of_turn(now)) is None:
                if self._holds(now):
                    return None
                self._close_turn()
            if now is None or row is None:
                row = next(iter(self._eligible()), None)
                if row is None:
                    return None
                number = self.file.open_turn(row)
                now = self._open = _Open(*_turn(row), row["round"], self.clock(), number)
            now.rows, now.busy = now.rows + row["rows"], True
            job = self.file.begin(row["id"])
            self._done_rows[job.id] = 0
            self._change()
            return job

    def wanted(self, job: Job) -> str:
        """Why a running job is to end: 'gone' (cancelled) or 'away' (nobody asks for it); '' for
        one that is to go on."""
        with self.changed:
            if not self.file.runs(job):
                return "gone"
            return "" if self._here(job.id) else "away"

    def advance(self, job: Job, rows: int) -> None:
        """So many rows more are done."""
        with self.changed:
            if job.id in self._done_rows:
                self._done_rows[job.id] += rows

    def finish(self, job: Job, responses: str | None, words: str = "") -> None:
        """It has ended: with these responses; and with `words` where it failed."""
        with self.changed:
            if self.file.runs(job):
                self.file.finish(job.id, FAILED if words else DONE, responses, words)
            self._ended(job)

    def put_back(self, job: Job, why: str = "") -> None:
        """It was cut: it waits in its old place, and is run again as a whole; given up where that
        was so too often, with `why` it was the last time."""
        with self.changed:
            if self.file.runs(job):
                again = job.attempt < MOST_ATTEMPTS
                words = "" if again else f"{GIVEN_UP} {why}".strip()
                self.file.put_back(job.id, WAITING if again else FAILED, words)
            self._ended(job)

    # --- inside ----------------------------------------------------------------------------------

    def _ended(self, job: Job) -> None:
        self.file.note(job)
        self._done_rows.pop(job.id, None)
        if (now := self._open) is not None:
            now.busy, now.idle_since = False, self.clock()
            if now.over:
                self._close_turn()
        self._change()

    def _next_of_turn(self, now: _Open) -> sqlite3.Row | None:
        """The next job of the turn under way, within its limits."""
        if self.clock() - now.began >= self.limits.seconds:
            return None
        row = next((r for r in self._eligible() if _turn(r) == (now.seat, now.turn)), None)
        if row is None or now.rows + row["rows"] > self.limits.rows:
            return None
        return row

    def _holds(self, now: _Open) -> bool:
        """Whether the engine is kept free for the turn's next job."""
        since = self.clock()
        late = (
            since - now.began >= self.limits.seconds or since - now.idle_since >= self.limits.gap_s
        )
        return not late and not self._left_of(now)

    def _left_of(self, now: _Open) -> list[sqlite3.Row]:
        """The jobs of a turn that wait."""
        return [row for row in self.file.waiting() if _turn(row) == (now.seat, now.turn)]

    def _close_turn(self) -> None:
        """What is left of the turn is the seat's next one, at the end of the line."""
        now, self._open = self._open, None
        if now is None:
            return
        self._took.append(max(0.0, now.idle_since - now.began))
        self.file.close_turn(now.number)
        for row in self._left_of(now):
            self.file.to_the_end(row["id"], max(now.round + 1, self.file.last_round()))

    def _round(self, seat: str, turn: str) -> int:
        """The round of a job that comes now: that of its turn, else the one after the seat's last;
        never one that is over."""
        now = self._open
        if now is not None and (now.seat, now.turn) == (seat, turn):
            return now.round
        line = [r for r in self.file.waiting() if r["seat"] == seat]
        if same := [r["round"] for r in line if r["turn"] == turn]:
            return int(same[0])
        last = max([r["round"] for r in line] + [self.file.last_round(seat)])
        return int(max(last + 1, self.file.last_round()))

    def _eligible(self) -> list[sqlite3.Row]:
        """Those in line whose seats are there."""
        return [row for row in self.file.waiting() if self._here(row["id"])]

    def _here(self, job: str) -> bool:
        return self.clock() - self._seen.get(job, -1e9) < self.limits.away_s

    def _next_turns(self) -> list[tuple[str, str]]:
        """The turns that wait, in order, without the one under way."""
        turns = dict.fromkeys(map(_turn, self._eligible()))
        if (now := self._open) is not None:
            turns.pop((now.seat, now.turn), None)
        return list(turns)

    def _wait_s(self, turns: int) -> float | None:
        """Seconds until so many turns are over, after the one under way: about; None: not known."""
        if not self._took:
            return None
        one, now = fmean(self._took), self._open
        return turns * one + (max(0.0, one - (self.clock() - now.began)) if now else 0.0)

    def _place(self, row: dict[str, Any]) -> tuple[int, float | None]:
        """(turns before that of a waiting job, seconds until it begins: about; None: not known)."""
        now, turns = self._open, self._next_turns()
        if now is not None and _turn(row) == (now.seat, now.turn):
            return 0, 0.0 if self._took else None
        at = turns.index(_turn(row)) if _turn(row) in turns else len(turns)
        return at + (now is not None), self._wait_s(at)

    def _of(self, job: str, seat: str) -> dict[str, Any]:
        row = self.file.job(job)
        if row is None or row["seat"] != seat:
            raise NoSuchJob("There is no such job of this seat.")
        return row

    def _tidy(self) -> None:
        """Forget what nobody asked for in a long time."""
        old = [job for job, seen in self._seen.items() if self.clock() - seen > self.limits.keep_s]
        for job in old:
            self._drop(job)

    def _drop(self, job: str) -> None:
        self.file.drop(job)
        self._seen.pop(job, None)

    def _make_room(self, seat: str) -> None:
        """Forget the seat's jobs that nobody asks for, as after a restart of its notebook, the
        oldest first, where it has too many. Raises TooMuch where they are all asked for."""
        mine = sorted(
            (job for job, owner in self.file.jobs().items() if owner == seat),
            key=lambda job: self._seen.get(job, -1e9),
        )
        for job in mine[: max(0, len(mine) - self.limits.waiting + 1)]:
            if self._here(job):
                raise TooMuch(
                    f"This seat has {self.limits.waiting} jobs in line: wait for them, or cancel."
                )
            self._drop(job)

    def _change(self) -> None:
        self.changed.notify_all()
        for tell in self.on_change:
            tell()
