"""A server as the engine: requests go out over HTTP, rows overlap, and a failure is a response
with its reason.

A stage of Ray Data with an asynchronous class (https://docs.ray.io/en/latest/data/transforming-data.html):
Ray Data LLM's own HTTP stage sends the rows of a batch one after another. Not openai's client: it
reads OPENAI_ORG_ID and its like from the environment, and would send them to any server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import pyarrow as pa

from labkit.engines.endpoint_check import check_server
from labkit.engines.endpoint_reply import (
    QUOTA,
    Reply,
    error_message,
    read_answer,
    refused,
    retry_after,
)
from labkit.engines.refusals import Refusals
from labkit.errors import Cancelled, reason
from labkit.ray_session import capacity
from labkit.rows import requests, responses
from labkit.settings.endpoint_spec import LONGEST_WAIT_S, EndpointSpec, is_loopback
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.settings.redaction import shown
from labkit.tasks import Row

if TYPE_CHECKING:
    import ray.data

#: Answers worth another try, beside every 5xx: time-out, too early, too many requests.
RETRIED = frozenset({408, 425, 429})
#: Seconds before the second try, doubled each time up to LONGEST_WAIT_S.
FIRST_WAIT_S = 0.5
#: So many tries of a row may fail (500, time-out) while others are answered: then it is the row.
ROWS_OWN_TRIES = 5
#: The light stages: sending, reading the user's Dataset, making its requests, and one to spare.
STAGES = 4
#: The share of a job's `stall_s` that a batch may wait because the server says so.
PATIENT = 0.9


def answer(
    dataset: ray.data.Dataset,
    spec: EndpointSpec,
    stall_s: float = math.inf,
    cancel: threading.Event | None = None,
) -> Iterator[pa.Table]:
    """A Dataset of requests → tables of responses, as they come; with the requests' column `row`,
    if they have one. stall_s: seconds after which the job is ended when no row is finished.

    Looks at the server first: raises LabError when it does not answer, refuses the key or has no
    such model. Raises JobFailed when it refuses the job as a whole (see `unless_refused`).
    """
    done = answered(dataset, spec, stall_s, cancel)
    # Prefetching would hold every table back until the next one is there.
    tables = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    yield from unless_refused(tables, spec)


def answered(
    dataset: ray.data.Dataset,
    spec: EndpointSpec,
    stall_s: float = math.inf,
    cancel: threading.Event | None = None,
) -> ray.data.Dataset:
    """The Dataset of what the client brings, which is not read yet. Raises as `answer`."""
    import ray.data

    check_server(spec)
    if cancel is not None and cancel.is_set():
        raise Cancelled("The job was ended before its first row was sent.")
    capacity.require([], STAGE_CPUS * STAGES)
    return dataset.map_batches(
        Client.of(spec, stall_s).stage,
        batch_format="pyarrow",
        batch_size=spec["batch_size"],
        num_cpus=STAGE_CPUS,
        # One process sends: the limit of rows in flight is exact.
        compute=ray.data.ActorPoolStrategy(
            size=1, max_concurrent_calls_per_actor=spec["max_concurrent_batches"]
        ),
    )


def unless_refused(tables: Iterator[pa.Table], spec: EndpointSpec) -> Iterator[pa.Table]:
    """The client's tables as responses, as `Refusals` lets them pass."""
    refusals = Refusals(spec.url, spec["max_concurrent_batches"])
    for table in tables:
        yield from refusals.passed(table)
        if refusals.over:
            break
    yield from refusals.rest()
    refusals.check()


