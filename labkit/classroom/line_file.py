"""The file of a class's line: its jobs, who was served, and what was run when, in SQLite.

What is written stays, whenever the server ends. Knows no order but that of the line, no limits and
no clock but the wall's. One thread at a time: the queue has the lock.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

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
SELECT id, seat, turn, jobs.round, number, rows, attempt, arrived
FROM jobs LEFT JOIN seats USING (seat) WHERE state=?
ORDER BY jobs.round, attempt = 0, COALESCE(served, number), number
"""


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


class LineFile:
    """The tables of a line, in a file that is made where there is none."""

    def __init__(self, file: Path):
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + TABLES)
        self._line: list[sqlite3.Row] | None = None  # what waits, until something is written

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # --- jobs ------------------------------------------------------------------------------------

    def cut(self, most: int, words: str) -> None:
        """What was running when the server ended waits again; what was begun `most` times failed,
        with `words`."""
        self._write("UPDATE jobs SET state=? WHERE state=?", WAITING, RUNNING)
        self._write(
            "UPDATE jobs SET state=?, words=? WHERE state=? AND attempt>=?",
            *(FAILED, words, WAITING, most),
        )

    def add(
        self, job: str, seat: str, turn: str, round: int, rows: int, requests: str, knobs: str
    ) -> None:
        """A new job, which waits."""
        self._write(
            "INSERT INTO jobs (id, seat, turn, round, number, rows, knobs, requests, state, "
            "arrived) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(job, seat, turn, round, self._number(), rows, knobs, requests, WAITING, time.time()),
        )

    def jobs(self) -> dict[str, str]:
        """The seat of each job."""
        return {row["id"]: row["seat"] for row in self._all("SELECT id, seat FROM jobs")}

    def job(self, job: str) -> dict[str, Any] | None:
        """What is short of a job; None where there is none."""
        names = "id, seat, turn, rows, state, attempt, words"
        row = self._one(f"SELECT {names} FROM jobs WHERE id=?", job)
        return None if row is None else dict(row)

    def result(self, job: str) -> dict[str, Any]:
        """What a job came to: responses (JSON text), words, and times (Unix seconds)."""
        names = "state, words, attempt, responses, arrived, began, finished"
        return dict(self._one(f"SELECT {names} FROM jobs WHERE id=?", job))

    def waiting(self) -> list[sqlite3.Row]:
        """The jobs that wait, in the order of the line."""
        if self._line is None:
            self._line = self._all(LINE, WAITING)
        return self._line

    def begin(self, job: str) -> Job:
        """It runs from now on."""
        self._write(
            "UPDATE jobs SET state=?, attempt=attempt+1, began=? WHERE id=?",
            *(RUNNING, time.time(), job),
        )
        names = "id, seat, turn, rows, requests, knobs, attempt"
        return Job(**self._one(f"SELECT {names} FROM jobs WHERE id=?", job))

    def running_rows(self) -> int:
        """The rows of what runs."""
        return int(
            self._one("SELECT COALESCE(SUM(rows), 0) AS n FROM jobs WHERE state=?", RUNNING)["n"]
        )

    def runs(self, job: Job) -> bool:
        """Whether it runs, and in this attempt."""
        row = self.job(job.id)
        return row is not None and (row["state"], row["attempt"]) == (RUNNING, job.attempt)

    def finish(self, job: str, state: str, responses: str | None, words: str) -> None:
        """It has ended."""
        self._write(
            "UPDATE jobs SET state=?, responses=?, words=?, finished=? WHERE id=?",
            *(state, responses, words, time.time(), job),
        )

    def put_back(self, job: str, state: str, words: str) -> None:
        """It was cut: it waits again, or failed."""
        self._write("UPDATE jobs SET state=?, words=? WHERE id=?", state, words, job)

    def to_the_end(self, job: str, round: int) -> None:
        """A job that waits goes to the end of a round."""
        self._write("UPDATE jobs SET round=?, number=? WHERE id=?", round, self._number(), job)

    def drop(self, job: str) -> None:
        """Forget a job."""
        self._write("DELETE FROM jobs WHERE id=?", job)

    # --- turns -----------------------------------------------------------------------------------

    def open_turn(self, first: sqlite3.Row) -> int:
        """The turn that begins with this job of the line; its place in the table of turns."""
        seat = first["seat"]
        self._write(
            "INSERT INTO seats VALUES (?, ?, ?) ON CONFLICT (seat) DO UPDATE SET "
            "round=excluded.round, served=excluded.served",
            *(seat, first["round"], self._number()),
        )
        values = (seat, first["turn"], first["arrived"], time.time())
        return self._write("INSERT INTO turns VALUES (?, ?, ?, ?, NULL)", *values)

    def close_turn(self, number: int) -> None:
        """It is over: the engine is free for others."""
        self._write("UPDATE turns SET ended=? WHERE rowid=?", time.time(), number)

    def last_round(self, seat: str | None = None) -> int:
        """The round of a seat's last turn (0: it had none), or of all seats' (from 1)."""
        if seat is None:
            return int(self._one("SELECT COALESCE(MAX(round), 1) AS n FROM seats")["n"])
        row = self._one("SELECT round FROM seats WHERE seat=?", seat)
        return row["round"] if row else 0

    def turns(self) -> list[dict[str, Any]]:
        """Every turn, in order: seat, turn, arrived (its first job), began and ended (Unix seconds:
        so long nobody else could have the engine; None: under way, or the server ended in it)."""
        return [dict(row) for row in self._all("SELECT * FROM turns ORDER BY began")]

    # --- the log ---------------------------------------------------------------------------------

    def note(self, job: Job) -> None:
        """Log a run that has ended, unless its job is forgotten."""
        self._write(
            "INSERT INTO log SELECT seat, turn, id, rows, ?, arrived, began, ?, state "
            "FROM jobs WHERE id=?",
            *(job.attempt, time.time(), job.id),
        )

    def log(self) -> list[dict[str, Any]]:
        """Every run of a job, in order: seat, turn, rows, attempt, arrived, began, finished (Unix
        seconds), state afterwards."""
        return [dict(row) for row in self._all("SELECT * FROM log ORDER BY began")]

    # --- inside ----------------------------------------------------------------------------------

    def _number(self) -> int:
        """Counts what comes into the line, and the turns."""
        row = self._one(
            "SELECT MAX((SELECT COALESCE(MAX(number), 0) FROM jobs), "
            "(SELECT COALESCE(MAX(served), 0) FROM seats)) + 1 AS n"
        )
        return int(row["n"])

    def _write(self, statement: str, *values: Any) -> int:
        self._line = None
        return self._db.execute(statement, values).lastrowid or 0

    def _all(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchall()

    def _one(self, statement: str, *values: Any) -> Any:
        with closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchone()
