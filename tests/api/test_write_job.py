"""Answers in Parquet: one schema, each row once, whatever stops the job and however often."""

from __future__ import annotations

import decimal
import errno
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.api import write_job
from labkit.engines import dispatch, station
from labkit.errors import JobFailed, LabError, Stalled
from labkit.progress import Progress
from labkit.results import job_fingerprint, parquet_folder, part_writer
from labkit.results.parquet_folder import Parts
from labkit.results.part_writer import PartWriter
from labkit.rows import arrow_types, data_checks, requests, responses, user_data, user_files
from labkit.rows.sampling_values import for_vllm
from labkit.tasks import Task, ask, faq
from tests.conftest import STEADY_GIB

#: So many write the rows that are streamed.
WORKERS = 2
ADDED = ["answer", "error", "num_input_tokens", "num_generated_tokens", "finish_reason"]


def frame(rows: int = 40, bad: tuple[int, ...] = (3, 17)) -> pd.DataFrame:
    """Rows with text ids; those of `bad` have no question."""
    return pd.DataFrame(
        {
            "id": [f"r{number:03}" for number in range(rows)],
            "question": [None if number in bad else f"What is {number}?" for number in range(rows)],
            "kind": pd.Categorical(["x", "y"] * (rows // 2)),
            "when": pd.Timestamp("2024-02-29", tz="UTC"),
            "half": [number / 2 for number in range(rows)],
        }
    )


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.glob("part-*.parquet")
    }


def one_schema(folder: Path) -> pa.Schema:
    schemas = [pq.read_schema(file) for file in sorted(folder.glob("*.parquet"))]
    assert schemas and all(schema.equals(schemas[0]) for schema in schemas)
    return schemas[0]


# --- The folder -----------------------------------------------------------------------------------


def part(*ids: Any, errors: dict[Any, str] | None = None) -> pa.Table:
    reasons = pa.array([(errors or {}).get(i) for i in ids], pa.string())
    return pa.table({"id": pa.array(ids), "answer": [f"a{i}" for i in ids], "error": reasons})


@pytest.mark.parametrize("ids", [["a", "b", "ü", "7"], [0, -3, 2**40, 7]])
def test_parts_hold_what_they_are_given(tmp_path: Path, ids: list[Any]) -> None:
    folder = Parts(tmp_path / "new" / "deep", "id")
    with folder.open():
        assert folder.rows().num_rows == 0 and folder.schema() is None
        folder.add(part(*ids[:2]))
        folder.add(part(*ids[2:], errors={ids[3]: "bad"}))
    assert folder.rows().to_pydict() == {"id": ids, "failed": [False, False, False, True]}
    assert list(pd.read_parquet(folder.path)["id"]) == ids
    assert [f.name for f in folder.files()] == ["part-00000.parquet", "part-00001.parquet"]


def test_rows_are_taken_out_of_the_parts_that_have_them(tmp_path: Path) -> None:
    folder = Parts(tmp_path, "id")
    for some in ((1, 2), (3, 4), (5, 6)):
        folder.add(part(*some))
    before = hashes(tmp_path)
    folder.drop(pa.array([3, 4, 6, 99]))
    assert folder.rows()["id"].to_pylist() == [1, 2, 5]
    assert hashes(tmp_path)["part-00000.parquet"] == before["part-00000.parquet"]
    folder.add(part(7))
    assert folder.files()[-1].name == "part-00003.parquet"


def test_half_a_part_never_has_the_name_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Parts(tmp_path, "id")
    folder.add(part(1))

    def half(table: pa.Table, file: Path) -> None:
        file.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet_folder.pq, "write_table", half)
    with pytest.raises(LabError, match="No space left.*kept.*Make room.*same folder"):
        folder.add(part(2))
    assert [f.name for f in tmp_path.glob("[!.]*")] == ["part-00000.parquet"]


def test_what_a_killed_job_left_is_removed_and_never_read(tmp_path: Path) -> None:
    folder = Parts(tmp_path, "id")
    folder.add(part(1))
    (tmp_path / ".part-part-00001.parquet.tmp").write_bytes(b"PAR1")
    assert len(pd.read_parquet(tmp_path)) == 1
    with folder.open():
        assert not list(tmp_path.glob(".part-*"))


WRITER = """
import sys
import pyarrow as pa
from labkit.results.parquet_folder import Parts

folder = Parts(sys.argv[1], "id")
with folder.open():
    while True:
        at = folder.rows().num_rows
        error = pa.array([None] * 9, pa.string())
        folder.add(pa.table({"id": range(at, at + 9), "text": ["x" * 9999] * 9, "error": error}))
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_parts(tmp_path: Path) -> None:
    for number in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        before = len(hashes(tmp_path))
        while len(hashes(tmp_path)) < before + 3:
            assert writer.poll() is None
        time.sleep(number / 301)
        writer.kill()
        writer.wait()
        ids = list(pd.read_parquet(tmp_path)["id"])
        assert ids == list(range(len(ids)))


def test_one_job_writes_at_a_time(tmp_path: Path) -> None:
    with Parts(tmp_path, "id").open(), pytest.raises(LabError, match="Another job is writing"):
        Parts(tmp_path, "id").open().__enter__()
    with Parts(tmp_path, "id").open():
        pass


@pytest.mark.parametrize("links", [True, False])
def test_two_writers_that_no_lock_keeps_apart_lose_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """As on a network file system: each has looked at the folder before the other wrote."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(parquet_folder.FileLock, "acquire", refuse)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    first, second = Parts(tmp_path, "id"), Parts(tmp_path, "id")
    with pytest.warns(UserWarning, match="can't be locked.*no other job"), first.open():
        first.add(part(0))
        half = tmp_path / ".part-of-the-other.tmp"
        half.write_bytes(b"PAR1")
        with pytest.warns(UserWarning, match="can't be locked"), second.open():
            assert half.exists(), "it may be one that the other job is writing"
            stale = first.files()
            for number in range(1, 5, 2):
                for writer, at in ((first, number), (second, number + 1)):
                    monkeypatch.setattr(writer, "files", lambda: stale)
                    writer.add(part(at))
    assert sorted(pd.read_parquet(tmp_path)["id"]) == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LabError, match="can't be written to"), Parts(file, "id").open():
        pass


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    folder = Parts(tmp_path, "id")
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 is all there is PAR1")
    for read in (folder.rows, folder.schema, lambda: folder.row(1), lambda: folder.drop([1])):
        with pytest.raises(LabError, match="A part in .* can't be read"):
            read()


