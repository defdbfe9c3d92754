"""Files of any format: the values come back as written, or an error has an address."""

from __future__ import annotations

import gzip
import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.rows import file_place, user_data, user_files
from labkit.rows.json_schema import arrow_type

numbers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
COLUMNS = st.one_of(
    *(
        st.lists(st.none() | kind, min_size=3, max_size=3)
        for kind in (numbers, texts, st.booleans())
    ),
    st.lists(st.none() | st.lists(texts), min_size=3, max_size=3),
    st.lists(st.none() | st.fixed_dictionaries({"a": numbers}), min_size=3, max_size=3),
)


def rows(path: Path | str) -> list[dict[str, Any]]:
    return [row for table in user_files.opened(path).tables() for row in table.to_pylist()]


@given(COLUMNS, COLUMNS, st.booleans(), st.booleans())
def test_json_comes_back_as_it_was_written(
    tmp_path_factory: Any, one: list[Any], two: list[Any], array: bool, gap: bool
) -> None:
    written = [{"one": a, "two": b} for a, b in zip(one, two, strict=True)]
    if gap:
        del written[0]["one"]
    path = tmp_path_factory.mktemp("any") / f"any.{'json' if array else 'jsonl'}"
    text = json.dumps(written) if array else "\n\n".join(json.dumps(row) for row in written)
    path.write_text(f"\ufeff{text}", encoding="utf-8")
    assert [{"one": r.get("one"), "two": r["two"]} for r in rows(path)] == [
        {"one": r.get("one"), "two": r["two"]} for r in written
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": "x"}', "line 2, column 'a'.*\"x\" doesn't fit"),
        ('{"a": 1}\n{"a": true}', "line 2, column 'a'"),
        ('{"a": 1}\n[2]', "line 2: .*no object"),
        ('{"a": 1}\n{b', "line 2: no JSON"),
        ('{"a": 9007199254740993}\n{"a": 0.5}', "column 'a'.*9007199254740993"),
        ('{"a": 18446744073709551616}', "line 1, column 'a'"),
        ('{"a": {}}', "column 'a'.*Leave it out"),
        ('[{"a": 1}, 5]', "line 2: 5 is no object"),
        (b'{"a": "\xff"}', "UTF-8"),
    ],
)
def test_json_that_can_not_be_read_has_an_address(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LabError, match=words):
        user_files.opened(path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "can't be read"),
        ("no.csv.gz", b"a,b\n1,2\n", "can't be read"),
        (
            "odd.csv.gz",
            gzip.compress(b"a,b\n1,2\n3,\xff\n", mtime=0),
            "line 3: byte 10 is not UTF-8",
        ),
        ("rag.csv.zst", b"", "can't be read|empty"),
        ("a.parquet.gz", b"", "packed inside already"),
        ("a.doc", b"", "holds no file to read"),
    ],
)
def test_packed_files_and_others_that_can_not_be_read(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LabError, match=words):
        user_files.opened(tmp_path / name)


PEOPLE = pa.table({"id": [1], "text": ["a"]})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (b"", "b.parquet: can't be read as Parquet"),
        (b"PAR1 no", "b.parquet: can't be read as Parquet"),
        (PEOPLE.set_column(0, "id", pa.array(["x"])), "b.parquet, column 'id': string here, int64"),
    ],
)
def test_parquet_that_can_not_be_read_is_named(
    tmp_path: Path, local_ray: Any, other: bytes | pa.Table, words: str
) -> None:
    """Alone, and beside a file that can: whoever asks for it, before a row of it is read."""
    for alone in (True, False):
        folder = tmp_path / str(alone)
        folder.mkdir()
        if isinstance(other, bytes):
            (folder / "b.parquet").write_bytes(other)
        else:
            pq.write_table(other, folder / "b.parquet")
        if not alone:
            pq.write_table(PEOPLE, folder / "a.parquet")
        elif isinstance(other, pa.Table):
            continue
        with pytest.raises(LabError, match=words):
            user_data.source(folder)
        with pytest.raises(LabError, match=words):
            user_files.opened(folder).columns()
            list(user_files.opened(folder).tables())


