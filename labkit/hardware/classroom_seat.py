"""A seat of a class: with LABKIT_CLASS=URL the engine is the class's own, on another machine, which
stands for this one (`labkit classroom` runs it): rows, settings and captions are those of its.

Knows the class's address and token, and how to ask it over HTTP; knows no job.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from labkit.errors import Cancelled, LabError
from labkit.hardware import recorded_machine
from labkit.hardware.recorded_machine import replaying

CLASS, TOKEN = "LABKIT_CLASS", "LABKIT_CLASS_TOKEN"
#: Seconds that one call may take, and between the tries of a server that does not answer.
CALL_S, PAUSE_S = 30.0, 1.0
#: So soon Cancel is heard while the server waits with its answer. HTTP's status for an answer.
HEAR_S, OK = 0.3, 200
#: So long a seat waits for a server that is away, as in a restart (its engine starts anew, too).
AWAY_S = 300.0


class Refused(LabError):
    """The class server refuses what was asked; `status` is HTTP's."""

    def __init__(self, status: int, words: str):
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Link:
    """The class's base URL, and this seat's token, which is in no text that this makes."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Link({self.url!r})"

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        timeout_s: float = CALL_S,
        given_up: Callable[[], bool] = bool,
    ) -> Any:
        """One call: the JSON of the answer. given_up: asked while the answer is waited for.

        Straight to the class: by no proxy, and no redirect carries the token elsewhere. Raises
        Refused with the server's words, OSError when there is no server, Cancelled once given up.
        """
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        headers["Connection"] = "close"
        try:
            with contextlib.closing(kind(parts.netloc, timeout=timeout_s)) as connection:
                connection.request(method, f"{parts.path}/{path}", body, headers)
                _wait(connection.sock, timeout_s, given_up)
                answer = connection.getresponse()
                text = answer.read()
        except HTTPException as problem:
            raise ConnectionError(f"it broke off ({type(problem).__name__})") from problem
        if answer.status != OK:
            raise Refused(answer.status, _words(text, answer.status, self.url))
        try:
            return json.loads(text)
        except ValueError:
            raise LabError(f"{self.url} answers, but not as a class of the lab does.") from None


def _wait(connection: socket.socket, timeout_s: float, given_up: Callable[[], bool]) -> None:
    """Until the answer comes: Cancel is heard meanwhile, however long the server waits for news."""
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as waiting:
        waiting.register(connection, selectors.EVENT_READ)
        while not waiting.select(HEAR_S):
            if given_up():
                raise Cancelled("The call to the class was given up.")
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")


def _words(text: bytes, status: int, url: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, LookupError, TypeError):
        return f"{url} answers, but not as a class of the lab does (HTTP {status})."


def seated() -> bool:
    """Whether this program is a seat of a class: LABKIT_CLASS is set."""
    return bool(os.environ.get(CLASS, "").strip())


def has_ray() -> bool:
    """Whether Ray is installed: a seat of a class may do without."""
    with contextlib.suppress(ValueError):  # there, and hidden
        return importlib.util.find_spec("ray") is not None
    return False


def lent() -> bool:
    """Whether no engine of this machine answers, and nothing of one is there: on a seat of a class,
    or where jobs are played back (LABKIT_REPLAY) without Ray."""
    return not has_ray() if replaying() else seated()


def link(given: str | None = None) -> Link:
    """Where the class is, by LABKIT_CLASS (its link ends with the token) and LABKIT_CLASS_TOKEN.

    given: a whole link instead. Raises LabError for a URL that can't be one, and where there is no
    token.
    """
    token = "" if given else os.environ.get(TOKEN, "").strip()
    given = (given or os.environ.get(CLASS, "")).strip().rstrip("/")
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username:
        raise LabError(
            f"{CLASS} is not the link of a class: it looks like http://192.168.1.5:8899/07-abc… "
            "Ask your teacher for yours."
        )
    *folders, last = parts.path.split("/") if parts.path else [""]
    path = parts.path if token else "/".join(folders)
    token = token or last
    if not token.isascii() or not token.isprintable() or not token:
        raise LabError(
            f"{CLASS} names a class, and no seat: give the whole link of your seat, or its token "
            f"in {TOKEN}."
        )
    return Link(f"{parts.scheme}://{parts.netloc}{path}".rstrip("/"), token)


def about() -> dict[str, Any]:
    """What the class server tells of itself: machine, model, settings, limits; asked once.

    While jobs are played back it is what the machine of the recording would have told. Raises
    LabError where there is none, or it refuses the token.
    """
    if replaying():
        return dict(recorded_machine.about()["class"])
    return _about(link())


@functools.lru_cache(maxsize=4)
def _about(to: Link) -> dict[str, Any]:
    for left in (2, 1, 0):
        try:
            found: dict[str, Any] = to.call("GET", "about", timeout_s=10)
            return found
        except OSError as problem:
            if not left:
                why = getattr(problem, "reason", None) or problem
                raise LabError(
                    f"No class answers at {to.url} ({why}). Is the teacher's `labkit classroom` "
                    f"up, and are you in its network? Without a class: unset {CLASS}."
                ) from None
            time.sleep(PAUSE_S)
    raise AssertionError


def words() -> str:
    """What a seat is told of its class in one line."""
    told = about()
    return f"seat {told['seat']} of the class on {told['words']}"