@pytest.mark.parametrize("ids", [("a", "b"), (1, 2)])
def test_another_prompt_is_found_in_any_part(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    folder = Parts(tmp_path, "id")
    folder.add(part(ids[0], errors={ids[0]: "bad"}))
    folder.add(part(ids[1]))
    assert folder.row(ids[1]) == part(ids[1]).to_pylist()[0]
    assert folder.row("c" if ids[1] == "b" else 3) is None
    with pytest.raises(LabError, match="another prompt"):
        known = {"prompt": {"id": ids[1], "asked": "before"}}
        job_fingerprint.check_prompt(Task("t", ask("answer")), folder, known)


@pytest.mark.parametrize("length", [0, 100, 1950, 5000, 100_000])
def test_prompts_that_differ_at_their_very_end_are_two(tmp_path: Path, length: int) -> None:
    folder = Parts(tmp_path, "id")
    folder.add(part(1))
    long = "\ud83d" + "x" * length
    one, two = (Task("t", ask("answer", system=f"{long} {end}")) for end in ("Yes?", "No?"))
    noted = job_fingerprint.noted_prompt(one, part(1).to_pylist()[0], 1)
    assert noted is not None and len(noted["asked"]) <= job_fingerprint.SHOWN
    job_fingerprint.check_prompt(one, folder, {"prompt": noted})
    with pytest.raises(LabError, match="another prompt"):
        job_fingerprint.check_prompt(two, folder, {"prompt": noted})


def test_a_folder_that_noted_the_beginning_of_a_prompt_is_used_with_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    folder = Parts(tmp_path, "id")
    folder.add(part(1))
    for length in (10, 5000):
        task = Task("t", ask("answer", system="x" * length))
        asked = job_fingerprint.prompt(task, part(1).to_pylist()[0])
        assert asked is not None
        known = {"prompt": {"id": 1, "asked": asked[:2000]}}
        job_fingerprint.check_prompt(task, folder, known)
        assert len(recwarn) == (length == 5000)


def folder_of_a_model(path: Path, config: str = "{}", weights: bytes = b"w" * 9) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(config)
    (path / "model.safetensors").write_bytes(weights)
    return path


def test_models_of_one_name_are_told_apart(tmp_path: Path, smollm2: Any) -> None:
    """By what they are, not by where: a folder may be moved."""
    big = b"0" * 3 * 2**20
    folders = {
        "one": folder_of_a_model(tmp_path / "a" / "final"),
        "copied": folder_of_a_model(tmp_path / "b" / "final"),
        "config": folder_of_a_model(tmp_path / "c" / "final", '{"a": 1}'),
        "weights": folder_of_a_model(tmp_path / "d" / "final", weights=b"w" * 8 + b"x"),
        "big": folder_of_a_model(tmp_path / "e" / "final", weights=big + b"1"),
        "tuned": folder_of_a_model(tmp_path / "f" / "final", weights=big + b"2"),
        "moved": folder_of_a_model(tmp_path / "g" / "final", weights=big + b"1"),
    }
    spec = labkit.configure(smollm2)

    def of(source: str) -> str:
        return job_fingerprint.model_hash(
            replace(spec, model=replace(spec.model, name="final", source=source))
        )

    hashes = {name: of(str(folder)) for name, folder in folders.items()}
    assert hashes["one"] == hashes["copied"] and hashes["big"] == hashes["moved"]
    different = {hashes[name] for name in ("one", "config", "weights", "big", "tuned")}
    different |= {of("orgA/final"), of("orgB/final")}
    other = labkit.configure(smollm2, engine={"quantization": "fp8"})
    different |= {job_fingerprint.model_hash(other), job_fingerprint.model_hash(spec)}
    for url in ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"):
        different |= {job_fingerprint.model_hash(labkit.endpoint(url, "final"))}
    assert len(different) == 11


def test_a_folder_that_noted_a_name_alone_is_used_with_a_warning(tmp_path: Path) -> None:
    folder, about = Parts(tmp_path, "id"), {"model": "final", "model_hash": "a"}
    folder.note({"model": "final"})
    with pytest.warns(UserWarning, match="older labkit.*this 'final'"):
        folder.check(about)
    assert folder.check(about)["model_hash"] == "a", "from now on it is known"
    with pytest.raises(LabError, match="'final' is another one of that name"):
        folder.check(about | {"model_hash": "b"})


def test_another_job_is_not_mixed_in(tmp_path: Path) -> None:
    folder = Parts(tmp_path, "id")
    about = {"task": "faq", "sampling": {"max_tokens": 4, "stop": ("a",)}, "versions": {"ray": "1"}}
    assert folder.check(about)["sampling"] == {"max_tokens": 4, "stop": ["a"]}
    assert folder.check(about | {"versions": {"ray": "2"}})["versions"] == {"ray": "1"}
    with pytest.raises(LabError, match="task was 'faq' and is now 'other'.*another folder"):
        folder.check(about | {"task": "other"})
    (tmp_path / parquet_folder.ABOUT).write_text("{")
    with pytest.raises(LabError, match="can't be read"):
        folder.check(about)


def test_files_of_others_are_not_mixed_in(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(LabError, match="other files, such as mine.parquet"):
        Parts(tmp_path, "id").check({})


# --- The columns ----------------------------------------------------------------------------------


def test_ids_must_be_there_and_unique() -> None:
    with pytest.raises(LabError, match=r"Row 2 has no id in 'n' \(None; 1 such\)"):
        data_checks.check_ids(pa.chunked_array([[1, 2], [None]]), "n")
    with pytest.raises(LabError, match=r"Row 3 has the id of another .*'a'; 2 such"):
        data_checks.check_ids(pa.chunked_array([["a", "b", "c", "a", "b"]]), "n")
    data_checks.check_ids(pa.chunked_array([["a", "b", "A", ""]]), "n")


@pytest.mark.parametrize(
    "schema, into, words",
    [
        ({"x": pa.int64()}, "answer", "no column 'id'"),
        ({"id": pa.float64()}, "answer", "double.*astype"),
        ({"id": pa.bool_()}, "answer", "bool"),
        ({"id": pa.int64(), "answer": pa.string()}, "answer", "already has.*'answer'.*into="),
        ({"id": pa.int64(), "error": pa.string()}, "answer", "already has.*'error'"),
        ({"id": pa.int64(), "num_input_tokens": pa.int64()}, "a", "already has"),
        ({"id": pa.int64(), "e": pa.struct([])}, "answer", "'e' can't be written"),
        ({"id": pa.int64()}, "error", "another column that write adds"),
        ({"id": pa.int64()}, "id", "already has a column 'id'"),
    ],
)
def test_columns_that_clash_or_lack(schema: dict[str, Any], into: str, words: str) -> None:
    with pytest.raises(LabError, match=words):
        data_checks.check(pa.schema(list(schema.items())), "id", into)


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.string(), pa.large_string()])
def test_ids_are_text_or_whole_numbers(kind: pa.DataType) -> None:
    data_checks.check(pa.schema([("id", kind)]), "id", "answer")


