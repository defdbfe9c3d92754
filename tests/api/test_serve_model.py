"""labkit.serve: stopping a group of processes, and one real `vllm serve` for a real job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import labkit
from labkit.api import serve_model as servers
from labkit.api.serve_model import Server, command, group, serve
from labkit.datasets import is_correct
from labkit.engines.endpoint_check import check_server
from labkit.errors import JobFailed, LabError
from labkit.tasks import Task, ask

KEY = "sk-only-for-this-test"
LABELS = ["positive", "negative", "neutral"]


# --- refused at once, and the command line -------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(LabError, match="api_key"):
        serve(host=host)


def test_a_model_or_a_spec(smollm2: Any) -> None:
    with pytest.raises(LabError, match="not both"):
        serve(smollm2, labkit.configure(smollm2))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=f"port {port} can't be used"):
            serve(port=port)


@pytest.mark.parametrize("port", [-1, 70_000, "http"])
def test_a_port_that_is_none(port: Any) -> None:
    with pytest.raises(LabError, match="can't be used|port must be a whole number"):
        serve(port=port)


def test_the_command_carries_the_spec(smollm2: Any) -> None:
    spec = labkit.configure(smollm2, engine={"max_num_seqs": 7, "enable_prefix_caching": False})
    words = command(spec, "127.0.0.1", 8123)
    text = " ".join(words)
    assert words[0] == sys.executable and f"serve {smollm2.source}" in text
    assert "--served-model-name smollm2-135m --host 127.0.0.1 --port 8123" in text
    assert "--max-num-seqs 7" in text and "--no-enable-prefix-caching" in words
    assert "api" not in text


# --- stopping ------------------------------------------------------------------------------------


def processes(script: str) -> Server:
    """A shell in a process group of its own in place of a server."""
    process = subprocess.Popen(
        ["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=False
    )
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    return Server("http://127.0.0.1:1/v1", "m", Path("log"), process, KEY)


def test_stop_ends_the_whole_group() -> None:
    server = processes("sleep 100 & sleep 100 & echo up; wait")
    assert len(group(server.process.pid)) == 3
    began = time.monotonic()
    server.stop()
    assert group(server.process.pid) == [] and time.monotonic() - began < 5
    server.stop()


def test_children_of_a_dead_server_are_stopped_too() -> None:
    server = processes("sleep 100 & echo up")
    server.process.wait()
    server.stop()
    assert group(server.process.pid) == []


def test_a_group_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "GRACE_S", 0.5)
    server = processes("trap '' TERM; echo up; while true; do sleep 1; done")
    server.stop()
    assert group(server.process.pid) == []
    assert server.process.wait() == -signal.SIGKILL


def test_an_error_in_the_block_stops_the_server() -> None:
    with pytest.raises(KeyError), processes("echo up; sleep 100") as server:
        raise KeyError
    assert group(server.process.pid) == []


def test_the_key_is_not_in_the_repr() -> None:
    with processes("echo up; sleep 100") as server:
        assert KEY not in repr(server) and server.api_key == KEY


#: Programs (forks of one), each of which serves a stub with a child; both deaf to SIGTERM if so.
PROGRAM = """
import os, signal, sys, time, types
from labkit.api import serve_model
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and children inherit it
STUB = '''
import http.server, signal, subprocess, sys
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "100"])
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
'''
how = next((how for how in sys.argv[1:] if os.fork() == 0), None)
if how is None:
    while True:
        os.wait()
