"""labkit.run_batch: a batch file of OpenAI's form, answered, resumed, and beside vLLM's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import labkit
from labkit.api import serve_model, write_job
from labkit.cli import main
from labkit.errors import JobFailed, LabError
from labkit.rows import requests, responses
from labkit.rows.batch_file import URL

SPEC = labkit.endpoint("http://127.0.0.1:9/v1", "small")


def request(number: int, **fields: Any) -> dict[str, Any]:
    body = {"model": "small", "messages": [{"role": "user", "content": f"Say {number}."}]}
    body |= {"max_tokens": 4, "temperature": 0.0}
    return {"custom_id": f"r{number}", "method": "POST", "url": URL, "body": {**body, **fields}}


def put(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Engine:
    """Stands for whoever answers, batch by batch: each request gets its last message back.
    fails: the text of requests that fail. dies: after so many batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.asked: list[str] = []
        self.sampling: list[dict[str, Any]] = []
        self.fails, self.dies = "none", 10**9
        self.finish: str | None = "stop"
        monkeypatch.setattr("labkit.ray_session.session.start", lambda *_, **__: None)
        monkeypatch.setattr(write_job, "stream", self.stream)

    def stream(self, asked: requests.Batches, *_: Any, **__: Any) -> Iterator[pa.Table]:
        for number, batch in enumerate(asked):
            if number == self.dies:
                raise JobFailed("The engine died.")
            rows = []
            for row in batch.to_pylist():
                messages, sampling = requests.read(row)
                text = messages[-1]["content"]
                self.asked.append(text)
                self.sampling.append(sampling)
                times = {name: 10.0 + at for at, name in enumerate(responses.TIMES)}
                error = "the engine ended it: abort" if self.fails in text else None
                about: dict[str, Any] = {"finish_reason": self.finish, "batch_uuid": "b"}
                about |= {"text": f"{text}\n", "times": times, "counts": (3, 2)}
                rows.append(responses.of_engine(row["row_id"], error, **about))
            yield responses.table(rows)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def test_good_lines_are_answered_and_bad_bodies_are_error_lines(
    engine: Engine, tmp_path: Path
) -> None:
    asked = put(
        tmp_path / "in.jsonl",
        request(0),
        request(1, stream=True),
        request(2, messages=[]),
        request(3, temperature=0.5),
        request(4, n=3),
        request(5),
    )
    engine.fails = "Say 5"
    done = labkit.run_batch(asked, tmp_path / "deep" / "out.jsonl", SPEC, progress=False)
    assert (done.rows, done.failed, done.computed) == (6, 4, 3)
    assert sorted(engine.asked) == ["Say 0.", "Say 3.", "Say 5."]
    found = lines(done.path)
    assert [line["custom_id"] for line in found] == [f"r{n}" for n in range(6)]
    status = [line["response"]["status_code"] for line in found]
    assert status == [200, 400, 400, 200, 400, 500]
    texts = [found[at]["response"]["body"]["choices"][0]["message"]["content"] for at in (0, 3)]
    assert texts == ["Say 0.\n", "Say 3.\n"]  # as the model wrote it
    assert "line 2: stream=True" in found[1]["error"]["message"]
    assert found[4]["response"]["body"]["error"]["param"] == "n"
    assert {"max_tokens": 4, "temperature": 0.5} in engine.sampling


def test_a_run_that_was_killed_goes_on_and_computes_nothing_twice(
    engine: Engine, tmp_path: Path
) -> None:
    asked, out = put(tmp_path / "in", *map(request, range(40))), tmp_path / "out"
    engine.dies = 2
    with pytest.raises(JobFailed, match="kept"):
        labkit.run_batch(asked, out, SPEC, progress=False)
    assert not out.exists() and (before := len(engine.asked)) == 16
    engine.dies = 10**9
    done = labkit.run_batch(asked, out, SPEC, progress=False)
    assert (done.rows, done.failed, done.computed) == (40, 0, 40 - before)
    assert len(engine.asked) == len(set(engine.asked)) == 40
    first = out.read_text()
    again = labkit.run_batch(asked, out, SPEC, progress=False)
    assert (again.computed, again.metrics, len(engine.asked)) == (0, None, 40)
    same = [[line["id"], line["response"]["body"]["choices"]] for line in lines(out)]
    assert same == [
        [line["id"], line["response"]["body"]["choices"]]
        for line in map(json.loads, first.splitlines())
    ]
    put(asked, *map(request, range(1, 42)))  # one is taken out, two are new
    more = labkit.run_batch(asked, out, SPEC, progress=False)
    assert (more.rows, more.computed) == (41, 2)
    assert {line["custom_id"] for line in lines(out)} == {f"r{n}" for n in range(1, 42)}


