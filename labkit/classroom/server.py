"""The class server over HTTP: who is asking, how much and how often, and the line's answers.

Every call shows a seat's token. Nothing that a learner sends is run, logged or shown to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from labkit.classroom import asked, seats
from labkit.classroom.board import Board
from labkit.classroom.board_http import BoardPages
from labkit.classroom.turn_queue import NoSuchJob, TooMuch, TurnQueue
from labkit.errors import LabError
from labkit.rows import wire
from labkit.rows.requests import REQUEST

#: Bytes of a job, at most; seconds that a call for a job's state may wait for news.
MOST_BYTES, LONGEST_S = 8 * 2**20, 5.0
#: What is larger is read so far, and thrown away: a seat that still sends can't read the refusal.
MOST_READ = 8 * MOST_BYTES
#: Calls that a seat, or an address with bad tokens, may make: so many at once, so many a second.
BURST, RATE = 60, 20.0


class Rates:
    """A bucket of calls for each name (token bucket)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def allow(self, name: str) -> bool:
        """Whether this call is within the rate; it counts."""
        now = self.clock()
        left, at = self._left.get(name, (float(BURST), now))
        left = min(BURST, left + (now - at) * RATE)
        if len(self._left) > 10_000:  # addresses come and go
            self._left.clear()
        self._left[name] = (max(0.0, left - 1), now)
        return left >= 1


class _Refuse(Exception):
    def __init__(self, status: int, words: str):
        super().__init__(words)
        self.status = status


Handler = Callable[[Request, str], Awaitable[Response]]


class Server:
    """The HTTP application of a class: `app`. about: what a seat is told of engine and limits.
    board: what is shown of the class; None for one in memory."""

    def __init__(
        self,
        queue: TurnQueue,
        tokens: seats.Seats,
        about: dict[str, Any],
        board: Board | None = None,
    ):
        self.queue, self.tokens, self.about, self.rates = queue, tokens, about, Rates()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        queue.on_change.append(self._wake)
        board = board or Board(None, tokens.names())
        pages = BoardPages(board, queue, tokens, about["words"], self._allow)
        routes = [
            Route("/about", self._guard(self._about)),
            Route("/jobs/{job}", self._guard(self._add), methods=["PUT"]),
            Route("/jobs/{job}", self._guard(self._status), methods=["GET"]),
            Route("/jobs/{job}", self._guard(self._forget), methods=["DELETE"]),
            Route("/jobs/{job}/responses", self._guard(self._responses)),
            Route("/turns/{turn}", self._guard(self._end_turn), methods=["DELETE"]),
            *pages.routes(self._guard),
            Route("/{token}", self._welcome),
        ]
        self.app = Starlette(routes=routes)

    def _allow(self, name: str) -> bool:
        return self.rates.allow(name)

    def _seat(self, request: Request, token: str) -> str:
        """Who asks. Raises _Refuse for a bad token, and for too many calls."""
        seat = self.tokens.seat(token)
        address = request.client.host if request.client else "?"
        if not self.rates.allow(f"seat {seat}" if seat else f"address {address}"):
            raise _Refuse(429, "Too many calls: wait a second.")
        if seat is None:
            raise _Refuse(401, "This is no token of this class: ask your teacher for your link.")
        return seat

    def _guard(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                scheme, _, token = request.headers.get("authorization", "").partition(" ")
                seat = self._seat(request, token if scheme == "Bearer" else "")
                return await handler(request, seat)
            except _Refuse as problem:
                return _error(problem.status, problem)
            except NoSuchJob as problem:
                return _error(404, problem)
            except TooMuch as problem:
                return _error(413, problem)
            except LabError as problem:
                return _error(400, problem)
            except ClientDisconnect:
                return Response(status_code=400)

        return guarded

    async def _about(self, request: Request, seat: str) -> Response:
        return JSONResponse({**self.about, "seat": seat})

    async def _add(self, request: Request, seat: str) -> Response:
        job, body = _name(request, "job"), await _body(request)
        turn, table, knobs = await run_in_threadpool(asked.looked_at, body)
        requests = wire.dumps(wire.to_columns(table, REQUEST))
        # Away from the loop: the line is written to disk.
        await run_in_threadpool(
            self.queue.add, job, seat, turn, len(table), requests, wire.dumps(knobs)
        )
        return JSONResponse(self.queue.status(job, seat))

    async def _status(self, request: Request, seat: str) -> Response:
        """Waits for news until `wait` seconds are over: a change of the state or of the place."""
        job, told = _name(request, "job"), dict[str, Any]()
        end = time.monotonic() + _seconds(request)
        first = None
        while True:
            changed = self._changed()  # first: what changes from here on is heard
            told = self.queue.status(job, seat)
            news = (told["state"], told.get("before"), told["attempt"])
            first = first or news
            left = end - time.monotonic()
            if news != first or told["state"] in ("done", "failed") or left <= 0:
                return JSONResponse(told)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left)

    def _changed(self) -> asyncio.Event:
        """Set at the next change of the line; one for all calls that wait: no clock wakes them."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._news = loop, asyncio.Event()
        return self._news

    def _wake(self) -> None:
        """The line has changed, by whatever thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _responses(self, request: Request, seat: str) -> Response:
        found = self.queue.result(_name(request, "job"), seat)
        responses = found.pop("responses") or "null"  # JSON as it is: not read and made once more
        body = f'{{"about":{wire.dumps(found)},"result":{responses}}}'
        return Response(body, media_type="application/json")

    async def _forget(self, request: Request, seat: str) -> Response:
        with contextlib.suppress(NoSuchJob):  # told twice
            self.queue.forget(_name(request, "job"), seat)
        return JSONResponse({})

    async def _end_turn(self, request: Request, seat: str) -> Response:
        self.queue.end_turn(seat, _name(request, "turn"))
        return JSONResponse({})

    async def _welcome(self, request: Request) -> Response:
        token = request.path_params["token"]
        try:
            seat = self._seat(request, token)
        except _Refuse as problem:
            return HTMLResponse(f"<p>{problem}</p>", problem.status)
        link = f"{str(request.base_url).rstrip('/')}/{token}"
        headers = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        return HTMLResponse(seats.welcome(seat, link, self.about["words"]), headers=headers)


def _error(status: int, problem: Exception) -> Response:
    return JSONResponse({"error": str(problem)}, status)


def _name(request: Request, what: str) -> str:
    name = str(request.path_params[what])
    if not asked.is_name(name):
        raise LabError(f"This is no name of a {what}.")
    return name


def _seconds(request: Request) -> float:
    try:
        seconds = float(request.query_params.get("wait", "0"))
    except ValueError:
        raise LabError("wait is a number of seconds.") from None
    return min(LONGEST_S, max(0.0, seconds)) if seconds == seconds else 0.0


async def _body(request: Request) -> bytes:
    """The body, as far as it may be large. Raises _Refuse beyond it, whatever its header says."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        elif size > MOST_READ:
            break
    if size > MOST_BYTES:
        raise _Refuse(413, f"A job has at most {MOST_BYTES // 2**20} MiB: take fewer rows.")
    return b"".join(parts)