serve_model.KEEPER = serve_model.KEEPER.replace(str(serve_model.GRACE_S), "1.0")
serve_model.command = lambda spec, host, port: [sys.executable, "-c", STUB, str(port), how]
model = types.SimpleNamespace(name="m")
spec = types.SimpleNamespace(layer=lambda name: {}, model=model, rows_in_flight=1)
server = serve_model.serve(spec=spec, progress=False)
os.write(1, f"{how} {os.getpid()} {server.process.pid}\\n".encode())
time.sleep(100)
"""


def test_no_server_outlives_its_program() -> None:
    """However the program ends, and also when the server does not listen."""
    ends = {"TERM": signal.SIGTERM, "HUP": signal.SIGHUP, "KILL": signal.SIGKILL}
    ends["deaf"] = signal.SIGKILL
    words = [sys.executable, "-c", PROGRAM, *ends]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as programs:
        assert programs.stdout is not None
        started = [programs.stdout.readline().decode().split() for _ in ends]
        leaders = [int(leader) for _, _, leader in started]
        try:
            assert [len(group(leader)) for leader in leaders] == [3] * 4  # keeper, server, child
            for how, program, _ in started:
                os.kill(int(program), ends[how])
            deadline = time.monotonic() + 15
            while any(map(group, leaders)) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert [group(leader) for leader in leaders] == [[]] * 4
        finally:
            programs.kill()


# --- servers that do not become ready ------------------------------------------------------------


def servers_of(source: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if source in words and "serve" in words and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


@pytest.mark.engine
@pytest.mark.endurance
def test_a_server_that_can_not_start_says_why(tiny: Any) -> None:
    before = servers_of(tiny.source)
    spec = labkit.configure(tiny, engine={"max_model_len": 999_999})
    with pytest.raises(JobFailed, match="ended by itself(.|\n)*999999(.|\n)*whole log") as caught:
        serve(spec=spec, api_key=KEY, progress=False)
    assert KEY not in str(caught.value)
    assert servers_of(tiny.source) == before


@pytest.mark.slow
def test_a_server_that_takes_too_long_is_stopped(tiny: Any) -> None:
    before = servers_of(tiny.source)
    with pytest.raises(JobFailed, match="not ready after 2 s"):
        serve(tiny, timeout_s=2, progress=False)
    assert servers_of(tiny.source) == before


# --- one real server with real weights, one real job ---------------------------------------------


@pytest.fixture(scope="module")
def server(smollm2: Any) -> Iterator[Server]:
    with serve(smollm2, api_key=KEY, progress=False) as running:
        yield running


@pytest.fixture(scope="module")
def job(server: Server, ray_starter: Any) -> Any:
    """24 posts, the last far too long."""
    ray_starter()
    posts = [f"{'I love it' if n % 2 else 'I hate it'}, number {n}!" for n in range(23)]
    rows = [{"id": f"p{n:02}", "text": text} for n, text in enumerate([*posts, "word " * 3000])]
    task = Task(
        name="labels",
        messages=ask("text", template="Positive, negative or neutral?\n\nPost: {text}"),
        sampling={
            "max_tokens": 8,
            "temperature": 0.0,
            "structured_outputs": {"choice": LABELS},
        },
    )
    spec = labkit.endpoint(server.url, server.model, api_key=server.api_key)
    return labkit.run(task, rows, spec, into="label", progress=False)


@pytest.mark.engine
def test_every_row_comes_back_once(job: Any) -> None:
    assert list(job.answers["id"]) == [f"p{n:02}" for n in range(23)]
    assert list(job.failed["id"]) == ["p23"]


@pytest.mark.engine
def test_structured_output_leaves_no_other_word(job: Any) -> None:
    assert set(job.answers["label"]) <= set(LABELS)


@pytest.mark.engine
def test_a_row_that_is_too_long_fails_with_the_server_s_reason(job: Any) -> None:
    (error,) = job.failed["error"]
    assert "HTTP 400" in error and "maximum context length" in error and "2048" in error


@pytest.mark.engine
def test_rows_overlap_and_are_counted(job: Any) -> None:
    found = job.metrics
    assert 4 < found.peak_rows_in_flight <= 16
    assert (found.rows, found.failed) == (23, 1)
    assert found.input_tokens > 23 * 10 and 23 <= found.output_tokens <= 23 * 8
    times = job.timeline()
    assert (times["last_token_s"] > times["scheduled_s"]).all()
    assert times["first_token_s"].isna().all()


QUESTIONS = {
    "What is 2+2?": "4",
    "What is the capital of France?": "Paris",
    "What is the capital of Italy?": "Rome",
    "How many days are in a week?": "7|seven",
    "What is the opposite of hot?": "cold",
}


@pytest.mark.engine
def test_real_weights_answer_and_end_by_themselves(server: Server, local_ray: Any) -> None:
    """Of the packaged model: most checkable answers are right (with wrong weights or a wrong chat
    template next to none), and its end tokens are known to the engine.

    The one test of `make test` whose engine has real weights; `make test-slow` runs the lessons so.
    """
    rows = [{"text": text} for text in QUESTIONS]
    task = Task("ask", ask("text"), {"max_tokens": 40, "temperature": 0.0})
    spec = labkit.endpoint(server.url, server.model, api_key=server.api_key)
    job = labkit.run(task, rows, spec, progress=False)
    answers = list(job.answers["answer"])
    right = [is_correct(a, e) for a, e in zip(answers, QUESTIONS.values(), strict=True)]
    assert sum(map(bool, right)) >= 3, answers
    assert (job.rows["num_generated_tokens"] < 40).sum() >= 3, answers
    assert not any("<|" in answer for answer in answers)


@pytest.mark.engine
def test_a_wrong_key_is_refused(server: Server) -> None:
    for key in (None, "sk-wrong"):
        with pytest.raises(LabError, match="refuses the key"):
            check_server(labkit.endpoint(server.url, server.model, api_key=key))


@pytest.mark.engine
def test_a_model_that_is_not_served_is_named(server: Server) -> None:
    with pytest.raises(LabError, match="It serves: smollm2-135m"):
        check_server(labkit.endpoint(server.url, "gpt-4", api_key=KEY))


@pytest.mark.engine
def test_the_key_is_nowhere_to_be_read(server: Server) -> None:
    assert KEY not in server.log.read_text()
    for process in group(server.process.pid):
        assert KEY not in " ".join(process.cmdline())


@pytest.mark.engine
def test_only_this_machine_can_reach_it(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    addresses = {
        connection.laddr.ip
        for process in group(server.process.pid)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert addresses == {"127.0.0.1"}


@pytest.mark.engine
def test_nothing_is_left_after_stop(server: Server) -> None:
    """The last test: it stops the module's server."""
    leader = psutil.Process(server.process.pid)
    family = [leader, *leader.children(recursive=True)]
    assert len(family) >= 2 and {os.getpgid(p.pid) for p in family} == {leader.pid}
    server.stop()
    assert group(leader.pid) == []
    gone = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert gone == []
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url.removesuffix("v1") + "health", timeout=2)