@pytest.mark.parametrize(
    "data, words",
    [
        ([], "no rows"),
        (pd.DataFrame({"id": []}), "no rows"),
        ([{"id": 1}, "two"], "Row 1 is str"),
        ([{"id": 1, "t": "x"}, {"id": 2, "t": 5}], "'t'"),
        (pd.DataFrame({"id": [1, 2], "t": ["x", 5]}), "column 't'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (7, "can't be written"),
    ],
)
def test_data_that_no_parquet_file_could_hold(data: Any, words: str) -> None:
    with pytest.raises(LabError, match=words):
        user_data.source(data)


def test_no_such_files(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    for path in (tmp_path, tmp_path / "absent.parquet", tmp_path / "x.txt"):
        with pytest.raises(LabError, match="holds no file to read.*Parquet, CSV|no such file"):
            user_data.source(path)


def test_a_list_and_a_frame_give_the_same_columns() -> None:
    data = pd.DataFrame({"id": [1, 2], "t": ["a", None], "none": [None, None]})
    found = []
    for some in (data, data.to_dict("records")):
        one = user_data.source(some)
        one.use(None)
        found.append({f.name: str(f.type) for f in one.schema})
    assert found[0] == found[1] == {"id": "int64", "t": "string", "none": "string"}


def test_columns_take_the_order_and_types_that_are_there() -> None:
    kept = pa.schema([("t", pa.string()), ("n", pa.float64()), ("id", pa.int64())])
    one = user_data.source([{"id": 1, "n": None, "t": "a"}])
    one.use(pa.schema([*kept, pa.field("answer", pa.string())]))
    assert one.schema.equals(kept) and one.table.schema.equals(kept)


@pytest.mark.parametrize(
    "kept, values, kind",
    [
        ("int64", pa.array([7.0, None]), "int64"),
        ("int64", pa.array([7.5, None]), "double"),
        ("double", pa.array([7, None]), "double"),
        ("double", pa.array([2**53 + 1]), "int64"),
        ("int64", pa.array([7], pa.uint8()), "int64"),
        ("uint8", pa.array([7]), "uint8"),
        ("uint8", pa.array([700]), "int64"),
        ("string", pa.array([7]), "int64"),
        ("int64", pa.array(["7"]), "string"),
        ("bool", pa.array([1]), "int64"),
        ("string", pa.nulls(1), "string"),
        ("double", pa.nulls(1), "double"),
        ("string", pa.array(["a"], pa.large_string()), "string"),
        ("string", pa.array(["a"]).dictionary_encode(), "string"),
    ],
)
def test_columns_take_the_types_that_are_there_where_no_value_changes(
    kept: str, values: pa.Array, kind: str
) -> None:
    """More rows may bring another type for the same numbers."""
    schema = pa.schema([("x", pa.type_for_alias(kept))])
    table = pa.table({"x": values})
    one = user_data.Source(table.schema, table=table)
    one.use(schema)
    assert str(one.schema.field("x").type) == kind
    assert one.table is not None and one.table["x"].to_pylist() == values.to_pylist()


@pytest.mark.parametrize(
    "kept, own, kind",
    [
        (pa.float64(), pa.int64(), "double"),
        (pa.int64(), pa.uint8(), "int64"),
        (pa.int64(), pa.null(), "int64"),
        (pa.int64(), pa.float64(), "double"),
        (pa.string(), pa.int64(), "int64"),
        (pa.int64(), pa.string(), "string"),
    ],
)
def test_streamed_columns_take_wider_types_alone(kept: Any, own: Any, kind: str) -> None:
    streamed = user_data.Source(pa.schema({"x": own}))
    streamed.use(pa.schema({"x": kept}))
    assert str(streamed.schema.field("x").type) == kind


@pytest.mark.parametrize(
    "answers, kind",
    [
        (["a", "b"], "string"),
        ([None, "b"], "string"),
        ([None], "string"),
        ([], "string"),
        ([1, 2], "int64"),
        ([1, 0.5], "double"),
        ([True], "bool"),
        (["a", 1], "string"),
        ([object()], "string"),
        ([{"a": 1}, {"b": "x"}], "struct<a: int64, b: string>"),
        ([["a"], []], "list<item: string>"),
        ([{}], "string"),
        ([2**70], "string"),
    ],
)
def test_the_first_answers_give_the_type(answers: list[Any], kind: str) -> None:
    assert str(arrow_types.stored(arrow_types.open_type(answers))) == kind


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text(),
            st.integers(),
            st.floats(),
            st.dictionaries(st.sampled_from("abc"), st.integers(-5, 5)),
            st.lists(st.text()),
        )
    )
)
def test_an_answer_is_held_as_it_is_or_its_row_fails(answers: list[Any]) -> None:
    kind = arrow_types.stored(arrow_types.open_type(answers))
    held, errors = arrow_types.fit(answers, kind)
    assert held.type == kind
    for back, answer, error in zip(held.to_pylist(), answers, errors, strict=True):
        if error is not None:
            assert back is None and "the answer" in error
        elif isinstance(answer, dict):
            assert {k: v for k, v in back.items() if v is not None} == answer
        else:
            assert back == answer or answer != answer


whole = st.sampled_from([2**53 + 1, 2**63 - 1, -(2**62) - 1]) | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.none() | whole | st.floats() | st.text() | st.booleans(), max_size=5))
@pytest.mark.parametrize("kind", [*part_writer.EXACT, pa.int8(), pa.list_(pa.string())], ids=str)
def test_answers_that_are_held_at_once_are_held_as_one_by_one(
    kind: pa.DataType, answers: list[Any]
) -> None:
    one_by_one, errors = arrow_types.fit(answers, kind)
    values, misfits = part_writer.fit(answers, kind)
    assert repr((values.to_pylist(), values.type, misfits)) == repr(
        (one_by_one.to_pylist(), kind, errors)
    )


anything: Any = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
like = {  # values of one kind each, and null
    "whole": whole,
    "numbers": whole | st.floats(allow_nan=False),
    "small": st.integers(-9, 9) | st.floats(allow_nan=False, width=16),
    "text": st.text(),
    "lists": st.lists(st.none() | whole, max_size=3),
    "dicts": st.fixed_dictionaries({"n": st.none() | st.integers(-99, 99) | st.just(0.5)}),
    "anything": anything,
}


def plain(value: Any) -> Any:
    """As Python has it: pandas' null and NumPy's arrays are gone."""
    if isinstance(value, dict):
        return {name: plain(inside) for name, inside in value.items()}
    if isinstance(value, list | np.ndarray):
        return [plain(inside) for inside in value]
    return None if value is None or value is pd.NA or value != value else value


def held(value: Any, back: Any) -> bool:
    """A dict may have come back with the keys of the others, which are null."""
    if isinstance(value, dict):
        return all(held(value.get(name), back[name]) for name in {*value, *back})
    if isinstance(value, list):
        return len(back) == len(value) and all(map(held, value, back))
    return bool(back == value)


