"""The line of a class: jobs of many seats for one engine, one at a time, and fairly.

A turn is what a seat does in one go: a job, or the jobs of a sweep one after the other, up to a
limit of rows and seconds. Turns are taken in rounds: in each round every seat that waits has one,
first the seat whose last turn is the longest ago (round robin; Nagle, 1985, RFC 970, section 6).
Whoever comes new waits for one turn of each other seat at most.

The line is an SQLite file: a server that ends in the middle loses no job. What was being run is run
again, as a whole: a job's responses are kept when it is done, and all of them are of one run.
Knows no engine, no HTTP and no clock but the one that it is given.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from labkit.errors import LabError

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
#: A job that was begun so often and never ended is given up: it may be what ends the server.
MOST_ATTEMPTS = 3
#: So many turns tell how long one takes.
REMEMBERED = 20

TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, seat TEXT NOT NULL, turn TEXT NOT NULL, round INTEGER NOT NULL,
    number INTEGER NOT NULL, rows INTEGER NOT NULL, knobs TEXT NOT NULL, requests TEXT NOT NULL,
    state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, arrived REAL NOT NULL, began REAL,
    finished REAL, responses TEXT, words TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS line ON jobs (state, round, number);
CREATE TABLE IF NOT EXISTS seats (
    seat TEXT PRIMARY KEY, round INTEGER NOT NULL, served INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS log (
    seat TEXT, turn TEXT, id TEXT, rows INTEGER, attempt INTEGER, arrived REAL, began REAL,
    finished REAL, state TEXT);
CREATE TABLE IF NOT EXISTS turns (seat TEXT, turn TEXT, arrived REAL, began REAL, ended REAL);
"""
#: What waits, in order: what was cut is first in its round.
LINE = """
SELECT id, seat, turn, jobs.round, number, rows, attempt
FROM jobs LEFT JOIN seats USING (seat) WHERE state=?
ORDER BY jobs.round, attempt = 0, COALESCE(served, number), number
"""


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


