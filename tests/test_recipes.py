"""docs/recipes.md: each command runs as it stands, against a small server or in a bucket of moto's.

Its Python blocks run on a real engine with the README's (`test_docs.py`)."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import labkit
from labkit.cli import main
from labkit.paths import REPO
from labkit.rows import file_place
from tests import s3
from tests.conftest import ENDURANCE
from tests.engines.test_endpoint_client import server as server
from tests.test_cli_run import says

PAGE = REPO / "docs" / "recipes.md"
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.S)
    for line in block.splitlines()
]  # fmt: skip
ARTICLES = [{"id": 1, "title": "T", "body": "B", "length": 7}]
FILES = {
    "posts.csv": "id,text\n007,What a day\n008,Never again\n",
    "articles.jsonl": "".join(json.dumps(row) + "\n" for row in ARTICLES),
    "lines.tsv": "id\tenglish\n1\thouse\n",
    "shots.csv": "english,answer\ncat,chat\n",
    "exports/2024-01.csv.gz": "ticket;subject;text\n01;Help;It is on fire\n",
    "exports/2024-02.csv.gz": "ticket;subject;text\n02;Hi;No more\n",
    "exports/2023-12.csv.gz": "ticket;subject;text\n03;Old;Not asked\n",
}


def words(body: dict[str, Any]) -> str:
    """The first choice, or what was said."""
    form = body.get("structured_outputs") or {}
    return str((form.get("choice") or [f"To {body['messages'][-1]['content']}"])[0])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any, local_ray: Any) -> Path:
    """A folder with the recipes' files; jobs of an engine go to the server."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    endpoint = labkit.endpoint
    server.answer = says(words)
    monkeypatch.setenv("EXAMPLE_KEY", "sk-example")
    monkeypatch.setattr(labkit, "configure", lambda *_, **__: endpoint(server.url, "small"))
    monkeypatch.setattr(labkit, "endpoint", lambda _, *a, **k: endpoint(server.url, *a, **k))
    return tmp_path


def asked(line: str) -> list[str]:
    command = shlex.split(line)
    assert command[:4] == ["python", "-m", "labkit", "run"]
    return command[3:]


def test_there_are_ten() -> None:
    assert re.findall(r"^## (\d+) ", PAGE.read_text(), re.M) == [str(n) for n in range(1, 11)]


@pytest.mark.parametrize("line", [line for line in COMMANDS if "s3://" not in line])
def test_a_recipe_s_command_runs(
    line: str, home: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if "EXAMPLE_KEY" in line:  # no choice is forced there: the server says what it likes
        server.answer = says(lambda body: "positive")
    command = asked(line)
    assert main(command) == 0, capsys.readouterr().err
    if "--out" not in command:
        assert "nothing was written" in capsys.readouterr().out
        return
    found = pd.read_parquet(command[command.index("--out") + 1])
    assert found["error"].isna().all() and len(found) in (1, 2)
    sent = server.bodies[-1]
    if "summaries" in command:
        assert sent["max_tokens"] == 7 and "T: B" in str(sent)
    if "french" in command:
        assert [m["content"] for m in sent["messages"][1:]] == ["cat", "chat", "house"]
    if "tickets" in command:
        assert sorted(found["ticket"]) == ["01", "02"] and Path("tickets.jsonl").exists()
    if "EXAMPLE_KEY" in line:
        assert server.headers[-1]["Authorization"] == "Bearer sk-example"
        assert "structured_outputs" not in sent and "max_completion_tokens" in sent


@ENDURANCE
@pytest.mark.parametrize("line", [line for line in COMMANDS if "s3://" in line])
def test_a_recipe_s_command_runs_from_s3_to_s3(
    line: str,
    home: Path,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ray's workers must know the server, too: Ray is started anew below it."""
    start = labkit.start
    monkeypatch.setattr(labkit, "start", lambda address=None, **k: start(**k))
    labkit.stop()
    with s3.serving("bucket"):
        for name, ids in (("a", [1, 2]), ("b", [3])):
            lines = "".join(json.dumps({"id": n, "text": f"post {n}"}) + "\n" for n in ids)
            with file_place.place(f"s3://bucket/posts/{name}.jsonl.gz").create() as file:
                file.write(lines.encode())
        assert main(asked(line)) == 0, capsys.readouterr().err
        assert "3 computed now" in capsys.readouterr().out
        with file_place.place("s3://bucket/posts/c.jsonl.gz").create() as file:
            file.write(b'{"id": 4, "text": "post 4"}\n')
        assert main([*asked(line), "--csv", "s3://bucket/all.csv"]) == 0
        assert "1 computed now, 3 were there" in capsys.readouterr().out
        with file_place.place("s3://bucket/all.csv").open() as file:
            assert sorted(pd.read_csv(file)["id"]) == [1, 2, 3, 4]
        with file_place.place("s3://bucket/answers/_report.html").open() as file:
            assert "To post 1" in file.read()
        labkit.stop()
