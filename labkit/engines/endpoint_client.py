"""A server as the engine: requests go out over HTTP, rows overlap, and a failure is a response
with its reason.

A stage of Ray Data with an asynchronous class (https://docs.ray.io/en/latest/data/transforming-data.html):
Ray Data LLM's own HTTP stage sends the rows of a batch one after another. Not openai's client: it
reads OPENAI_ORG_ID and its like from the environment, and would send them to any server.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pyarrow as pa

from labkit.engines.endpoint_check import check_server, error_message
from labkit.errors import reason
from labkit.ray_session import capacity
from labkit.rows import requests, responses
from labkit.settings.endpoint_spec import LONGEST_WAIT_S, EndpointSpec, is_loopback
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.tasks import Row

if TYPE_CHECKING:
    import ray.data

#: Answers worth another try, beside every 5xx: time-out, too early, too many requests.
RETRIED = frozenset({408, 425, 429})
#: Seconds before the second try, doubled each time up to LONGEST_WAIT_S.
FIRST_WAIT_S = 0.5
#: The light stages: sending, reading the user's Dataset, making its requests, and one to spare.
STAGES = 4


def answer(dataset: ray.data.Dataset, spec: EndpointSpec) -> Iterator[pa.Table]:
    """A Dataset of requests → tables of responses, as they come; with the requests' column `row`,
    if they have one.

    Looks at the server first: raises LabError when it does not answer, refuses the key or has no
    such model.
    """
    import ray.data

    check_server(spec)
    capacity.require([], STAGE_CPUS * STAGES)
    done = dataset.map_batches(
        Client.of(spec).stage,
        batch_format="pyarrow",
        batch_size=spec["batch_size"],
        num_cpus=STAGE_CPUS,
        # One process sends: the limit of rows in flight is exact.
        compute=ray.data.ActorPoolStrategy(
            size=1, max_concurrent_calls_per_actor=spec["max_concurrent_batches"]
        ),
    )
    # Prefetching would hold every table back until the next one is there.
    yield from done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


@dataclass
class Client:
    """Sends requests to a server; can be pickled.

    rows_in_flight: rows sent and not yet answered, over all batches. A row that waits for its next
    try counts: a server that says "too many requests" gets fewer.
    max_retries: further tries after connection errors, time-outs, RETRIED and 5xx.
    timeout_s: seconds for each try. trust_env: use the proxies of the environment.
    """

    url: str
    model: str
    rows_in_flight: int
    max_retries: int
    timeout_s: float
    trust_env: bool = False
    api_key: str | None = field(default=None, repr=False)
    _session: Any = field(default=None, init=False, repr=False)
    _slots: Any = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, spec: EndpointSpec) -> Client:
        """The client of a specification."""
        return cls(
            f"{spec.url}/chat/completions",
            spec.model.name,
            rows_in_flight=spec.rows_in_flight,
            max_retries=spec.max_retries,
            timeout_s=spec.timeout_s,
            trust_env=not is_loopback(urlsplit(spec.url).hostname or ""),
            api_key=spec.api_key,
        )

    @property
    def stage(self) -> type:
        """A class for `map_batches` whose objects send with this client."""
        client = self

        class AskServer:
            async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
                yield await client.answers(batch)

        return AskServer

    async def __aenter__(self) -> Client:
        self._slots = asyncio.Semaphore(self.rows_in_flight)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            trust_env=self.trust_env,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def answers(self, batch: pa.Table) -> pa.Table:
        """The responses of a batch of requests, all of them sent at once."""
        if self._session is None:
            await self.__aenter__()
        name, rows = uuid.uuid4().hex, batch.select(requests.REQUEST.names).to_pylist()
        table = responses.table(await asyncio.gather(*(self._row(row, name) for row in rows)))
        return table.append_column("row", batch["row"]) if "row" in batch.column_names else table

    async def _row(self, request: Row, batch: str) -> Row:
        """One row's response; never raises for a bad answer."""
        if request["error"]:
            return {"row_id": request["row_id"], "error": request["error"]}
        messages, sampling = requests.read(request)
        body = {"model": self.model, "messages": messages}
        body |= {name: value for name, value in sampling.items() if value is not None}
        async with self._slots:
            wall, sent = time.time(), time.monotonic()
            try:
                text, tokens, problem = await self._tries(self.url, json.dumps(body))
            except Exception as error:  # whatever a server sends must not end the job
                text, tokens, problem = "", (None, None), reason(error)
            received = time.monotonic()
        if problem and self.api_key:  # some servers quote the key they refuse
            problem = problem.replace(self.api_key, "…")
        # The first token's time is unknown: the answer comes in one piece.
        times = dict(zip(responses.TIMES, (wall, sent, sent, None, received), strict=True))
        return responses.of_engine(
            request["row_id"],
            _unicode(problem)[:500],
            text=_unicode(text),
            times=times,
            counts=tokens,
            finish_reason=None,
            batch_uuid=batch,
        )

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