@pytest.mark.engine
@pytest.mark.endurance
def test_a_server_that_is_killed_and_started_again(tiny: Any, local_ray: Any) -> None:
    """The job waits for it, longer with each try, and every row is answered once."""
    rows = [{"id": n, "text": f"What is {n} + {n}?"} for n in range(80)]
    task = Task("say", ask("text"), {"max_tokens": 128, "ignore_eos": True, "temperature": 0.0})
    fell, finished = threading.Event(), threading.Event()

    with serve(tiny, api_key=KEY, progress=False) as first:
        port = int(first.url.rsplit(":", 1)[1].split("/")[0])

        def restart() -> None:
            fell.wait()
            family = group(first.process.pid)
            os.killpg(first.process.pid, signal.SIGKILL)
            psutil.wait_procs(family, timeout=30)  # the port is theirs until then
            with serve(tiny, port=port, api_key=KEY, progress=False):
                finished.wait()

        class Killer:
            def show(self, text: str, share: float | None) -> None:
                if (share or 0) > 0.1:
                    fell.set()

            def close(self) -> None:
                pass

        other = threading.Thread(target=restart)
        other.start()
        spec = labkit.endpoint(
            first.url, first.model, api_key=KEY, rows_in_flight=4, batch_size=4, max_retries=9
        )
        try:
            job = labkit.run(task, rows, spec, progress=Killer())
        finally:
            happened = fell.is_set()
            fell.set()
            finished.set()
            other.join()
    assert happened and job.failed.empty
    assert list(job.answers["id"]) == list(range(80))
    assert job.answers["answer"].str.len().gt(0).all()
