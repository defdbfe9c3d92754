"""A folder of answers elsewhere: what is written here is there, soon, however the job ends."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pytest

from labkit.errors import LabError
from labkit.results import answer_files, remote_folder
from labkit.results.parquet_folder import Parts
from labkit.results.remote_folder import mirrored
from labkit.rows import file_place


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in fsspec's own memory: it has no links and no renames either."""
    monkeypatch.setattr(remote_folder, "EVERY_S", 0.05)
    return f"memory://{uuid.uuid4().hex}"


def part(*ids: int) -> pa.Table:
    return pa.table({"id": ids, "error": pa.array([None] * len(ids), pa.string())})


def ids(url: str) -> list[int]:
    return sorted(answer_files.frame(url)["id"])


def test_parts_follow_while_a_job_runs_and_come_back_for_the_next(url: str) -> None:
    with mirrored(url) as here:
        parts = Parts(here, "id")
        parts.check({"task": "a"})
        parts.add(part(1, 2))
        deadline = time.monotonic() + 10
        while not any(p.name.startswith("part-") for p in listed(url)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert not here.exists() and ids(url) == [1, 2]
    with mirrored(url) as again:
        parts = Parts(again, "id")
        with pytest.raises(LabError, match="another job"):
            parts.check({"task": "b"})
        parts.drop(pa.array([1, 2]))
        parts.add(part(3))
    assert ids(url) == [3]


def listed(url: str) -> list[file_place.Place]:
    try:
        return file_place.files(url)
    except LabError:
        return []


def test_what_a_stopped_job_wrote_is_there(url: str) -> None:
    with pytest.raises(KeyboardInterrupt), mirrored(url) as here:
        Parts(here, "id").add(part(1))
        raise KeyboardInterrupt
    assert ids(url) == [1]


class TheirOwn(Exception):
    """As a client of a store raises it."""


kinds = pytest.mark.parametrize("kind", [OSError, ValueError, pa.ArrowInvalid, TheirOwn])


@kinds
def test_a_store_that_fails_for_a_while_gets_the_parts_later(
    url: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    create, refused = file_place.Place.create, list[int]()

    def refuse(self: file_place.Place) -> IO[bytes]:
        if len(refused) < 2:
            refused.append(1)
            raise kind("busy")
        return create(self)

    with mirrored(url) as here:
        monkeypatch.setattr(file_place.Place, "create", refuse)
        Parts(here, "id").add(part(1))
        deadline = time.monotonic() + 10
        while not listed(url):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert len(refused) == 2 and ids(url) == [1]


@kinds
def test_answers_that_can_not_be_copied_are_kept_here(
    url: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise kind("the network is gone")

    with pytest.raises(LabError, match="could be copied.*network is gone.*kept in") as told:  # noqa: SIM117
        with mirrored(url) as here:
            monkeypatch.setattr(file_place.Place, "create", refuse)
            Parts(here, "id").add(part(1))
    assert str(here) in str(told.value) and list(pd.read_parquet(here)["id"]) == [1]


@pytest.mark.parametrize("where", ["https://127.0.0.1:9/out", "nix://a/b"])
def test_a_place_that_takes_nothing_is_refused_at_once(where: str) -> None:
    with (
        pytest.raises(LabError, match="can't be written to|can't be used|can only be read"),
        mirrored(where),
    ):
        raise AssertionError("the block began")


@pytest.mark.parametrize("name", ["all.csv", "all.tsv.gz", "all.jsonl.zst"])
def test_all_rows_in_one_file(tmp_path: Path, name: str) -> None:
    values = [{"a": 1, "b": ["x"]}, None]
    table = part(1, 2).append_column("answer", pa.array(values)).append_column(
        "when", pa.array([0, None], pa.timestamp("s"))
    )  # fmt: skip
    Parts(tmp_path, "id").add(table)
    answer_files.save(tmp_path, tmp_path / name)
    with file_place.place(tmp_path / name).open() as file:
        text = file.read()
    if "jsonl" in name:
        assert '"answer": {"a": 1, "b": ["x"]}, "when": "1970-01-01T00:00:00"' in text
    else:
        assert text.splitlines()[0].replace("\t", ",") == "id,error,answer.a,answer.b,when"
        assert '"[""x""]"' in text and text.splitlines()[2].count("2") == 1
    with pytest.raises(LabError, match="ends in .csv"):
        answer_files.save(tmp_path, tmp_path / "x.doc")