@pytest.mark.parametrize("kind", like)
@given(st.data())
def test_any_values_come_back_from_the_files_or_fail(
    tmp_path_factory: Any, kind: str, data: Any
) -> None:
    """Answers in parts, whatever came first, with failed rows and a stop between them; and
    columns of the user's."""
    drawn = st.lists(st.none() | like[kind], min_size=1, max_size=4)
    batches = data.draw(st.lists(drawn, min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("values")
    parts = Parts(folder, "id")
    answers = [value for batch in batches for value in batch]
    mine = answers if kind in ("whole", "text", "lists") else [None] * len(answers)
    rows = user_data.source([{"id": n, "mine": v} for n, v in enumerate(mine)])
    rows.use(None)
    assert rows.table is not None
    number, errors = 0, {}
    for at, batch in enumerate(batches):
        if at in (0, 2):
            shown = Progress(None, startup="", show=False)
            about = (faq(), rows, parts, "answer", {"prompt": None})
            writer = PartWriter(*about, rows.table["id"], shown)
        values, misfits = writer._values(batch)
        table = rows.table.slice(number, len(batch)).append_column("answer", values)
        parts.add(table.append_column("error", pa.array(misfits, pa.string())))
        errors |= dict(enumerate(misfits, number))
        number += len(batch)
    one_schema(folder)
    back = labkit.Written(folder, "id", number, number, 0, 0, None).read()
    assert back["id"].tolist() == list(range(number)) and len(pd.read_parquet(folder)) == number
    assert list(map(plain, back["mine"])) == mine
    for row, value in enumerate(answers):
        found = plain(back["answer"].iloc[row])
        assert found is None if errors[row] else held(plain(value), found), back["answer"]
    if kind in ("whole", "text", "small", "lists", "dicts"):
        assert not any(errors.values())


@pytest.mark.parametrize(
    "first, later, kind, fails",
    [
        ([None, None], [3, 4], "int64", False),
        ([None], ["a"], "string", False),
        ([None], [{"n": None}, {"n": 3}], "struct<n: int64>", False),
        ([{"n": None}], [{"n": 3}], "struct<n: int64>", False),
        ([{"n": [1]}], [{"n": [0.5]}], "struct<n: list<element: double>>", False),
        ([[]], [[1.5]], "list<element: double>", False),
        ([1, 2], [1.5], "double", False),
        ([decimal.Decimal("1.1")], [decimal.Decimal("10.25")], "decimal128(4, 2)", False),
        ([2**53 + 1], [1.5], "int64", True),
        ([1.5], [2**53 + 1], "double", True),
        (["a"], [1], "string", True),
        ([1], ["a"], "int64", True),
        ([1], [True], "int64", True),
        ([1.5], [True], "double", True),
    ],
)
def test_a_type_is_not_fixed_by_the_first_part(
    tmp_path: Path, spec: Any, first: list[Any], later: list[Any], kind: str, fails: bool
) -> None:
    """A wider one is taken where it changes no answer; else the row says why."""
    answers = dict(enumerate(first + later))
    task = Task("t", ask("question"), parse=lambda text, row: answers[row["id"]])
    data = pd.DataFrame({"id": list(answers), "question": "What?"})
    write(data.head(len(first)), tmp_path, spec, task)
    out = write(data, tmp_path, spec, task)
    assert str(one_schema(tmp_path).field("answer").type) == kind
    known = [plain(value) for value in out.read()["answer"]]
    assert out.failed == fails * len(later)
    assert known == first + [None if fails else value for value in later]


def test_parts_that_a_kill_left_with_two_types_get_one(tmp_path: Path, spec: Any) -> None:
    task = Task("t", ask("question"), parse=lambda text, row: len(row["id"]))
    write(frame(), tmp_path, spec, task)
    first = sorted(tmp_path.glob("*.parquet"))[0]
    table = pq.read_table(first)
    at = table.column_names.index("answer")
    pq.write_table(table.set_column(at, "answer", table["answer"].cast(pa.float64())), first)
    out = write(frame(), tmp_path, spec, task)
    assert one_schema(tmp_path).field("answer").type == pa.float64()
    assert out.read()["answer"].dropna().unique().tolist() == [4.0]


def test_rows_that_do_not_fit_the_first_ones_stop_before_they_are_asked() -> None:
    schema = pa.schema([("id", pa.int64()), ("t", pa.string())])
    done = SimpleNamespace(has=lambda ids: np.isin(ids.to_numpy(), [2]))
    given = {"id_column": "id", "done": done, "schema": schema}
    given |= {"task": faq("t"), "parameter": for_vllm}
    some = pa.table({"id": [1, 2, 3], "t": ["a", "b", None]})
    made = user_data.requests_of_missing(some, **given)
    assert made["row"].to_pylist() == [{"id": 1, "t": "a"}, {"id": 3, "t": None}]
    assert [error is None for error in made["error"].to_pylist()] == [True, False]
    for wrong in (pa.table({"id": ["x"], "t": ["a"]}), pa.table({"id": [1]})):
        with pytest.raises(LabError, match="doesn't fit"):
            user_data.requests_of_missing(wrong, **given)


# --- Jobs, with a stand-in for the engine ---------------------------------------------------------


def engine(asked: Any, spec: Any, **_: Any) -> Any:
    """Answers with the question; the rest is the real pipeline."""
    import ray.data

    def answer(batch: pa.Table) -> pa.Table:
        said = {name: time.time() for name in responses.TIMES}
        rows = [
            responses.of_engine(
                *(row["row_id"], row["error"]),
                **{"text": requests.read(row)[0][-1]["content"], "times": said, "counts": (3, 2)},
                **{"finish_reason": "stop", "batch_uuid": "u"},
            )
            for row in batch.to_pylist()
        ]
        table = responses.table(rows)
        return table.append_column("row", batch["row"]) if "row" in batch.column_names else table

    if not isinstance(asked, ray.data.Dataset):
        yield from map(answer, asked)
        return
    made = asked.map_batches(
        answer, batch_format="pyarrow", batch_size=spec["batch_size"], num_cpus=0.1
    )
    yield from made.iter_batches(batch_size=None, batch_format="pyarrow")


def answered_by(patch: pytest.MonkeyPatch, answer: Any) -> None:
    """Put a stand-in for engines in the place of all; streamed rows go to workers as ever."""

    def blocks(asked: Any, spec: Any, **options: Any) -> Any:
        import ray

        stations = [station.Answered()] * WORKERS
        for table in answer(asked, spec, **options):
            yield stations, ray.put(table)

    patch.setattr(dispatch, "answer", answer)
    patch.setattr(dispatch, "blocks", blocks)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch, local_ray: Any, smollm2: Any) -> Any:
    """Settings for a stand-in engine that answers at once, a part for each batch."""
    answered_by(monkeypatch, engine)
    monkeypatch.setattr(part_writer, "PART_SECONDS", 0)
    return labkit.configure(smollm2, batch_size=8, max_concurrent_batches=2)


def write(data: Any, path: Path, spec: Any, task: Task | None = None, **changes: Any) -> Any:
    keywords = {"id_column": "id", "progress": False} | changes
    return labkit.write(task or faq(), data, path, spec, **keywords)


@pytest.mark.parametrize("kind", ["int8", "int64", "uint64", "Int64", "string", "str"])
def test_ids_of_any_type_go_on_where_they_stopped(tmp_path: Path, spec: Any, kind: str) -> None:
    """Such as hashes: half of those of 64 bits are above what a signed number holds."""
    top = {"int8": 2**7 - 8, "int64": 2**63 - 8, "uint64": 2**64 - 8, "Int64": 2**62}.get(kind)
    ids = [(top or 0) + n for n in range(8)]
    data = frame(8, bad=()).assign(id=pd.array([str(i) if top is None else i for i in ids], kind))
    write(data.head(3), tmp_path / "out", spec)
    assert write(data, tmp_path / "out", spec).computed == 5
    assert write(data, tmp_path / "out", spec).computed == 0
    assert list(pq.read_table(tmp_path / "out")["id"].to_pylist()) == list(data["id"])


def test_the_files_hold_the_rows_and_their_answers(tmp_path: Path, spec: Any) -> None:
    data = frame()
    out = write(data, tmp_path / "out", spec)
    assert (out.rows, out.computed, out.skipped, out.failed) == (40, 40, 0, 2)
    assert (out.metrics.rows, out.metrics.failed) == (38, 2)
    back = out.read()
    assert list(back) == [*data, *ADDED]
    pd.testing.assert_frame_equal(back[list(data)], data)
    good = back[back["error"].isna()]
    assert (good["answer"] == good["question"]).all()
    assert list(back["id"][back["error"].notna()]) == ["r003", "r017"]
    assert back["error"][3].startswith("ValueError: column 'question'")
    assert len(hashes(out.path)) == 5
    kept = one_schema(out.path)
    assert [str(kept.field(name).type) for name in ADDED] == [
        "string",
        "string",
        "int64",
        "int64",
        "string",
    ]
    assert pd.read_parquet(out.path)["id"].is_unique


def test_the_last_line_counts_the_rows_that_could_not_be_asked(tmp_path: Path, spec: Any) -> None:
    """Of a job that is whole, whatever became of its rows."""
    said: list[str] = []

    class View:
        def show(self, text: str, share: float | None) -> None:
            said.append(text)

        def close(self) -> None:
            pass

    write(frame(), tmp_path, spec, progress=View())
    assert said[-1].startswith("done: 40 rows in ")
    labkit.run(faq(), frame(), spec, progress=View())
    assert said[-1].startswith("done: 40 rows in ")


def test_only_missing_rows_are_computed(tmp_path: Path, spec: Any) -> None:
    out = tmp_path / "out"
    write(frame().head(10), out, spec)
    before = hashes(out)
    more = write(frame().iloc[::-1], out, spec)
    assert (more.rows, more.computed, more.skipped, more.failed) == (40, 30, 10, 2)
    assert hashes(out).items() >= before.items()
    again = write(frame(), out, spec)
    assert (again.rows, again.computed, again.skipped, again.metrics) == (40, 0, 40, None)
    assert list(again.read()["id"]) == list(frame()["id"])


def test_more_rows_may_bring_a_gap_among_whole_numbers(tmp_path: Path, spec: Any) -> None:
    """pandas makes floats of them; the files go on."""
    data = frame().assign(score=pd.Series([*range(20), *[None] * 20]))
    write(data.head(10).astype({"score": "int64"}), tmp_path, spec)
    assert write(data, tmp_path, spec).computed == 30
    assert one_schema(tmp_path).field("score").type == pa.int64()


def test_failed_rows_are_computed_again_when_asked(tmp_path: Path, spec: Any) -> None:
    out = tmp_path / "out"
    write(frame(), out, spec)
    mended = frame(bad=(17,))
    assert write(mended, out, spec).computed == 0
    again = write(mended, out, spec, retry_failed=True)
    assert (again.rows, again.computed, again.skipped, again.failed) == (40, 2, 38, 1)
    back = again.read()
    assert list(back["id"]) == list(mended["id"])
    assert back["answer"][3] == "What is 3?"
    one_schema(out)


def test_failed_rows_that_are_not_in_the_data_stay(tmp_path: Path, spec: Any) -> None:
    out = tmp_path / "out"
    write(frame(), out, spec)
    again = write(frame().head(10), out, spec, retry_failed=True)
    assert (again.rows, again.computed, again.failed) == (40, 1, 2)


def test_all_rows_fail_first(tmp_path: Path, spec: Any) -> None:
    out = tmp_path / "out"
    number = Task("number", ask("question"), parse=lambda text, row: int(text.split()[-1][:-1]))
    rows = frame(bad=tuple(range(40)))
    first = write(rows, out, spec, number)
    assert (first.rows, first.failed, first.metrics.rows) == (40, 40, 0)
    again = write(frame(bad=()), out, spec, number, retry_failed=True)
    assert (again.rows, again.failed) == (40, 0)
    assert list(again.read()["answer"]) == list(range(40))


def test_the_type_waits_for_a_first_answer(tmp_path: Path, spec: Any) -> None:
    number = Task("number", ask("question"), parse=lambda text, row: int(text.split()[-1][:-1]))
    out = write(frame(bad=tuple(range(25))), tmp_path / "out", spec, number)
    assert (out.rows, out.failed) == (40, 25)
    assert one_schema(out.path).field("answer").type == pa.int64()


def test_an_answer_of_another_shape_is_an_error_row(tmp_path: Path, spec: Any) -> None:
    def odd(text: str, row: dict[str, Any]) -> Any:
        return {"n": 1} if row["half"] < 10 else {"n": 1, "why": text}

    data = frame(bad=())
    task = Task("odd", ask("question"), parse=odd)
    write(data.head(20), tmp_path / "out", spec, task)
    out = write(data, tmp_path / "out", spec, task)
    back = out.read()
    assert (out.failed, out.metrics.failed) == (20, 20)
    assert back["error"][30].startswith("the answer {'n': 1, 'why'")
    assert back["answer"][0] == {"n": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        *("dataset", "csv", "csv, streamed", "folder", "frame", "list", "parquet"),
        pytest.param("folder, streamed", marks=pytest.mark.endurance),
        pytest.param("parquet, streamed", marks=pytest.mark.endurance),
    ],
)
def test_data_from_anywhere(
    tmp_path: Path, spec: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    if "streamed" in how:
        monkeypatch.setattr(user_files, "BYTES_HERE", 0)

    data = frame(bad=(3,))[["id", "question", "half"]].assign(id=range(100, 140))
    data["question"] = data["question"].fillna(" ")
    (tmp_path / "in").mkdir()
    data.head(15).to_parquet(tmp_path / "in" / "1.parquet", index=False)
    data.tail(25).to_parquet(tmp_path / "in" / "2.parquet", index=False)
    data.to_csv(tmp_path / "all.csv", index=False)
    data.to_parquet(tmp_path / "all.parquet", index=False)
    given: Any = {
        "frame": data,
        "list": data.to_dict("records"),
        "dataset": ray.data.from_items(data.to_dict("records"), override_num_blocks=7),
        "parquet": tmp_path / "all.parquet",
        "folder": str(tmp_path / "in"),
        "csv": tmp_path / "all.csv",
    }[how.partition(",")[0]]
    write(data.head(10), tmp_path / "out", spec)
    out = write(given, tmp_path / "out", spec)
    assert (out.rows, out.computed, out.skipped, out.failed) == (40, 30, 10, 1)
    pd.testing.assert_frame_equal(out.read()[list(data)], data)
    one_schema(out.path)
    assert write(given, tmp_path / "out", spec).computed == 0


@pytest.mark.parametrize(
    "name",
    ["a.parquet", "a.csv.gz", pytest.param("a.jsonl", marks=pytest.mark.endurance)],
)
def test_small_files_are_answered_as_large_ones(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The same rows, types and notes; and what one way began, the other goes on with."""
    data, file = frame(), tmp_path / name
    data["code"], data["whole"] = "007", pd.array([None, 2**53 + 1] * 20, "Int64")
    data["kind"], data["empty"] = data["kind"].astype(str), None
    if name == "a.parquet":
        data["list"], data["dict"] = [[1, 2]] * 40, [{"a": "x"}] * 40
        data["none"], data["late"] = [[]] * 40, [None] * 39 + [7.5]
        data["kind"] = data["kind"].astype("category")
        data.to_parquet(file, index=False)
    elif name == "a.jsonl":
        data.to_json(file, orient="records", lines=True, date_format="iso")
    else:
        data.to_csv(file, index=False)
    here = write(file, tmp_path / "here", spec)
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "BYTES_HERE", 0)
        away = write(file, tmp_path / "away", spec)
        assert write(file, tmp_path / "here", spec).computed == 0
    assert write(file, tmp_path / "away", spec, retry_failed=True).computed == 2
    pd.testing.assert_frame_equal(here.read(), away.read())
    assert one_schema(here.path).equals(one_schema(away.path))
    assert here.over_time is not None and away.over_time is None


def test_a_dataset_is_checked_before_it_is_asked(tmp_path: Path, spec: Any) -> None:
    import ray.data

    for ids, words in (([1, 2, 1], "Row 2 has the id of another"), ([1, None], "Row 1 has no id")):
        given = ray.data.from_items([{"id": i, "question": "x"} for i in ids])
        with pytest.raises(LabError, match=words):
            write(given, tmp_path / "out", spec)
    assert not (tmp_path / "out").exists()


def test_data_without_rows_makes_no_folder(tmp_path: Path, spec: Any) -> None:
    import ray.data

    frame().head(0).to_parquet(tmp_path / "none.parquet")
    none = ray.data.from_items([{"id": 1, "question": "x"}]).filter(lambda row: False)
    for data in (tmp_path / "none.parquet", none):
        with pytest.raises(LabError, match="no rows to run"):
            write(data, tmp_path / "out", spec)
    assert not (tmp_path / "out").exists()


def test_a_csv_file_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path) -> None:
    """Before anything starts."""
    for name, text in (
        ("ragged.csv", "id,question\n1,a\n2,b,c\n"),
        ("open.tsv", 'id\tq\n1\ta\n2\t"'),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(LabError, match=f"{name}, line 3: "):
            user_data.source(tmp_path / name)


def test_a_csv_file_of_posts_with_line_breaks(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger than the blocks of 1 MiB in which Arrow reads: each row comes whole, with its id of 64
    bits, and a column that has its first value after 2 MiB has the type of its values."""
    monkeypatch.setattr(user_files, "BYTES_HERE", 0)
    rows = 12_000
    data = pd.DataFrame({"id": [2**60 + n for n in range(rows)]})
    data["question"] = [f'Post {n}:\n"a, b"\r\nline three' + " word" * 40 for n in range(rows)]
    data["reply_to"] = pd.array([None] * (rows - 3) + [2**53 + 1, None, 7], dtype="Int64")
    data["code"] = [f"{n:05}" for n in range(rows)]
    (tmp_path / "in").mkdir()
    data.head(9000).to_csv(tmp_path / "in" / "1.csv", index=False)
    data.tail(3000).to_csv(tmp_path / "in" / "2.csv", index=False)
    assert (tmp_path / "in" / "1.csv").stat().st_size > 2 * 2**20
    spec = spec.with_(batch_size=2000)
    out = write(tmp_path / "in", tmp_path / "out", spec)
    assert (out.rows, out.computed, out.failed) == (rows, rows, 0)
    pd.testing.assert_frame_equal(out.read()[list(data)], data, check_dtype=False)
    assert (out.read()["answer"] == data["question"].str.strip()).all()
    assert write(tmp_path / "in", tmp_path / "out", spec).computed == 0


def test_a_column_of_a_dataset_that_is_null_at_first(tmp_path: Path, spec: Any) -> None:
    import ray.data

    for number, ids in enumerate([[None, None], [2**53 + 1, None], [7, 8]]):
        rows = [{"id": 2 * number + n, "reply_to": i, "question": "Q"} for n, i in enumerate(ids)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{number}.parquet")
    blocks = [pq.read_table(file) for file in sorted(tmp_path.glob("*.parquet"))]
    given_data = ray.data.from_arrow(blocks)
    out = write(given_data, tmp_path / "out", spec)
    assert out.failed == 0 and out.read()["reply_to"].dtype == "Int64"
    assert [plain(i) for i in out.read()["reply_to"]] == [None, None, 2**53 + 1, None, 7, 8]
    job = labkit.run(faq(), given_data, spec, progress=False)
    assert [plain(i) for i in job.answers["reply_to"]] == [None, None, 2**53 + 1, None, 7, 8]


@pytest.mark.parametrize(
    "kind, values, back",
    [
        (pa.int64(), pa.array(["005"]), None),
        (pa.string(), pa.array([5]), None),
        (pa.int64(), pa.array([True]), None),
        (pa.list_(pa.int64()), pa.array([["5"]]), None),
        (pa.int64(), pa.array([0.5]), None),
        (pa.float64(), pa.array([2**53 + 1]), None),
        (pa.int64(), pa.array([5.0]), 5),
        (pa.float64(), pa.array([5]), 5.0),
        (pa.string(), pa.nulls(1), None),
        (pa.string(), pa.array(["a"], pa.large_string()), "a"),
        (pa.string(), pa.array(["a"]).dictionary_encode(), "a"),
        (pa.int64(), pa.array([5], pa.uint8()), 5),
    ],
)
def test_a_row_of_another_type_is_never_made_to_fit(
    kind: pa.DataType, values: pa.Array, back: Any
) -> None:
    table, schema = pa.table({"x": values}), pa.schema({"x": kind})
    if back is None and values.null_count == 0:
        with pytest.raises((TypeError, pa.ArrowException)):
            user_data._cast(table, schema)
    else:
        assert user_data._cast(table, schema).to_pylist() == [{"x": back}]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"task": faq(max_tokens=9)}, "sampling was .*48.* now .*9"),
        ({"task": replace(faq(), name="haiku")}, "task was 'faq' and is now 'haiku'"),
        ({"into": "reply"}, "into was 'answer'"),
        ({"id_column": "other"}, "id_column was 'id'"),
        ({"data": frame().drop(columns="half")}, "columns was"),
        ({"data": frame().assign(half="text")}, "columns was .*double"),
        ({"task": replace(faq(), messages=ask("question", system="Rhyme!"))}, "another prompt.*Rh"),
    ],
)
def test_another_job_needs_another_folder(
    tmp_path: Path, spec: Any, change: dict[str, Any], words: str
) -> None:
    out = tmp_path / "out"
    data = frame().assign(other=range(40))
    write(data.head(8), out, spec)
    if "data" in change:
        change = change | {"data": change["data"].assign(other=range(40))}
    before = hashes(out)
    with pytest.raises(LabError, match=words):
        write(change.get("data", data), out, spec, **{k: change[k] for k in change if k != "data"})
    with pytest.raises(LabError, match="model was"):
        model = replace(spec.model, name="another")
        write(data, out, replace(spec, model=model))
    assert hashes(out) == before


