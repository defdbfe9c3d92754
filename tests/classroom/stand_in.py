"""A class without an engine: a clock that is set by hand, and who answers in its seconds.

What is tested with it is order, limits and loss; tests/engines/test_classroom.py has a real engine.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from labkit.classroom.board import Board
from labkit.classroom.open_class import serve
from labkit.classroom.seats import Seats
from labkit.classroom.turn_queue import Limits, TurnQueue
from labkit.classroom.turns import Turns
from labkit.errors import Cancelled
from labkit.metrics import EngineUse
from labkit.rows import responses, wire
from labkit.rows.requests import REQUEST

KNOBS = {"batch_size": 2, "max_concurrent_batches": 2, "max_pending_requests": 4}


class Clock:
    """Seconds, as they are set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class StandIn:
    """Answers a row with what it was asked, in capitals, in `row_s` seconds of the clock.

    meanwhile: called before each row, and once more at the end: a test may let time pass in it, or
    end the server.
    """

    def __init__(self, clock: Clock, row_s: float = 1.0):
        self.clock, self.row_s = clock, row_s
        self.asked: list[list[str]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def answer(
        self,
        requests: pa.Table,
        knobs: dict[str, int],
        cancel: threading.Event,
        told: Callable[[pa.Table], None],
    ) -> EngineUse:
        self.asked.append([])
        for row in requests.to_pylist():
            self.meanwhile()
            if cancel.is_set():
                raise Cancelled("ended")
            self.clock.now += self.row_s
            asked = json.loads(row["messages"])[-1]["content"]
            self.asked[-1].append(asked)
            now = self.clock.now
            times = dict(
                zip(responses.TIMES, (now, now - 0.5, now - 0.4, now - 0.3, now), strict=True)
            )
            counts = {"num_input_tokens": 3, "num_generated_tokens": 2, "batch_uuid": "b"}
            answer = {"row_id": row["row_id"], "text": asked.upper(), "finish_reason": "stop"}
            told(responses.table([{**answer, **times, **counts}]))
        self.meanwhile()
        if cancel.is_set():
            raise Cancelled("ended")
        return EngineUse(preemptions=0, cpu_s={"this program": 0.1})


def asked(texts: list[str], first: int = 0) -> pa.Table:
    """Requests of these texts."""
    rows = [
        {
            "row_id": first + at,
            "messages": wire.dumps([{"role": "user", "content": words}]),
            "sampling": '{"max_tokens": 4}',
            "error": None,
        }
        for at, words in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, REQUEST)


class Class:
    """The line of a class in a file, and its stand-in for an engine."""

    def __init__(self, folder: Path, limits: Limits | None = None, row_s: float = 1.0):
        self.file, self.limits, self.clock = folder / "line.sqlite", limits or Limits(), Clock()
        self.engine = StandIn(self.clock, row_s)
        self.open()

    def open(self) -> None:
        """Start the server's part, as after a restart."""
        self.queue = TurnQueue(self.file, self.limits, self.clock)
        self.turns = Turns(self.queue, self.engine)

    def add(self, seat: str, job: str, rows: int = 1, turn: str | None = None) -> None:
        """A job of so many rows, whose texts name seat, job and row."""
        columns = wire.to_columns(asked([f"{seat} {job} {n}" for n in range(rows)]), REQUEST)
        self.queue.add(job, seat, turn or job, rows, wire.dumps(columns), wire.dumps(KNOBS))

    def serve(self, hear: bool = True) -> None:
        """Run until nothing is in line; hear: all seats ask for their jobs all the time."""
        for _ in range(10_000):
            if hear:
                self.hear()
            if not self.turns.step():
                if not self.queue.file.waiting() or not hear:
                    return
                self.clock.now += 0.5
        raise AssertionError("the line does not end")

    def hear(self) -> None:
        """Every seat asks for its jobs."""
        for job, seat in self.queue.file.jobs().items():
            self.queue.status(job, seat)

    def order(self) -> list[str]:
        """The jobs in the order of their runs."""
        return [run["id"] for run in self.queue.file.log()]

    def texts(self, seat: str, job: str) -> list[Any]:
        """The answers of a job, in the order of its rows."""
        found = self.queue.result(job, seat)["responses"]
        table = wire.from_columns(json.loads(found)["columns"], responses.RESPONSE)
        return list(table.sort_by("row_id")["text"].to_pylist())


@contextlib.contextmanager
def opened(
    turns: Turns,
    tokens: Seats,
    about: dict[str, Any],
    port: int = 0,
    board: Board | None = None,
) -> Iterator[tuple[str, int]]:
    """A class that is served in threads of this program: (its URL, its port)."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        port = listener.getsockname()[1]
        ready = threading.Event()
        server = threading.Thread(
            target=serve, args=(turns, tokens, about, listener, ready.set, board), daemon=True
        )
        server.start()
        assert ready.wait(20)
        try:
            yield f"http://127.0.0.1:{port}", port
        finally:
            turns.stop()
            server.join(20)
            assert not server.is_alive()