@dataclass(frozen=True)
class Job:
    """A job whose turn has come. attempt: 1 the first time. requests, knobs: JSON texts."""

    id: str
    seat: str
    turn: str
    rows: int
    requests: str
    knobs: str
    attempt: int


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
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + TABLES)
        # Whoever was in line when the server ended has `away_s` to be heard of again.
        self._seen = {row["id"]: clock() for row in self._all("SELECT id FROM jobs")}
        self._done_rows: dict[str, int] = {}
        self._open: _Open | None = None
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._line: list[sqlite3.Row] | None = None  # what waits, until something is written
        self._write("UPDATE jobs SET state=? WHERE state=?", WAITING, RUNNING)
        self._write(
            "UPDATE jobs SET state=?, words=? WHERE state=? AND attempt>=?",
            *(FAILED, _given_up(), WAITING, MOST_ATTEMPTS),
        )

    def close(self) -> None:
        """Let go of the file."""
        with self.changed:
            self._db.close()

    # --- for seats -------------------------------------------------------------------------------

    def add(self, job: str, seat: str, turn: str, rows: int, requests: str, knobs: str) -> None:
        """Put a job in line; a job that is there already stays as it is.

        Raises TooMuch beyond the limits, NoSuchJob where another seat has a job of this name.
        """
        with self.changed:
            there = self._one("SELECT seat FROM jobs WHERE id=?", job)
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
            self._write(
                "INSERT INTO jobs (id, seat, turn, round, number, rows, knobs, requests, state, "
                "arrived) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(job, seat, turn, self._round(seat, turn), self._number(), rows, knobs, requests),
                *(WAITING, time.time()),
            )
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
            names = "state, words, attempt, responses, arrived, began, finished"
            return dict(self._one(f"SELECT {names} FROM jobs WHERE id=?", job))

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
            now, one = self._open, fmean(self._took) if self._took else None
            turns = list(dict.fromkeys((r["seat"], r["turn"]) for r in self._eligible()))
            turn, left = None, 0.0
            if now is not None:
                turns = [mine for mine in turns if mine != (now.seat, now.turn)]
                running = self._one("SELECT SUM(rows) AS n FROM jobs WHERE state=?", RUNNING)["n"]
                done = now.rows - (running or 0) + sum(self._done_rows.values())
                turn = {"seat": now.seat, "rows": now.rows, "rows_done": done}
                left = max(0.0, (one or 0.0) - (self.clock() - now.began))
            waits = [None if one is None else left + at * one for at in range(len(turns))]
            waiting = [
                {"seat": seat, "wait_s": wait} for (seat, _), wait in zip(turns, waits, strict=True)
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
                now = self._open = self._opened(row)
            now.rows, now.busy = now.rows + row["rows"], True
            self._write(
                "UPDATE jobs SET state=?, attempt=attempt+1, began=? WHERE id=?",
                *(RUNNING, time.time(), row["id"]),
            )
            self._done_rows[row["id"]] = 0
            self._change()
            names = "id, seat, turn, rows, requests, knobs, attempt"
            return Job(**self._one(f"SELECT {names} FROM jobs WHERE id=?", row["id"]))

    def wanted(self, job: Job) -> str:
        """Why a running job is to end: 'gone' (cancelled) or 'away' (nobody asks for it); '' for
        one that is to go on."""
        with self.changed:
            if not self._runs(job):
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
            if self._runs(job):
                state = FAILED if words else DONE
                self._write(
                    "UPDATE jobs SET state=?, responses=?, words=?, finished=? WHERE id=?",
                    *(state, responses, words, time.time(), job.id),
                )
            self._ended(job)

    def put_back(self, job: Job, why: str = "") -> None:
        """It was cut: it waits in its old place, and is run again as a whole; given up where that
        was so too often, with `why` it was the last time."""
        with self.changed:
            if self._runs(job):
                state = WAITING if job.attempt < MOST_ATTEMPTS else FAILED
                words = "" if state == WAITING else f"{_given_up()} {why}".strip()
                self._write("UPDATE jobs SET state=?, words=? WHERE id=?", state, words, job.id)
            self._ended(job)

    # --- inside ----------------------------------------------------------------------------------

    def _ended(self, job: Job) -> None:
        self._log(job)
        self._done_rows.pop(job.id, None)
        if (now := self._open) is not None:
            now.busy, now.idle_since = False, self.clock()
            if now.over:
                self._close_turn()
        self._change()

    def _log(self, job: Job) -> None:
        row = self._one("SELECT arrived, began, state FROM jobs WHERE id=?", job.id)
        if row is not None:
            self._write(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(job.seat, job.turn, job.id, job.rows, job.attempt, row["arrived"], row["began"]),
                *(time.time(), row["state"]),
            )

    def _next_of_turn(self, now: _Open) -> sqlite3.Row | None:
        """The next job of the turn under way, within its limits."""
        if self.clock() - now.began >= self.limits.seconds:
            return None
        row = next(
            (r for r in self._eligible() if (r["seat"], r["turn"]) == (now.seat, now.turn)), None
        )
        if row is None or now.rows + row["rows"] > self.limits.rows:
            return None
        return row

    def _holds(self, now: _Open) -> bool:
        """Whether the engine is kept free for the turn's next job."""
        since = self.clock()
        late = (
            since - now.began >= self.limits.seconds or since - now.idle_since >= self.limits.gap_s
        )
        mine = [r for r in self._waiting() if (r["seat"], r["turn"]) == (now.seat, now.turn)]
        return not late and not mine

    def _close_turn(self) -> None:
        """What is left of the turn is the seat's next one, at the end of the line."""
        now, self._open = self._open, None
        if now is None:
            return
        self._took.append(max(0.0, now.idle_since - now.began))
        self._write("UPDATE turns SET ended=? WHERE rowid=?", time.time(), now.number)
        for row in self._waiting():
            if (row["seat"], row["turn"]) == (now.seat, now.turn):
                self._write(
                    "UPDATE jobs SET round=?, number=? WHERE id=?",
                    *(max(now.round + 1, self._current_round()), self._number(), row["id"]),
                )

    def _round(self, seat: str, turn: str) -> int:
        """The round of a job that comes now: that of its turn, else the one after the seat's last;
        never one that is over."""
        now = self._open
        if now is not None and (now.seat, now.turn) == (seat, turn):
            return now.round
        line = [r for r in self._waiting() if r["seat"] == seat]
        if same := [r["round"] for r in line if r["turn"] == turn]:
            return int(same[0])
        had = self._one("SELECT round FROM seats WHERE seat=?", seat)
        last = max([r["round"] for r in line] + [had["round"] if had else 0])
        return int(max(last + 1, self._current_round()))

    def _current_round(self) -> int:
        return int(self._one("SELECT COALESCE(MAX(round), 1) AS n FROM seats")["n"])

    def _opened(self, row: sqlite3.Row) -> _Open:
        """The turn that begins with this job."""
        seat, turn = row["seat"], row["turn"]
        self._write(
            "INSERT INTO seats VALUES (?, ?, ?) ON CONFLICT (seat) DO UPDATE SET "
            "round=excluded.round, served=excluded.served",
            *(seat, row["round"], self._number()),
        )
        arrived = self._one("SELECT arrived FROM jobs WHERE id=?", row["id"])["arrived"]
        statement = "INSERT INTO turns VALUES (?, ?, ?, ?, NULL)"
        number = self._write(statement, seat, turn, arrived, time.time())
        return _Open(seat, turn, row["round"], self.clock(), number)

    def _number(self) -> int:
        """Counts what comes into the line, and the turns."""
        row = self._one(
            "SELECT MAX((SELECT COALESCE(MAX(number), 0) FROM jobs), "
            "(SELECT COALESCE(MAX(served), 0) FROM seats)) + 1 AS n"
        )
        return int(row["n"])

    def _waiting(self) -> list[sqlite3.Row]:
        if self._line is None:
            self._line = self._all(LINE, WAITING)
        return self._line

    def _eligible(self) -> list[sqlite3.Row]:
        """Those in line whose seats are there."""
        return [row for row in self._waiting() if self._here(row["id"])]

    def _here(self, job: str) -> bool:
        return self.clock() - self._seen.get(job, -1e9) < self.limits.away_s

    def _place(self, row: dict[str, Any]) -> tuple[int, float | None]:
        """(turns before that of a waiting job, seconds until it begins: about; None: not known)."""
        now, mine = self._open, (row["seat"], row["turn"])
        turns = list(dict.fromkeys((r["seat"], r["turn"]) for r in self._eligible()))
        current = (now.seat, now.turn) if now is not None else None
        if current in turns:
            turns.remove(current)
        before = 0 if mine == current else turns.index(mine) if mine in turns else len(turns)
        one = fmean(self._took) if self._took else None
        if now is None or mine == current:
            return before, None if one is None else before * one
        left = None if one is None else max(0.0, one - (self.clock() - now.began))
        return before + 1, None if one is None or left is None else before * one + left

    def _runs(self, job: Job) -> bool:
        row = self._one("SELECT state, attempt FROM jobs WHERE id=?", job.id)
        return row is not None and row["state"] == RUNNING and row["attempt"] == job.attempt

    def _of(self, job: str, seat: str) -> dict[str, Any]:
        names = "id, seat, turn, rows, state, attempt, words"  # not what is long
        row = self._one(f"SELECT {names} FROM jobs WHERE id=? AND seat=?", job, seat)
        if row is None:
            raise NoSuchJob("There is no such job of this seat.")
        return dict(row)

    def _tidy(self) -> None:
        """Forget what nobody asked for in a long time."""
        old = [job for job, seen in self._seen.items() if self.clock() - seen > self.limits.keep_s]
        for job in old:
            self._drop(job)

    def _drop(self, job: str) -> None:
        self._write("DELETE FROM jobs WHERE id=?", job)
        self._seen.pop(job, None)

    def _make_room(self, seat: str) -> None:
        """Forget the seat's jobs that nobody asks for, as after a restart of its notebook, the
        oldest first, where it has too many. Raises TooMuch where they are all asked for."""
        mine = sorted(
            (row["id"] for row in self._all("SELECT id FROM jobs WHERE seat=?", seat)),
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

    def _write(self, statement: str, *values: Any) -> int:
        self._line = None
        return self._db.execute(statement, values).lastrowid or 0

    def _all(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchall()

    def _one(self, statement: str, *values: Any) -> Any:
        with closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchone()

    def log(self) -> list[dict[str, Any]]:
        """Every run of a job, in order: seat, turn, rows, attempt, arrived, began, finished (Unix
        seconds), state afterwards."""
        with self.changed:
            return [dict(row) for row in self._all("SELECT * FROM log ORDER BY began")]

    def turns(self) -> list[dict[str, Any]]:
        """Every turn, in order: seat, turn, arrived (its first job), began and ended (Unix seconds:
        so long nobody else could have the engine; None: under way, or the server ended in it)."""
        with self.changed:
            return [dict(row) for row in self._all("SELECT * FROM turns ORDER BY began")]


def _given_up() -> str:
    return f"It was begun {MOST_ATTEMPTS} times and cut each time: it is not tried again."


def text(value: Any) -> str:
    """As the line keeps what it is given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