def test_the_answers_of_a_folder_are_none_of_its_rows(tmp_path: Path) -> None:
    """`labkit run . --out answers` can be called again; the answers can be the data of another."""
    for name in ("a.csv", "deep/b.csv", "answers/part-0.parquet", "answers/_labkit.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")
    assert [one.name for one in file_place.files(tmp_path)] == ["a.csv", "b.csv"]
    assert [one.name for one in file_place.files(tmp_path / "**" / "*.*")] == ["a.csv", "b.csv"]
    for known in ("answers", "answers/*.parquet"):
        assert [one.name for one in file_place.files(tmp_path / known)] == ["part-0.parquet"]


def test_folders_patterns_and_names(tmp_path: Path) -> None:
    for name in ("a.csv", "b/c.csv", "_no.csv", ".no.csv", "b/_x/no.csv", "odd[1].csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")

    def names(pattern: str) -> list[str]:
        return [one.name for one in file_place.files(tmp_path / pattern)]

    assert names("") == ["a.csv", "c.csv", "odd[1].csv"]
    assert names("odd[1].csv") == ["odd[1].csv"], "a file of this name comes before a pattern"
    assert names("?.csv") == ["a.csv"] and names("**/c*") == ["c.csv"]
    with pytest.raises(LabError, match="no file has such a name"):
        names("z*")
    with pytest.raises(LabError, match="no such file"):
        names("z")
    (tmp_path / "d.jsonl").write_text("{}")
    with pytest.raises(LabError, match="several kinds.*\\.csv, \\.jsonl"):
        user_files.opened(tmp_path)


def test_rows_of_several_files_are_numbered_by_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("x\n1\n2\n")
    found = user_files.opened(tmp_path).head(3, "row")
    assert found["row"].to_pylist() == ["a.csv:1", "a.csv:2", "b.csv:1"]


def test_a_file_of_a_web_server(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x\n007,é\n", encoding="utf-8")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = Thread(target=web.serve_forever)
    thread.start()
    try:
        base = f"http://127.0.0.1:{web.server_port}"
        assert rows(f"{base}/a.csv?sig=secret") == [{"id": "007", "x": "é"}]
        with pytest.raises(LabError, match="b.csv: can't be read .*not there") as told:
            user_files.opened(f"{base}/b.csv?sig=secret")
        assert "secret" not in str(told.value)
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def test_a_place_that_is_none() -> None:
    with pytest.raises(LabError, match="nix://.*s3://.*https://"):
        user_files.opened("nix://a/b.csv")


def test_excel_has_the_types_of_a_csv_file(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="Excel is read where openpyxl is installed")
    book = openpyxl.Workbook()
    for row in (["id", "n", "x"], ["007", 1, 0.5], [None] * 3, ["é", 2, None]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert rows(tmp_path / "a.xlsx") == [
        {"id": "007", "n": 1, "x": 0.5},
        {"id": "é", "n": 2, "x": None},
    ]


@pytest.mark.parametrize(
    ("rows", "merged", "words"),
    [
        ([], "", "line 1: the first sheet is empty"),
        ([["Posts", None], ["id", "text"], [1, "a"]], "A1:B1", "line 2: a cell beyond the 1 col"),
        ([["id", None, "text"], [1, 2, "a"]], "", "column 2 has no name"),
        ([["id", "id"], [1, 2]], "", "column 2 has the name of another"),
    ],
)
def test_a_sheet_that_is_no_table_has_an_address(
    tmp_path: Path, rows: list[list[Any]], merged: str, words: str
) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="Excel is read where openpyxl is installed")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if merged:
        book.active.merge_cells(merged)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(LabError, match=words):
        user_files.opened(tmp_path / "a.xlsx")


def test_excel_without_its_reader_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(LabError, match="pip install openpyxl.*CSV"):
        user_files.opened(tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer"}, "int64"),
        ({"type": ["string", "null"]}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "double"),
        ({"enum": ["a", "b"]}, "string"),
        ({"type": "array", "items": {"type": "boolean"}}, "list<item: bool>"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}, "string"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}}, "None"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "None"),
        ({"type": "object"}, "None"),
        ({}, "None"),
    ],
)
def test_a_schema_is_a_type_where_one_holds_its_answers(schema: dict[str, Any], kind: str) -> None:
    assert str(arrow_type(schema)) == kind