def test_failed_requests_can_be_asked_again(engine: Engine, tmp_path: Path) -> None:
    asked, out = put(tmp_path / "in", request(0), request(1)), tmp_path / "out"
    engine.fails = "Say 1"
    assert labkit.run_batch(asked, out, SPEC, progress=False).failed == 1
    engine.fails = "none"
    assert labkit.run_batch(asked, out, SPEC, progress=False).computed == 0
    again = labkit.run_batch(asked, out, SPEC, retry_failed=True, progress=False)
    assert (again.failed, again.computed) == (0, 1)


def test_another_body_under_the_same_id_is_refused_and_nothing_is_lost(
    engine: Engine, tmp_path: Path
) -> None:
    asked, out = put(tmp_path / "in", request(0), request(1)), tmp_path / "out"
    labkit.run_batch(asked, out, SPEC, progress=False)
    before = out.read_bytes()
    put(asked, request(0), request(1, temperature=1.0))
    with pytest.raises(LabError, match="1 requests differ.*'r1'"):
        labkit.run_batch(asked, out, SPEC, progress=False)
    assert out.read_bytes() == before and len(engine.asked) == 2


def test_a_file_of_bad_bodies_alone_needs_no_engine(engine: Engine, tmp_path: Path) -> None:
    asked = put(tmp_path / "in", request(0, n=2), request(1, stream=True))
    done = labkit.run_batch(asked, tmp_path / "out", SPEC, progress=False)
    assert (done.rows, done.failed, done.computed, done.metrics) == (2, 2, 0, None)
    assert not done.parts.exists() and not engine.asked


def test_the_model_of_the_file_is_the_one_that_answers(engine: Engine, tmp_path: Path) -> None:
    asked, out = put(tmp_path / "in", request(0, model="gpt")), tmp_path / "out"
    with pytest.raises(LabError, match="served_model_name='gpt'"):
        labkit.run_batch(asked, out, SPEC, progress=False)
    labkit.run_batch(asked, out, SPEC, served_model_name="gpt", progress=False)
    assert lines(out)[0]["response"]["body"]["model"] == "gpt"
    unnamed = put(tmp_path / "in2", request(0, model=None))
    labkit.run_batch(unnamed, tmp_path / "out2", SPEC, progress=False)
    assert lines(tmp_path / "out2")[0]["response"]["body"]["model"] == "small"


def test_a_finish_reason_that_ray_drops_is_known_and_a_server_s_is_not(
    engine: Engine, tiny: Any, tmp_path: Path
) -> None:
    engine.finish = None
    for name, spec, told in (("a", SPEC, None), ("b", labkit.configure(tiny), "stop")):
        asked = put(tmp_path / f"{name}.in", request(0, model=spec.model.name))
        done = labkit.run_batch(asked, tmp_path / name, spec, progress=False)
        (found,) = lines(done.path)
        assert found["response"]["body"]["choices"][0]["finish_reason"] == told


def test_no_other_file_is_written_over(engine: Engine, tmp_path: Path) -> None:
    asked = put(tmp_path / "in", request(0))
    for out in (asked, put(tmp_path / "mine", request(7))):
        before = out.read_bytes()
        with pytest.raises(LabError, match="there already"):
            labkit.run_batch(asked, out, SPEC, progress=False)
        assert out.read_bytes() == before
    assert not engine.asked


def test_the_command(
    engine: Engine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = put(tmp_path / "in", request(0), request(1, n=2))
    command = ["batch", str(asked), "--out", str(tmp_path / "out")]
    to_server = [*command, "--endpoint", "http://127.0.0.1:9/v1"]
    assert main(to_server) == 1  # the model's name is the file's
    shown = capsys.readouterr()
    assert "2 requests" in shown.out and "1 computed, 1 failed" in shown.out
    assert "out.parts" in shown.out
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert main([*to_server, "--key", "NO_SUCH_KEY"]) == 1
    assert "holds no key" in capsys.readouterr().err
    assert main([*command, "--key", "NO_SUCH_KEY"]) == 1
    asked.write_text("no\n")
    assert main(to_server) == 1
    assert "line 1 (invalid_json_line)" in capsys.readouterr().err


HARD = [
    {"messages": [{"role": "user", "content": "word " * 9000}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "parts"}]}]},
    {"max_tokens": 2, "stop": ["e"], "temperature": 0.7, "seed": 3},
    {"max_tokens": None, "max_completion_tokens": 3},
    {"response_format": {"type": "json_object"}, "max_tokens": 3},
    {"logit_bias": {"7": -100}},
]