#: Other data with the ids of `frame`.
OTHERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all": lambda data: data.assign(question="Another file: " + data["question"]),
    "one": lambda data: data.assign(question=data["question"].where(data["id"] != "r005", "new")),
    "the first": lambda data: pd.concat([data[5:6].assign(question="new"), data.drop(index=5)]),
    "shifted": lambda data: data.head(7).assign(question=list(data["question"][1:8])),
}


@pytest.mark.parametrize(
    "how",
    ["frame", "file", "file, streamed", pytest.param("Dataset", marks=pytest.mark.endurance)],
)
@pytest.mark.parametrize(
    "change",
    ["all", *(pytest.param(name, marks=pytest.mark.endurance) for name in list(OTHERS)[1:])],
)
def test_other_rows_of_the_same_ids_need_another_folder(
    tmp_path: Path, spec: Any, change: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two files have them whose rows are numbered."""

    def stored(data: pd.DataFrame, name: str) -> Any:
        import ray.data

        if how == "frame":
            return data
        file = tmp_path / f"{name}.parquet"
        data.to_parquet(file, index=False)
        return ray.data.from_pandas(data) if how == "Dataset" else file

    if "streamed" in how:
        monkeypatch.setattr(user_files, "BYTES_HERE", 0)

    out, data = tmp_path / "out", frame(bad=())
    write(stored(data.head(20), "one"), out, spec)
    before = hashes(out)
    with pytest.raises(LabError, match="holds answers to other rows: id 'r0.*Use another folder"):
        write(stored(OTHERS[change](data), "two"), out, spec)
    assert hashes(out) == before
    other = data.assign(half=7.5)[::-1]  # what is not asked may change
    assert write(stored(other, "three"), out, spec).computed == 20


def test_of_a_large_table_the_first_rows_are_compared(tmp_path: Path, spec: Any) -> None:
    """They are those that are there after a kill: rows evenly apart would pass over them."""
    data = frame(5000, bad=())
    write(data.head(4), tmp_path / "out", spec)
    changed = data.assign(question=data["question"].where(data["id"] != "r003", "new"))
    with pytest.raises(LabError, match="holds answers to other rows: id 'r003'"):
        write(changed, tmp_path / "out", spec)


def test_rows_that_failed_may_be_mended_and_what_is_asked_by_chance_is_not_compared(
    tmp_path: Path, spec: Any
) -> None:
    failing = frame()
    write(failing, tmp_path / "out", spec)
    assert write(frame(bad=()), tmp_path / "out", spec, retry_failed=True).failed == 0

    by_chance = Task("t", lambda row: [{"role": "user", "content": f"{random.random()}"}])
    write(failing, tmp_path / "chance", spec, by_chance)
    assert write(failing, tmp_path / "chance", spec, by_chance).computed == 0


def stop_after(parts_done: int, problem: BaseException) -> Any:
    real = write_job.stream

    def stream(output: Any, *rest: Any) -> Iterator[Any]:
        for number, table in enumerate(real(output, *rest)):
            if number == parts_done:
                raise problem
            yield table

    return stream


def other(change: str) -> Any:
    """The stand-in engine, with one fault."""

    def answer(asked: Any, spec: Any, **_: Any) -> Any:
        tables = list(engine(asked, spec))
        if change == "loses":
            tables = [tables[0], tables[1].slice(3), *tables[2:]]
        if change == "twice":
            tables = [*tables[:2], tables[0], pa.concat_tables([tables[2], tables[2]]), *tables[3:]]
        yield from tables

    return answer


@pytest.mark.parametrize("streamed", [False, True])
def test_each_row_is_written_once_whatever_the_engine_gives_back(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    import ray.data

    data: Any = frame()
    if streamed:
        data = ray.data.from_pandas(data)
    with monkeypatch.context() as patch:
        answered_by(patch, other("loses"))
        with pytest.raises(JobFailed, match="3 rows did not come back, the first .*same folder"):
            write(data, tmp_path / "out", spec)
        assert Parts(tmp_path / "out", "id").rows().num_rows == 37
    again = write(data, tmp_path / "out", spec)
    assert (again.rows, again.computed, again.skipped) == (40, 3, 37)
    answered_by(monkeypatch, other("twice"))
    out = write(data, tmp_path / "new", spec)
    assert (out.rows, out.computed) == (40, 40)
    counted = out.metrics.rows + out.metrics.failed
    assert counted == 40 or (streamed and counted > 40)  # rows that came to two workers
    assert sorted(out.read()["id"]) == sorted(frame()["id"])


def test_a_dataset_that_is_another_each_time_is_found_out(tmp_path: Path, spec: Any) -> None:
    """As after `random_sample` or a `limit` without an order: it is read for its ids, and again."""
    import ray.data

    times = tmp_path / "times"
    times.touch()

    def shift(table: pa.Table) -> pa.Table:
        with times.open("a") as file:
            file.write("x")
        late = 4 if times.stat().st_size > 2 else 0  # once for the schema, once for the ids
        return pa.table({"id": [n + late for n in table["id"].to_pylist()], "question": ["?"] * 8})

    data = ray.data.range(8, override_num_blocks=1).rename_columns({"id": "id"})
    data = data.map_batches(shift, batch_format="pyarrow", batch_size=None)
    with pytest.raises(JobFailed, match="4 rows did not come back.*materialize"):
        write(data, tmp_path / "out", spec)
    assert sorted(pd.read_parquet(tmp_path / "out")["id"]) == [4, 5, 6, 7]


def test_finished_rows_are_written_though_no_other_comes(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk: list[int] = []

    def slow(asked: Any, spec: Any, **_: Any) -> Any:
        for number, table in enumerate(engine(asked, spec)):
            if number == 2:
                until = time.monotonic() + 30
                while Parts(tmp_path, "id").rows().num_rows < 18 and time.monotonic() < until:
                    time.sleep(0.1)
                on_disk.append(Parts(tmp_path, "id").rows().num_rows)
            yield table

    monkeypatch.setattr(dispatch, "answer", slow)
    monkeypatch.setattr(part_writer, "PART_SECONDS", 1)
    write(frame(), tmp_path, spec)
    assert on_disk == [18], "two batches, and the two rows that could not be asked"


def test_data_that_never_comes_ends_with_the_watchdog(tmp_path: Path, spec: Any) -> None:
    """While the first block is looked at, and while the ids are read."""
    import ray.data

    def stuck(table: pa.Table) -> pa.Table:
        # Ray can't interrupt it: it would hold a CPU of the tests' Ray for as long.
        time.sleep(12 if table["id"][0].as_py() >= first else 0)
        return table.append_column("question", pa.array(["?"] * table.num_rows))

    for first in (0, 4):
        data = ray.data.range(8, override_num_blocks=2)
        data = data.map_batches(stuck, batch_format="pyarrow", batch_size=None)
        with pytest.raises(Stalled, match="no row was finished for 3 s"):
            write(data, tmp_path / f"{first}", spec, stall_s=3)
        assert not list(tmp_path.glob("*/part*"))


def test_a_folder_of_before_goes_on_without_finish_reasons(tmp_path: Path, spec: Any) -> None:
    write(frame().head(16), tmp_path, spec)
    for file in tmp_path.glob("part-*"):
        pq.write_table(pq.read_table(file).drop_columns("finish_reason"), file)
    out = write(frame(), tmp_path, spec)
    assert (out.rows, out.skipped) == (40, 16) and "finish_reason" not in out.read()
    one_schema(tmp_path)


def slowed(table: pa.Table, file: Any, real: Any = pq.write_table) -> None:
    time.sleep(0.2 * isinstance(file, Path))
    real(table, file)


@pytest.mark.parametrize("seconds", [1e9, 0], ids=["rows wait", "a part is being written"])
@pytest.mark.parametrize("problem", [KeyboardInterrupt(), JobFailed("The engine died.")])
def test_a_stopped_job_keeps_what_came(
    tmp_path: Path,
    spec: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem: BaseException,
    seconds: float,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(write_job, "stream", stop_after(3, problem))
        patch.setattr(part_writer, "PART_SECONDS", seconds)
        patch.setattr(parquet_folder.pq, "write_table", slowed)
        with pytest.raises(type(problem)) as stopped:
            write(frame(), tmp_path, spec)
    said = str(stopped.value) + capsys.readouterr().err
    assert "26 rows are kept in" in said and "call write again" in said
    assert Parts(tmp_path, "id").rows().num_rows == 26
    out = write(frame(), tmp_path, spec)
    assert (out.rows, out.computed, out.skipped) == (40, 14, 26)
    assert out.read()["id"].is_unique


@pytest.mark.parametrize("part, kept", [(2, 18), (4, 34)], ids=["the third part", "the last one"])
def test_a_full_disk_keeps_what_came(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch, part: int, kept: int
) -> None:
    real, calls = pq.write_table, iter(range(99))

    def full(table: pa.Table, file: Any) -> None:
        if isinstance(file, Path) and next(calls) == part:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(table, file)

    with monkeypatch.context() as patch:
        patch.setattr(parquet_folder.pq, "write_table", full)
        with pytest.raises(LabError, match="No space left.*kept"):
            write(frame(), tmp_path, spec)
    assert write(frame(), tmp_path, spec).skipped == kept


def test_a_slow_disk_holds_no_engine_up(
    tmp_path: Path, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other rows come while the first part is written."""
    every, in_time = threading.Event(), []

    def told(asked: Any, spec: Any, **_: Any) -> Any:
        yield from engine(asked, spec)
        every.set()

    def slow(table: pa.Table, file: Any, real: Any = pq.write_table) -> None:
        if isinstance(file, Path):
            in_time.append(every.wait(20))
        real(table, file)

    monkeypatch.setattr(dispatch, "answer", told)
    monkeypatch.setattr(part_writer, "PART_SECONDS", 30)
    monkeypatch.setattr(parquet_folder.pq, "write_table", slow)
    assert write(frame(), tmp_path, spec).read()["id"].tolist() == frame()["id"].tolist()
    assert in_time == [True, True]


def test_ray_data_settings_are_restored(tmp_path: Path, spec: Any) -> None:
    import ray.data

    context = ray.data.DataContext.get_current()

    def settings() -> tuple[Any, ...]:
        detectors = list(context.issue_detectors_config.detectors)
        order = context.execution_options.preserve_order
        return context.enable_progress_bars, detectors, order, context.checkpoint_config

    before = settings()
    write(frame(), tmp_path, spec)
    assert settings() == before


def test_the_folder_says_what_it_holds(tmp_path: Path, spec: Any) -> None:
    write(frame(), tmp_path, spec)
    about = json.loads((tmp_path / parquet_folder.ABOUT).read_text())
    assert about["task"] == "faq" and about["model"] == "smollm2-135m"
    assert about["versions"]["ray"] == "2.60.0"
    assert about["prompt"]["id"] == "r000" and "What is 0?" in about["prompt"]["asked"]


# --- A real engine, killed twice ------------------------------------------------------------------

DRIVER = """
import sys
import pandas as pd
import labkit
from labkit.results import part_writer
from labkit.tasks import faq

part_writer.PART_SECONDS = 0
spec = labkit.configure(batch_size=8, max_concurrent_batches=2, warm=True)
data = pd.read_parquet(sys.argv[1])
labkit.write(faq(max_tokens=6), data, sys.argv[2], spec, id_column="id", progress=False)
"""
BAD = {5: None, 60: "", 120: "word " * 3000, 199: None}


def questions(rows: int) -> pd.DataFrame:
    """Rows of which some can't be answered."""
    data = pd.DataFrame({"id": [f"q{number:03}" for number in range(rows)], "extra": range(rows)})
    data["question"] = [BAD.get(n, f"What is {n} + {n}?") for n in range(rows)]
    return data


#: In front of DRIVER: the third part stays half written, and the driver waits to be killed.
TORN = """
import os, sys, time
from pathlib import Path
from labkit.results import parquet_folder

real, written = parquet_folder.pq.write_table, []

def torn(table, file):
    real(table, file)
    if isinstance(file, Path):
        written.append(file)
    if len(written) == 3:
        os.truncate(file, file.stat().st_size // 2)
        (Path(sys.argv[1]).parent / "torn").touch()
        time.sleep(3600)

parquet_folder.pq.write_table = torn
"""


def kill_at_a_part(folder: Path, env: Mapping[str, str]) -> SimpleNamespace:
    """SIGKILL a driver while it writes its third part: what is on disk when all has ended.

    engines: its engine's processes; alive: those of them that had to be ended by hand.
    """
    command = [sys.executable, "-W", "ignore", "-c", TORN + DRIVER]
    command += [str(folder / "in.parquet"), str(folder / "out")]
    pipe = subprocess.PIPE
    driver = subprocess.Popen(
        command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    mine, mark, deadline = psutil.Process(driver.pid), folder / "torn", time.monotonic() + 240
    while not mark.exists():
        assert driver.poll() is None, driver.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mark.unlink()
    seen = mine.children(recursive=True)
    engines = [p for p in seen if "Engine" in p.name() or "Engine" in " ".join(p.cmdline())]
    driver.kill()
    driver.communicate()
    alive = psutil.wait_procs(engines, timeout=30)[1]
    for process in psutil.wait_procs(seen, timeout=20)[1]:
        process.kill()  # Ray's own reaper ends them; a test must not leave any
    psutil.wait_procs(seen, timeout=10)
    out = folder / "out"
    return SimpleNamespace(
        folder=folder,
        engines=engines,
        alive=alive,
        rows=Parts(out, "id").rows().num_rows,
        unique=pd.read_parquet(out)["id"].is_unique,
        files=hashes(out),
        half=[half.read_bytes() for half in out.glob(".part-*.tmp")],
    )


@pytest.fixture
def resume(
    ray_starter: Callable[[], Any], tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], Any]:
    """`write` on the folder of a killed program: on the engine of the tests."""
    monkeypatch.setattr("labkit.hardware.machine.usable_memory_gib", lambda: STEADY_GIB)

    def write(folder: Path, **options: Any) -> Any:
        ray_starter()
        spec = labkit.configure(tiny, warm=True, batch_size=8, max_concurrent_batches=2)
        options = {"id_column": "id", "progress": False, **options}
        return labkit.write(
            faq(max_tokens=6), folder / "in.parquet", folder / "out", spec, **options
        )

    return write


@pytest.mark.engine
@pytest.mark.endurance
def test_a_killed_program_loses_no_row_and_has_none_twice(
    killed_program: SimpleNamespace, resume: Callable[..., Any]
) -> None:
    """Killed in the middle of a part; resumed; then the failed rows are tried again."""
    killed, out = killed_program, killed_program.folder / "out"
    assert 0 < killed.rows < 200 and killed.unique and len(killed.files) == 2
    assert len(killed.half) == 1
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(pa.BufferReader(killed.half[0]))
    failed = int(pd.read_parquet(out)["error"].notna().sum())
    done = resume(killed.folder)
    assert (done.skipped, done.computed) == (killed.rows, 200 - killed.rows)
    assert (done.failed, done.metrics.failed) == (len(BAD), len(BAD) - failed)
    assert done.metrics.rows + done.metrics.failed == done.computed
    assert done.metrics.output_tokens_per_s > 0
    back = done.read()
    pd.testing.assert_frame_equal(back[["id", "extra", "question"]], questions(200))
    assert killed.files.items() < hashes(out).items(), "finished parts are not touched again"
    assert not list(out.glob(".part-*"))
    bad = back[back["error"].notna()]
    assert list(bad.index) == sorted(BAD) and bad["answer"].isna().all()
    good = back.drop(index=list(BAD))
    assert good["answer"].str.len().gt(0).all()
    assert (good["num_generated_tokens"] <= 6).all() and (good["num_input_tokens"] > 0).all()
    schema = one_schema(out)
    assert schema.names == ["id", "extra", "question", *ADDED]

    again = resume(killed.folder, retry_failed=True)
    assert (again.rows, again.computed, again.skipped, again.failed) == (200, 4, 196, 4)
    pd.testing.assert_frame_equal(again.read(), back)
    assert one_schema(out).equals(schema)


@pytest.mark.engine
@pytest.mark.endurance
def test_a_program_that_is_killed_twice_in_the_middle_of_a_part(
    with_tiny: dict[str, str], tmp_path: Path, resume: Callable[..., Any]
) -> None:
    questions(200).to_parquet(tmp_path / "in.parquet", index=False)
    first, second = (kill_at_a_part(tmp_path, with_tiny) for _ in range(2))
    assert 0 < first.rows < second.rows < 200 and first.unique and second.unique
    assert (len(first.files), len(second.files)) == (2, 4)
    done = resume(tmp_path)
    assert (done.skipped, done.computed) == (second.rows, 200 - second.rows)
    pd.testing.assert_frame_equal(done.read()[["id", "extra", "question"]], questions(200))
    assert first.files.items() < second.files.items() < hashes(tmp_path / "out").items()
    assert not list((tmp_path / "out").glob(".part-*"))