def test_a_column_of_few_rows_is_read_at_once_and_of_others_left_to_ray(tmp_path: Path) -> None:
    def write(name: str, **columns: list[Any]) -> Path:
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path

    folder = write("a.parquet", id=[1, 2], text=["x", "y"])
    (table,) = user_files.opened(write("b.parquet", text=["z"], id=[3])).few("id", 3) or []
    assert table.to_pydict() == {"id": [1, 2, 3]}
    assert user_files.opened(folder).few("id", 2) is None
    assert user_files.opened(folder).few("name", 3) is None
    assert user_files.opened(write("c.parquet", id=["4"])).few("id", 9) is None
    assert user_files.opened(write("c.parquet", text=["4"])).few("id", 9) is None
    (tmp_path / "d.csv").write_text("id,text\n1,x\n")
    assert user_files.opened(tmp_path / "d.csv").few("id", 9) is None


def test_what_is_read_by_the_program_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files of this machine, all of one schema; nothing else, and no error of its own."""
    table = pa.table({"id": [1, 2], "x": ["a", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = user_files.rows_here(tmp_path)
    assert found is not None and found.equals(table)
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "BYTES_HERE", 100)
        assert user_files.rows_here(tmp_path) is None
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "ROWS_HERE", 1)
        assert user_files.rows_here(tmp_path) is None
    assert user_files.rows_here("https://127.0.0.1:9/a.parquet") is None
    pq.write_table(table.rename_columns(["id", "y"]), tmp_path / "b.parquet")
    assert user_files.rows_here(tmp_path) is None, "Ray Data has its own way with these"
    (tmp_path / "b.parquet").write_bytes(b"PAR1 is all there is PAR1")
    assert user_files.rows_here(tmp_path) is None
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "year=2024").mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / "year=2024" / "a.parquet")
    assert user_files.rows_here(tmp_path) is None, "the folder's name is a column"

    (tmp_path / "a.csv").write_text("id,x\n007,\n008,b\n")
    found = user_files.rows_here(tmp_path / "a.csv")
    assert found is not None and found.to_pylist() == [
        {"id": "007", "x": None},
        {"id": "008", "x": "b"},
    ]
    numbered = user_files.opened(tmp_path / "a.csv").rows_here("row")
    assert numbered is not None and numbered["row"].to_pylist() == [1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "ROWS_HERE", 1)
        assert user_files.rows_here(tmp_path / "a.csv") is None
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"x": "' + b"a" * 5000 + b'"}\n'))
    assert user_files.rows_here(packed) is not None
    with monkeypatch.context() as patch:
        patch.setattr(user_files, "UNPACKED_HERE", 1000)
        assert user_files.rows_here(packed) is None
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text("id,x\n")
    assert user_files.rows_here(tmp_path / "empty.csv") is None
    assert user_files.rows_here(tmp_path / "head.csv") is None
    with pytest.raises(LabError, match="no such file"):
        user_files.rows_here(tmp_path / "absent.csv")


@pytest.mark.parametrize(("files", "actors"), [(1, 1), (19, 1), (20, 2), (500, 26), (10**5, 32)])
def test_footers_are_read_by_as_many_actors_as_the_files_take(
    monkeypatch: pytest.MonkeyPatch, files: int, actors: int
) -> None:
    """Ray's own number, and the variable that it heeds; one that is set already stays."""
    from ray.data._internal.datasource_v2.formats.parquet import footer_file_indexer as ray_s

    def number() -> int:
        some = ray_s.FooterFileIndexer(ignore_missing_paths=False, skip_paths=None)
        return int(some._num_actors)

    with user_files._footer_readers(files):
        assert number() == actors
    assert user_files.READERS not in os.environ
    monkeypatch.setenv(user_files.READERS, "5")
    with user_files._footer_readers(files):
        assert number() == 5
    assert number() == 5