@dataclass
class Client:
    """Sends requests to a server; can be pickled.

    rows_in_flight: rows sent and not yet answered, over all batches. A row that waits for its next
    try counts: a server that says "too many requests" gets fewer.
    max_retries: further tries after connection errors, time-outs, RETRIED and 5xx (see also
    ROWS_OWN_TRIES).
    timeout_s: seconds for each try. trust_env: use the proxies of the environment.
    rename: see `labkit.endpoint`. patience_s: seconds from its beginning that a batch may last
    because the server names a time (Retry-After).
    """

    url: str
    model: str
    rows_in_flight: int
    max_retries: int
    timeout_s: float
    trust_env: bool = False
    api_key: str | None = field(default=None, repr=False)
    rename: Mapping[str, str | None] = field(default_factory=dict)
    patience_s: float = math.inf
    _session: Any = field(default=None, init=False, repr=False)
    _slots: Any = field(default=None, init=False, repr=False)
    _proxy: str | None = field(default=None, init=False, repr=False)
    _sent: set[object] = field(default_factory=set, init=False, repr=False)  # rows at the server
    _answered: int = field(default=0, init=False, repr=False)
    _used_up: Any = field(default=None, init=False, repr=False)  # an Event, with the last reply
    _last: Reply = field(default=Reply(), init=False, repr=False)

    @classmethod
    def of(cls, spec: EndpointSpec, stall_s: float = math.inf) -> Client:
        """The client of a specification."""
        return cls(
            f"{spec.url}/chat/completions",
            spec.model.name,
            rows_in_flight=spec.rows_in_flight,
            max_retries=spec.max_retries,
            timeout_s=spec.timeout_s,
            trust_env=not is_loopback(urlsplit(spec.url).hostname or ""),
            api_key=spec.api_key,
            rename=dict(spec.rename),
            patience_s=PATIENT * stall_s,
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
        self._used_up = asyncio.Event()
        self._proxy = _proxy(self.url) if self.trust_env else None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def answers(self, batch: pa.Table) -> pa.Table:
        """The responses of a batch of requests, all of them sent at once; with a column `refusal`
        (see Reply), null where there is none, or where it was the row's own: others are answered.
        """
        if self._session is None:
            await self.__aenter__()
        name, rows = uuid.uuid4().hex, batch.select(requests.REQUEST.names).to_pylist()
        until = time.monotonic() + self.patience_s
        made = await asyncio.gather(*(self._row(row, name, until) for row in rows))
        refused_now = {refusal for _, refusal in made if refusal}
        if QUOTA in refused_now or (refused_now and not self._answered):
            sent = set(self._sent)  # refusals are quick: an answer may be under way
            while sent & self._sent:
                await asyncio.sleep(0.02)
        table = responses.table([row for row, _ in made])
        of_job = {QUOTA} if self._answered else refused_now
        refusals = [refusal if refusal in of_job else None for _, refusal in made]
        table = table.append_column("refusal", pa.array(refusals, pa.string()))
        return table.append_column("row", batch["row"]) if "row" in batch.column_names else table

    async def _row(self, request: Row, batch: str, until: float) -> tuple[Row, str]:
        """(one row's response, its refusal); never raises for a bad answer."""
        if request["error"]:
            return {"row_id": request["row_id"], "error": request["error"]}, ""
        messages, sampling = requests.read(request)
        body = {"model": self.model, "messages": messages}
        named = {self.rename.get(name, name): value for name, value in sampling.items()}
        body |= {name: value for name, value in named.items() if name and value is not None}
        async with self._slots:
            self._sent.add(place := object())
            wall, sent = time.time(), time.monotonic()
            try:
                reply = await self._tries(body, until)
            except Exception as error:  # whatever a server sends must not end the job
                reply = Reply(problem=reason(error))
            self._sent.discard(place)
            received = time.monotonic()
        problem = reply.problem
        if problem and self.api_key:  # some servers quote the key they refuse
            problem = problem.replace(self.api_key, "…")
        # The first token's time is unknown: the answer comes in one piece.
        times = dict(zip(responses.TIMES, (wall, sent, sent, None, received), strict=True))
        response = responses.of_engine(
            request["row_id"],
            _unicode(problem)[:500],
            text=_unicode(reply.text),
            times=times,
            counts=reply.tokens,
            finish_reason=reply.finish_reason and _unicode(reply.finish_reason),
            batch_uuid=batch,
            cached=reply.cached,
        )
        return response, reply.refusal

    async def _tries(self, body: dict[str, Any], until: float) -> Reply:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data, problem = json.dumps(body), ""
        attempt = own = 0  # own: tries that failed while other rows were answered
        answered = self._answered
        for attempt in range(self.max_retries + 1):
            if self._used_up.is_set():
                return self._last
            wait = min(FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.5), LONGEST_WAIT_S)
            try:
                # No redirects: they would turn POST into GET, or take the key elsewhere.
                async with self._session.post(
                    self.url, data=data, headers=headers, allow_redirects=False, proxy=self._proxy
                ) as response:
                    raw = await response.read()
                if response.status == 200:
                    self._answered += 1
                    return read_answer(raw)
                own += response.status == 500 and self._answered > answered
                words = error_message(raw) or response.reason
                if 300 <= response.status < 400:
                    words = f"{words} {response.headers.get('Location', '').split('?')[0]}".strip()
                problem = f"the server answered HTTP {response.status}: {words}"
                refusal = refused(response.status, raw, body)
                if refusal == QUOTA:
                    self._last = Reply(problem=problem, refusal=refusal)
                    self._used_up.set()
                again = response.status in RETRIED or response.status >= 500
                if refusal or not again:
                    return Reply(problem=problem, refusal=refusal)
                # 0, or a date that is past here, is no invitation.
                asked = retry_after(response.headers.get("Retry-After")) or 0.0
                wait = max(wait, asked)
                if asked and attempt < self.max_retries and time.monotonic() + wait > until:
                    return Reply(
                        problem=f"{problem}; it asks to wait {asked:,.0f} s (Retry-After), longer "
                        "than this job may stand still: a larger stall_s allows it"
                    )
            except TimeoutError:
                own += self._answered > answered
                problem = f"the server gave no answer within {self.timeout_s:g} s"
            except (aiohttp.ClientError, OSError) as error:
                problem = f"the connection failed: {shown('error', reason(error))}"
            if own >= ROWS_OWN_TRIES:
                break
            answered = self._answered
            if attempt < self.max_retries:
                await self._pause(wait)
        return Reply(problem=f"{problem} (tried {attempt + 1} times)")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._used_up.wait(), seconds)


def _proxy(url: str) -> str | None:
    """The environment's proxy for a URL, as urllib finds it for the look at the server.

    Not aiohttp's `trust_env`: it would send the passwords of ~/.netrc as well.
    """
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _unicode(text: str) -> str:
    """Text that Arrow can hold: JSON may spell half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
