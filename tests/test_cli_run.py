"""`labkit run`: a file of any kind in, a folder out; by a small server, and one real engine."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web

import labkit
from labkit.cli import main
from labkit.rows import user_files
from tests.conftest import ENDURANCE
from tests.engines.test_endpoint_client import server as server

ROWS = [{"id": f"{n:03}", "text": f"post {n}", "likes": n} for n in range(1, 7)]


def csv_text(rows: list[dict[str, Any]] = ROWS, mark: str = ",") -> str:
    lines = [mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def packed(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return bytes(sink.getvalue().to_pybytes())


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
#: What `labkit run` is given → the files that are there.
FORMATS: dict[str, dict[str, bytes]] = {
    "posts.csv": {"posts.csv": ("\ufeff" + csv_text(mark=";")).encode()},
    "posts.tsv.zst": {"posts.tsv.zst": packed(csv_text(mark="\t").encode())},
    "posts.jsonl.gz": {"posts.jsonl.gz": gzip.compress(LINES)},
    "posts.json": {"posts.json": json.dumps(ROWS, indent=1).encode()},
    "folder": {"folder/a.parquet": parquet(ROWS[:2]), "folder/deep/b.parquet": parquet(ROWS[2:])},
    "part-*.csv": {
        "part-1.csv": csv_text(ROWS[:3]).encode(),
        "part-2.csv": csv_text(ROWS[3:]).encode(),
        "other.csv": b"x\n1\n",
    },
}


@pytest.fixture
def posts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, from which paths are seen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posts.csv").write_text(csv_text())
    return tmp_path


def at(server: Any, *more: str) -> list[str]:
    """Who answers."""
    return ["--endpoint", server.url, "--model", "small", *more]


def says(words: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], web.Response]:
    """A server's answer to a body."""

    def answer(body: dict[str, Any]) -> web.Response:
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        choice = {"message": {"content": words(body)}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": usage})

    return answer


@pytest.mark.parametrize("data", FORMATS)
def test_each_format_is_read(data: str, posts: Path) -> None:
    put(data, posts)
    files = user_files.opened(data)
    assert files.columns() == ["id", "text", "likes"]
    assert [row for table in files.tables() for row in table.to_pylist()] == ROWS
    assert files.head(4).to_pylist() == ROWS[:4]


def put(data: str, folder: Path) -> None:
    """The files of a format."""
    for name, content in FORMATS[data].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "data", [pytest.param(d, marks=[] if d == "posts.csv" else [ENDURANCE]) for d in FORMATS]
)
def test_each_format_is_answered_by_id_and_gone_on_with(
    data: str, posts: Path, server: Any, local_ray: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put(data, posts)
    ask = ["run", data, "--prompt", "Say {text}.", "--id", "id", "--out", "out"]
    assert main([*ask, *at(server), "--csv", "all.csv", "--jsonl", "all.jsonl.gz"]) == 0
    shown = capsys.readouterr().out
    assert "6 rows in out: 6 computed now, 0 were there, 0 failed" in shown and "rows/s" in shown
    found = pd.read_parquet("out").sort_values("id")
    assert list(found["id"]) == [row["id"] for row in ROWS]
    assert list(found["answer"]) == [f"You said Say {row['text']}." for row in ROWS]
    assert list(found["likes"]) == [row["likes"] for row in ROWS]
    back = pd.read_csv("all.csv", dtype={"id": str}).sort_values("id")
    assert list(back["id"]) == list(found["id"]) and list(back["answer"]) == list(found["answer"])
    lines = [json.loads(x) for x in gzip.decompress(Path("all.jsonl.gz").read_bytes()).splitlines()]
    assert sorted(line["id"] for line in lines) == list(found["id"])
    page = Path("out/_report.html").read_text()
    assert "You said Say post 1." in page and "None: every row was answered" in page
    assert main([*ask, *at(server)]) == 0
    assert "0 computed now, 6 were there" in capsys.readouterr().out


def test_choices_examples_and_a_row_that_fails(
    posts: Path, server: Any, local_ray: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (posts / "shots.csv").write_text("text,likes,answer\nlovely,9,good\n")
    server.answer = says(lambda body: "bad" if "post 2" in str(body) else "good")
    ask = ["run", "posts.csv", "--prompt", "{{{text}}} ({likes})", "--system", "Be brief."]
    more = ["--choices", "good, awful", "--few-shot", "shots.csv", "--out", "out"]
    more += ["--sampling", "seed={likes}", "temperature=0.5", "--max-tokens", "9"]
    assert main([*ask, *more, *at(server)]) == 1
    shown = capsys.readouterr().out
    assert "1 failed" in shown and "none of the … choices" not in shown
    assert "002: the answer 'bad' is none of the 2 choices" in shown
    body = next(b for b in server.bodies if "post 3" in str(b))
    system, first, answer, turn = [m["content"] for m in body["messages"]]
    assert system.startswith("Be brief.\n\nAnswer with one of these") and "good, awful" in system
    assert (first, answer, turn) == ("{lovely} (9)", "good", "{post 3} (3)")
    assert (body["seed"], body["temperature"], body["max_tokens"]) == (3, 0.5, 9)
    assert body["structured_outputs"] == {"choice": ["good", "awful"]}
    page = Path("out/_report.html").read_text()
    assert "is none of the … choices" in page and "1 of 6 rows failed" in page
    server.answer = says(lambda body: "good")
    assert main([*ask, *more, *at(server), "--retry-failed"]) == 0


def test_a_schema_makes_typed_columns(posts: Path, server: Any, local_ray: Any) -> None:
    schema = {"type": "object", "required": ["mood", "score"], "properties": {}}
    schema["properties"] = {
        "mood": {"type": "string"},
        "score": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    }
    (posts / "schema.json").write_text(json.dumps(schema))
    good = {"mood": "fine", "score": 3}

    def words(body: dict[str, Any]) -> str:
        return json.dumps({"mood": 5, "score": 1} if "post 6" in str(body) else good)

    server.answer = says(words)
    ask = ["run", "posts.csv", "--prompt", "{text}", "--schema", "schema.json", "--out", "out"]
    assert main([*ask, *at(server), "--csv", "flat.csv"]) == 1
    kind = pq.read_schema(next(Path("out").glob("part-*.parquet"))).field("answer").type
    assert str(kind) == "struct<mood: string, score: double, tags: list<element: string>>"
    flat = pd.read_csv("flat.csv", dtype={"id": str}).set_index("id")
    assert flat.loc["001", "answer.mood"] == "fine" and flat.loc["001", "answer.score"] == 3.0
    assert "$.mood: 5 is not of type 'string'" in flat.loc["006", "error"]


def test_messages_of_several_turns(posts: Path, server: Any, local_ray: Any) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"id": 1, "talk": [*turns, {"role": "user", "content": "c"}]}]
    rows += [{"id": 2, "talk": [{"role": "system", "content": "own"}, turns[0]]}, {"id": 3}]
    Path("talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = ["run", "talks.jsonl", "--messages", "talk", "--system", "Be kind.", "--out", "out"]
    assert main([*ask, *at(server)]) == 1
    sent = sorted([m["content"] for m in body["messages"]] for body in server.bodies)
    assert sent == [["Be kind.", "a", "b", "c"], ["own\n\nBe kind.", "a"]]
    errors = pd.read_parquet("out").set_index("id")["error"]
    assert errors[[1, 2]].isna().all() and "no list of messages" in errors[3]


def test_a_sample_is_shown_and_nothing_is_written(
    posts: Path, server: Any, local_ray: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(posts.rglob("*"))
    ask = ["run", "posts.csv", "--prompt", "Say {text}", "--limit", "2"]
    assert main([*ask, *at(server)]) == 0
    shown = capsys.readouterr().out
    assert "You said Say post 2" in shown and "post 3" not in shown
    assert "nothing was written" in shown and sorted(posts.rglob("*")) == before
    assert main([*ask, *at(server), "--out", "out"]) == 0  # with --out, the first rows are kept
    assert main([*ask[:-2], *at(server), "--out", "out"]) == 0  # and the others are added
    assert "4 computed now, 2 were there" in capsys.readouterr().out


def test_rows_without_ids_are_numbered(
    posts: Path, server: Any, local_ray: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plain.csv").write_text("text\na\nb\n")
    ask = ["run", "plain.csv", "--prompt", "{text}", "--out", "out", *at(server)]
    assert main(ask) == 0
    assert list(pd.read_parquet("out").sort_values("row")["row"]) == [1, 2]
    assert main(ask) == 0
    assert "0 computed now, 2 were there" in capsys.readouterr().out


#: Arguments → what is said, before anything starts.
WRONG: list[tuple[list[str], str]] = [
    (["--prompt", "{text}"], "--out, or see a sample"),
    (["--prompt", "{text}", "--limit", "0"], "at least 1"),
    (["--prompt", "{text}", "--limit", "2", "--csv", "x.csv"], "go with --out"),
    (["--out", "o"], "Say what is to be asked"),
    (["--out", "o", "--prompt", "all the same"], "names no column"),
    (["--out", "o", "--prompt", '{"a": 1} {text}'], "names no column.*doubled"),
    (["--out", "o", "--prompt", "{text"], "can't be filled in"),
    (["--out", "o", "--prompt", "{text} {txet}"], "no column 'txet'.*Did you mean 'text'"),
    (["--out", "o", "--prompt", "{text}", "--id", "nix"], "no column 'nix'"),
    (["--out", "o", "--prompt", "{text}", "--choices", "[1"], "no JSON list"),
    (["--out", "o", "--prompt", "{text}", "--choices", "a,a"], "twice"),
    (["--out", "o", "--prompt", "{text}", "--choices", ", ,"], "',.*names none"),
    (["--out", "o", "--prompt", "{text}", "--choices", ""], "'' names none"),
    (["--out", "o", "--prompt", "{text}", "--choices", '{"a": 1}'], "names none"),
    (["--out", "o", "--prompt", "{text}", "--max-tokens", "0"], "at least 1, not 0"),
    (["--out", "o", "--prompt", "{text}", "--into", " "], "no name for the column"),
    (["--prompt", "{text}", "--into", "", "--limit", "1"], "no name for the column"),
    (["--out", "o", "--prompt", "{text}", "--csv", "posts.csv"], "posts.csv is a file of the data"),
    (["--out", "o", "--prompt", "{text}", "--csv", "all.txt"], "ends in .csv, .tsv, .jsonl"),
    (["--out", "o", "--prompt", "{text}", "--page", "posts.csv"], "there already, and is no page"),
    (["--out", "http://127.0.0.1:9/a", "--prompt", "{text}"], "can only be read: name a folder"),
    (["--out", "o", "--prompt", "{text}", "--in-flight", "0"], "whole number from 1, not 0"),
    (["--out", "o", "--prompt", "{text}", "--page", "."], "there already, and is no page"),
    (["--out", "o", "--prompt", "{text}", "--schema", "nix.json"], "can't be read as JSON"),
    (["--out", "o", "--prompt", "{text}", "--few-shot", "posts.csv"], "Example 1.*'answer'"),
    (["--out", "o", "--prompt", "{text}", "--sampling", "hot"], "no NAME=VALUE"),
    (["--out", "o", "--prompt", "{text}", "--sampling", "seed={nix}"], "no column 'nix'"),
    (["--out", "o", "--prompt", "{text}", "--api-key-env", "NIX_KEY"], "NIX_KEY.*not set"),
]


@pytest.mark.parametrize(("more", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_can_not_work_is_refused_before_a_row_is_asked(
    more: list[str],
    words: str,
    posts: Path,
    server: Any,
    local_ray: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "posts.csv", *at(server), *more]) == 1
    assert re.search(words, capsys.readouterr().err) and not server.bodies
    assert (posts / "posts.csv").read_text() == csv_text()


def test_a_folder_holds_its_own_answers(
    posts: Path, server: Any, local_ray: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["run", ".", "--prompt", "{text}", "--out", "out", *at(server)]
    assert main([*ask, "--csv", "all.csv"]) == 1  # which the next call would read
    assert "is a file of the data, or would be" in capsys.readouterr().err
    server.answer = says(lambda body: "")
    assert main(ask) == 1
    assert "no row was answered" in (shown := capsys.readouterr().out) and "nan" not in shown
    server.answer = says(lambda body: "yes")
    assert main([*ask, "--retry-failed"]) == 0
    assert "6 computed now" in capsys.readouterr().out
    assert main(ask) == 0 and "6 were there" in capsys.readouterr().out


def test_options_reach_who_answers(posts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def stop(*_: Any, **named: Any) -> None:
        asked.update(named)
        raise labkit.LabError("enough")

    ask = ["run", "posts.csv", "--prompt", "{text}", "--out", "out"]
    monkeypatch.setenv("MY_KEY", "sk-secret")
    monkeypatch.setattr(labkit, "endpoint", stop)
    more = ["--api-key-env", "MY_KEY", "--in-flight", "3", "--rename", "temperature=", "a=b"]
    assert main([*ask, "--endpoint", "http://h/v1", "--model", "m", *more]) == 1
    assert asked["api_key"] == "sk-secret" and asked["rows_in_flight"] == 3
    assert asked["rename"] == {"temperature": None, "a": "b"}
    monkeypatch.setattr(labkit, "configure", stop)
    assert main([*ask, "--replicas", "2", "--engine", "max_model_len=64", "dtype=auto"]) == 1
    assert (asked["replicas"], asked["engine"]) == (2, {"max_model_len": 64, "dtype": "auto"})
    monkeypatch.setattr(labkit, "configure", lambda *_, **__: None)
    monkeypatch.setattr(labkit, "start", stop)
    assert main([*ask, "--address", "10.0.0.1:6379"]) == 1
    assert asked["address"] == "10.0.0.1:6379"


@pytest.mark.engine
def test_a_file_on_a_real_engine(
    posts: Path, warm_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = labkit.configure
    monkeypatch.setattr(labkit, "configure", lambda *a, **k: configure(*a, warm=True, **k))
    ask = ["run", "posts.csv", "--prompt", "Is this good? {text}", "--choices", "yes,no"]
    assert main([*ask, "--model", warm_spec.model.source, "--out", "out"]) == 0
    found = pd.read_parquet("out")
    assert set(found["answer"]) <= {"yes", "no"} and len(found) == 6
    assert "output tokens/s" in Path("out/_report.html").read_text()
