"""The HTTP session of an endpoint job: rows overlap, and a failure is an answer with a reason.

Ray's HTTP stage makes the requests of a batch and then awaits them one after another, and a
request of aiohttp is sent when it is awaited. Its hook is `session_factory`: `Client` is one, and
its sessions send at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import aiohttp

from labkit.rows.requests import ENGINE_TIMES, ERROR, reason

#: Answers worth another try, beside every 5xx: time-out, too early, too many requests.
RETRIED = frozenset({408, 425, 429})
#: Seconds before the second try (doubled each time) and the most ever waited.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0


@dataclass
class Client:
    """A picklable session factory; one in each worker process, shared by its batches.

    rows_in_flight: rows sent and not yet answered, over all batches. A row that waits for its next
    try counts: a server that says "too many requests" gets fewer.
    max_retries: further tries after connection errors, time-outs, RETRIED and 5xx.
    timeout_s: seconds for each try. trust_env: use the proxies of the environment.
    """

    rows_in_flight: int
    max_retries: int
    timeout_s: float
    trust_env: bool = False
    api_key: str | None = field(default=None, repr=False)
    _batches: int = field(default=0, init=False, repr=False)
    _session: Any = field(default=None, init=False, repr=False)
    _slots: Any = field(default=None, init=False, repr=False)

    def __call__(self) -> Batch:
        """The session of one batch."""
        return Batch(self)

    async def open(self) -> None:
        """Connect with the first open batch."""
        self._batches += 1
        if self._batches == 1:
            self._slots = asyncio.Semaphore(self.rows_in_flight)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                trust_env=self.trust_env,
            )

    async def close(self) -> None:
        """Disconnect with the last open batch."""
        self._batches -= 1
        if self._batches == 0:
            await self._session.close()

    async def answer(self, url: str, body: str, batch: str) -> dict[str, Any]:
        """One row's answer in the columns an engine would give; never raises for a bad answer."""
        async with self._slots:
            wall, sent = time.time(), time.monotonic()
            try:
                text, tokens, problem = await self._tries(url, body)
            except Exception as error:  # whatever a server sends must not end the job
                text, tokens, problem = "", (None, None), reason(error)
            received = time.monotonic()
        if problem and self.api_key:  # some servers quote the key they refuse
            problem = problem.replace(self.api_key, "…")
        # The first token's time is unknown: the answer comes in one piece.
        times = (wall, sent, sent, None, received) if not problem else (None,) * 5
        return {
            "generated_text": _unicode(text),
            "num_input_tokens": tokens[0],
            "num_generated_tokens": tokens[1],
            "batch_uuid": batch,
            "metrics": dict(zip(ENGINE_TIMES, times, strict=True)),
            ERROR: _unicode(problem)[:500],
        }

    async def _tries(self, url: str, body: str) -> tuple[str, Tokens, str]:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        problem = ""
        for attempt in range(self.max_retries + 1):
            wait = FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.5)
            try:
                # No redirects: they would turn POST into GET, or take the key elsewhere.
                async with self._session.post(
                    url, data=body, headers=headers, allow_redirects=False
                ) as response:
                    raw = await response.read()
                if response.status == 200:
                    return read_answer(raw)
                words = error_message(raw) or response.reason
                problem = f"the server answered HTTP {response.status}: {words}"
                if response.status not in RETRIED and response.status < 500:
                    return "", (None, None), problem
                asked = retry_after(response.headers.get("Retry-After"))
                wait = max(wait, asked or 0.0)  # 0, or a date that is past here, is no invitation
            except TimeoutError:
                problem = f"the server gave no answer within {self.timeout_s:g} s"
            except (aiohttp.ClientError, OSError) as error:
                problem = f"the connection failed: {reason(error)}"
            if attempt < self.max_retries:
                await asyncio.sleep(min(wait, LONGEST_WAIT_S))
        return "", (None, None), f"{problem} (tried {self.max_retries + 1} times)"


class Batch:
    """What Ray's HTTP stage takes for an `aiohttp.ClientSession`: its `post` sends at once."""

    def __init__(self, client: Client):
        self.client = client
        self.uuid = uuid.uuid4().hex
        self.tasks: list[asyncio.Task[Answer]] = []

    async def __aenter__(self) -> Self:
        await self.client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.client.close()

    def post(self, url: str, *, headers: Any = None, data: str) -> asyncio.Task[Answer]:
        """Start one row. `data` is what Ray makes of the payload: JSON of the body's JSON text."""
        self.tasks.append(asyncio.create_task(self._answer(url, json.loads(data))))
        return self.tasks[-1]

    async def _answer(self, url: str, body: str) -> Answer:
        return Answer(await self.client.answer(url, body, self.uuid))


@dataclass
class Answer:
    """What the stage takes for a response: always 200 and JSON."""

    row: dict[str, Any]
    status: int = 200

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close: the answer has been read."""

    async def json(self) -> dict[str, Any]:
        """The row's answer."""
        return self.row


Tokens = tuple[int | None, int | None]


def read_answer(raw: bytes) -> tuple[str, Tokens, str]:
    """(text, (input tokens, output tokens), problem) from the body of a chat completion."""
    try:
        answer = json.loads(raw.decode("utf-8", "replace"))
        text = answer["choices"][0]["message"]["content"]
    except (ValueError, TypeError, LookupError, RecursionError):
        words = error_message(raw) or raw.decode("utf-8", "replace")
        return "", (None, None), f"the server's answer is no chat completion: {words}"
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    given, made = (n if isinstance(n, int) and 0 <= n < 2**63 else None for n in counts)
    if not isinstance(text, str):
        why = answer["choices"][0].get("finish_reason")
        return "", (given, made), f"the server's answer holds no text (finish reason: {why})"
    return text, (given, made), ""


def error_message(raw: bytes) -> str:
    """The reason in the body of an error, in the forms that servers use; '' when there is none."""
    try:
        found = json.loads(raw.decode("utf-8", "replace"))
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail")
        if isinstance(found, dict):
            found = found.get("message")
    except (ValueError, RecursionError):
        return ""
    return " ".join(str(found).split()) if found else ""


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header (a number or an HTTP date); None when it has none."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a time zone
        return None


def _unicode(text: str) -> str:
    """Text that Arrow can hold: JSON may spell half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
