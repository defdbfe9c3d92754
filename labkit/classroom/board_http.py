"""The board over HTTP: seats put their entries, a projector shows the page.

The page has a link of its own, which opens nothing else; it holds no token but that in its address,
and every text on it is put there as text.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from labkit.classroom.board import MOST_BYTES, Board
from labkit.classroom.seats import Seats
from labkit.classroom.turn_queue import TurnQueue
from labkit.errors import LabError

PAGE = Path(__file__).with_name("board.html")
#: The page's token is that of a seat which there is none of.
BOARD = "board"
#: Seconds that one look at the line serves all who ask.
FRESH_S = 0.9

Guard = Callable[[Callable[[Request, str], Awaitable[Response]]], Any]


def token(tokens: Seats) -> str:
    """Of the board's link."""
    return tokens.token(BOARD)


class BoardPages:
    """The board's routes. allow: whether an address may ask once more (`server.Rates`)."""

    def __init__(
        self,
        board: Board,
        queue: TurnQueue,
        tokens: Seats,
        words: str,
        allow: Callable[[str], bool],
    ):
        self.board, self.queue, self.tokens = board, queue, tokens
        self.words, self.allow = words, allow
        self._told, self._at, self._looking = b"", -math.inf, asyncio.Lock()

    def routes(self, guard: Guard) -> list[Route]:
        """guard: asks for a seat's token, and makes errors of the lab answers."""
        return [
            Route("/board", guard(self._put), methods=["PUT"]),
            Route("/board", guard(self._leave), methods=["DELETE"]),
            Route("/board/{token}", self._page),
            Route("/board/{token}/state", self._state),
        ]

    async def _put(self, request: Request, seat: str) -> Response:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > MOST_BYTES:
                raise LabError(f"A seat's entry has at most {MOST_BYTES // 2**10} KiB.")
            parts.append(part)
        await run_in_threadpool(self.board.put, seat, b"".join(parts))
        return JSONResponse({})

    async def _leave(self, request: Request, seat: str) -> Response:
        await run_in_threadpool(self.board.leave, seat)
        return JSONResponse({})

    async def _page(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
        headers |= {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
        page = PAGE.read_text(encoding="utf-8")
        page = page.replace("{{nonce}}", nonce).replace("{{words}}", escape(self.words))
        return HTMLResponse(page, headers=headers)

    async def _state(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        async with self._looking:
            if time.monotonic() - self._at >= FRESH_S:
                self._told = await run_in_threadpool(self._tell)
                self._at = time.monotonic()
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(self._told, media_type="application/json", headers=headers)

    def _tell(self) -> bytes:
        return json.dumps(self.board.told(self.queue.overview())).encode()

    def _refused(self, request: Request) -> Response | None:
        """The answer to who has not the board's link, or asks too often."""
        address = request.client.host if request.client else "?"
        asked = str(request.path_params["token"]).encode("utf-8", "replace")
        right = hmac.compare_digest(asked, token(self.tokens).encode())
        if not self.allow(f"board {address}" if right else f"address {address}"):
            return JSONResponse({"error": "Too many calls: wait a second."}, 429)
        if not right:
            return JSONResponse({"error": "This is not the link of this class's board."}, 401)
        return None