def hard_file(path: Path, model: str, plain: int) -> Path:
    asked = [request(n, model=model) for n in range(plain)]
    asked += [request(plain + at, model=model, **fields) for at, fields in enumerate(HARD)]
    return put(path, *asked)


@pytest.mark.engine
def test_on_the_warm_engine(warm_spec: Any, tmp_path: Path) -> None:
    asked = hard_file(tmp_path / "in", warm_spec.model.name, 20)
    done = labkit.run_batch(asked, tmp_path / "out", warm_spec, progress=False)
    found = {line["custom_id"]: line for line in lines(done.path)}
    assert len(found) == done.rows == 20 + len(HARD)
    bad = {name for name, line in found.items() if line["response"]["status_code"] != 200}
    assert bad == {"r20"} and found["r20"]["response"]["status_code"] == 400
    usage = [line["response"]["body"]["usage"] for n, line in found.items() if n not in bad]
    assert all(0 < u["completion_tokens"] <= 4 < u["prompt_tokens"] for u in usage)


def shape(value: Any) -> Any:
    """The names of the fields and the types of the values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__


def check_fields(ours: Any, theirs: Any, place: str) -> None:
    """Each of our fields is one of theirs, of the same type."""
    assert type(ours) is type(theirs), place
    for name in ours if isinstance(ours, dict) else ():
        assert name in theirs, place
        check_fields(ours[name], theirs[name], f"{place} {name}")
    for one, other in zip(ours, theirs, strict=True) if isinstance(ours, list) else ():
        check_fields(one, other, place)
    if isinstance(ours, str):
        assert ours == theirs, place  # a type's name


@pytest.mark.endurance
@pytest.mark.engine
def test_the_same_file_through_labkit_vllm_and_a_server(
    tiny: Any, local_ray: Any, tmp_path: Path
) -> None:
    asked = hard_file(tmp_path / "in", "small", 50)
    spec = labkit.configure(tiny)
    outs = {name: tmp_path / name for name in ("labkit", "vllm", "server")}
    labkit.run_batch(asked, outs["labkit"], spec, served_model_name="small", progress=False)
    with labkit.serve(spec=spec) as server:
        client = labkit.endpoint(server.url, server.model)
        labkit.run_batch(asked, outs["server"], client, served_model_name="small", progress=False)
    serve = serve_model.command(spec, "127.0.0.1", 1)
    command = [*serve[: serve.index("serve")], "run-batch", "-i", str(asked), "-o"]
    command += [str(outs["vllm"]), "--model", tiny.source, "--served-model-name", "small"]
    command += serve[serve.index("--generation-config") :]
    environment = {**os.environ, **spec.layer("environment")}
    subprocess.run(command, check=True, timeout=400, env=environment)
    every = {name: {line["custom_id"]: line for line in lines(path)} for name, path in outs.items()}
    ids = {f"r{n}" for n in range(50 + len(HARD))}
    assert all(set(found) == ids for found in every.values())
    for found in every.values():
        bad = {name for name, line in found.items() if line["response"]["status_code"] != 200}
        assert bad == {"r50"} and found["r50"]["response"]["status_code"] == 400
        assert all((found[name]["error"] is None) == (name not in bad) for name in ids)
    for name in ids - {"r50"}:
        theirs = every["vllm"][name]
        for who in ("labkit", "server"):
            check_fields(shape(every[who][name]), shape(theirs), f"{who} {name}")
            (ours,), (other,) = (
                found["response"]["body"]["choices"] for found in (every[who][name], theirs)
            )
            usage = every[who][name]["response"]["body"]["usage"]
            same = theirs["response"]["body"]["usage"]
            assert usage["prompt_tokens"] == same["prompt_tokens"]
            assert ours["finish_reason"] == other["finish_reason"]
            assert ours["message"]["content"] == other["message"]["content"]
