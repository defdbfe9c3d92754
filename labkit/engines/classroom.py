"""A class's engine, on another machine: a job is put into its line, waits for its turn, and comes
back whole.

All responses of a job are of one run, and are fetched when it has ended: so each row comes once,
with its own times, whatever was cut and run again on the way. Needs neither Ray nor vLLM.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.errors import Cancelled, JobFailed, LabError
from labkit.hardware import classroom_seat
from labkit.hardware.classroom_seat import AWAY_S, PAUSE_S, Link, Refused
from labkit.metrics import EngineUse
from labkit.ray_session import job_lock
from labkit.rows import responses, wire
from labkit.rows.requests import REQUEST, Batches, every
from labkit.settings.seat_spec import SeatSpec
from labkit.settings.setting import NEED_NO_RELOAD

if TYPE_CHECKING:
    import ray.data

#: Seconds that the server may wait with its word on a job: a change comes at once. Its rows are
#: counted while it runs; thirty that wait must not keep the server busy.
COUNT_S, NEWS_S = 1.0, 5.0
#: Rows of a job where only answers are wanted (`labkit.write`), in rows in flight: what is finished
#: is written after each.
ROUNDS = 4
#: HTTP's status for a job that is not in line, and how often a job is sent, at most.
NOT_THERE, MOST_SENT = 404, 3
#: The names of the turns that this program has had jobs in.
_turns: set[str] = set()


def answer(
    asked: Batches | ray.data.Dataset,
    spec: SeatSpec,
    *,
    say: Callable[[str], None],
    cancel: threading.Event | None = None,
    use: EngineUse | None = None,
) -> Iterator[pa.Table]:
    """Requests → tables of responses, in turns of the class. say: is told the place in line.

    use: is told what the class's engine did (of a job of one turn), and by its clock from when to
    when: the wait in line for the first turn is in no number. Raises JobFailed with the class's
    words, or where it is away for long.
    """
    use = use or EngineUse()
    link, requests = classroom_seat.link(), every(asked)
    rows = requests["row"] if "row" in requests.column_names else None
    places = pa.array(range(len(requests)), pa.int64())
    if requests["row_id"].null_count:  # of a Dataset: its rows come back beside their answers
        requests = requests.set_column(0, REQUEST.field(0), places)
    most = spec.most_rows
    if use.answers_only:
        most = min(most, max(32, ROUNDS * spec.rows_in_flight))
    elif len(requests) > most:
        raise LabError(
            f"A job of this class has at most {most:,} rows, not {len(requests):,}: take fewer "
            "rows; labkit.write takes any number, in several turns."
        )
    turn = job_lock.job_name()
    _turns.add(turn)
    for at in range(0, len(requests), most):
        some = requests.slice(at, most)
        table, about = _Job(link, turn, say, cancel).run(some, spec)
        use.clock = (use.clock[0] if use.clock else about["started"], about["finished"])
        use.take(about if len(requests) <= most else {})
        if rows is not None:
            table = table.append_column("row", rows.take(table["row_id"]))
        yield table
        if words := about.get("words"):
            raise JobFailed(words)


def end_turn(turn: str) -> None:
    """Tell the class that this turn has no more jobs: the next seat need not wait for one."""
    if turn in _turns:
        _turns.discard(turn)
        with contextlib.suppress(LabError, OSError):
            classroom_seat.link().call("DELETE", f"turns/{turn}", timeout_s=3)


job_lock.after_job.append(end_turn)


class _Job:
    """One job in the class's line."""

    def __init__(
        self, link: Link, turn: str, say: Callable[[str], None], cancel: threading.Event | None
    ):
        self.link, self.turn, self.say, self.cancel = link, turn, say, cancel
        self.name = uuid.uuid4().hex
        self.attempt, self.sent, self.body = 1, 0, b""

    def run(self, requests: pa.Table, spec: SeatSpec) -> tuple[pa.Table, dict[str, Any]]:
        """(its responses, what is known of them: `started`, `finished`, `words`, …)."""
        knobs = {name: spec[name] for name in NEED_NO_RELOAD}
        columns = wire.to_columns(requests, REQUEST)
        body = {"turn": self.turn, "requests": columns, "knobs": knobs}
        self.body = json.dumps(body).encode()
        try:
            told = self._wait(self._send())
            found = self._call("GET", "/responses")
        finally:  # fetched, or given up: Cancel ends what runs
            with contextlib.suppress(LabError, OSError):
                self.link.call("DELETE", f"jobs/{self.name}", timeout_s=5)
        if found["result"] is None:
            raise JobFailed(told["words"] or "The class gave the job up, without a reason.")
        if self.attempt > 1:
            warnings.warn(
                f"The turn of this job was cut (the class's server or engine was restarted): it "
                f"was run again, as a whole; what is here is of run {self.attempt} alone.",
                stacklevel=2,
            )
        result = dict(found["result"])
        table = wire.from_columns(result.pop("columns"), responses.RESPONSE)
        return table, {**result, "words": told["words"]}

    def _send(self) -> dict[str, Any]:
        self.sent += 1
        told: dict[str, Any] = self._call("PUT", "", self.body)
        return told

    def _wait(self, told: dict[str, Any]) -> dict[str, Any]:
        """Wait for the end, and tell the place in line meanwhile. told: of the job when it came."""
        while told["state"] not in ("done", "failed"):
            self.say(words(told))
            wait_s = COUNT_S if told["state"] == "running" else NEWS_S
            try:
                told = self._call("GET", f"?wait={wait_s:g}")
            except Refused as problem:
                if problem.status != NOT_THERE or self.sent >= MOST_SENT:
                    raise
                told = self._send()  # the line's file was lost: a power cut, or another folder
            self.attempt = max(self.attempt, told["attempt"])
        return told

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """A call, tried again while the server is away, as in a restart: a job is there once,
        however often it was sent."""
        deadline = time.monotonic() + AWAY_S
        while True:
            if self._given_up():
                raise Cancelled("The job was given up, and its place in the class's line.")
            try:
                return self.link.call(
                    method, f"jobs/{self.name}{path}", body, given_up=self._given_up
                )
            except Refused as problem:
                if problem.status != 429 and problem.status < 500:
                    raise
                why: Any = problem
            except OSError as problem:
                why = getattr(problem, "reason", None) or problem
            if time.monotonic() > deadline:
                raise JobFailed(
                    f"The class at {self.link.url} has been away for {AWAY_S:g} s ({why}): ask "
                    "your teacher, and run it again."
                )
            self.say("the class's server is away: waiting for it, the job is kept")
            time.sleep(PAUSE_S)

    def _given_up(self) -> bool:
        return self.cancel is not None and self.cancel.is_set()


def words(told: dict[str, Any]) -> str:
    """What a seat is told of its job, in a line."""
    again = " again, as it was cut" if told["attempt"] > 1 else ""
    if told["state"] == "running":
        return f"your turn{again}: {told['rows_done']:,} of {told['rows']:,} rows"
    again = " (it was cut, and is run again)" if told["attempt"] else ""
    before, wait_s = told["before"], told["wait_s"]
    if not before:
        return f"class: you are next{again}"
    turns = "1 turn" if before == 1 else f"{before} turns"
    about = "" if wait_s is None else f", about {_time(wait_s)}"
    return f"class: {turns} before yours{about}{again}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
