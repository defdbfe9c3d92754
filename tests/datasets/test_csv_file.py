"""CSV and TSV files of any dialect: the same values come out, or an error with an address."""

from __future__ import annotations

import csv
import datetime
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit.datasets import DatasetError, csv_file, read_table
from labkit.datasets.csv_file import look

#: Texts that are hard on a reader, or that another one would take for numbers.
TEXTS = ["", "007", "0.50", "-0", "1e5", "+5", "NA", "null", "None", "nan", "True", "true", " 5 "]
TEXTS += [
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "0.1234567890123456789",
]
TEXTS += ["2024-02-29", "2024-02-29 12:00:00", "2024-02-30", 'a "quoted" b', "two\r\nlines", "\r"]
TEXTS += [
    "a,b;c\td|e",
    "C:\\new",
    "back\\\\slash\\",
    '"',
    ",",
    "é🚀",
    "\ufeff",
    "1.2.3",
    "1_000",
    "٣",
]
text = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]))
value = text.filter(lambda some: "\0" not in some)


def values(path: Path) -> list[dict[str, Any]]:
    (file,), schema = look([path])
    return [row for table in file.tables(schema) for row in table.to_pylist()]


def same(back: Any, written: str) -> bool:
    if written == "" or back is None:
        return back is None and written == ""
    if isinstance(back, float):
        return Decimal(repr(back)) == Decimal(written)
    return str(back) == written


@given(
    st.lists(st.tuples(value, value), max_size=5),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
    st.sampled_from([".csv", ".tsv"]),
)
@example([(text, text) for text in TEXTS], ",", "\n", "utf-8", csv.QUOTE_ALL, True, ".csv")
@example([(text, "") for text in TEXTS], ";", "\r\n", "utf-16", csv.QUOTE_MINIMAL, False, ".csv")
def test_what_is_written_in_any_dialect_comes_back(
    tmp_path_factory: Any,
    rows: list[tuple[str, str]],
    delimiter: str,
    end: str,
    encoding: str,
    quoting: Any,
    doubled: bool,
    suffix: str,
) -> None:
    # Backslashes can only be told to escape where a quote is escaped.
    rows = [('say "x"', "1"), *rows]
    out = io.StringIO()
    if any("\r" in text or "\n" in text for row in rows for text in row):
        quoting = csv.QUOTE_ALL  # before Python 3.13 the writer leaves a line break bare that is
        # not its own: no reader could tell it from the end of a row
    form: Any = {"quoting": quoting if doubled else csv.QUOTE_ALL, "doublequote": doubled}
    form |= {"delimiter": delimiter, "lineterminator": end, "escapechar": None if doubled else "\\"}
    csv.writer(out, **form).writerows([["a text", " b "], *rows])
    path = tmp_path_factory.mktemp("any") / f"any{suffix}"
    path.write_bytes(out.getvalue().encode(encoding))
    found = values(path)
    assert len(found) == len(rows) and list(found[0]) == ["a text", "b"]
    for back, row in zip(found, rows, strict=True):
        assert all(map(same, back.values(), row)), (back, row)


@pytest.mark.parametrize(
    "column, kind",
    [
        ("1 2 3", "int64"),
        ("1859274618362847233 1", "int64"),
        ("18446744073709551615 1", "uint64"),
        ("18446744073709551616 1", "string"),
        ("-1 18446744073709551615", "string"),
        ("007 8", "string"),
        ("1 0.5", "double"),
        ("0.50 1e-05 1E+20 .5 0.30000000000000004", "double"),
        ("9007199254740993 0.5", "string"),
        ("1e5 2e7", "string"),
        ("1.2.3 1.2", "string"),
        ("True False", "bool"),
        ("true false", "string"),
        ("yes no", "string"),
        ("NA 5", "string"),
        ("2024-02-29 2024-03-01", "date32[day]"),
        ("2024-02-30", "string"),
        ("", "null"),
    ],
)
@pytest.mark.parametrize("empty", [0, 3 * csv_file.CHUNK_ROWS])
def test_a_column_has_a_type_that_changes_no_value(
    tmp_path: Path, column: str, kind: str, empty: int
) -> None:
    """However far into the file its first value stands, and wherever an empty one."""
    written = [*[""] * empty, *column.split(" "), ""]
    path = tmp_path / "a.csv"
    path.write_text("id,x\n" + "".join(f"{n},{text}\n" for n, text in enumerate(written)))
    schema = look([path])[1]
    assert schema.names == ["id", "x"] and str(schema.field("x").type) == kind
    assert all(same(row["x"], text) for row, text in zip(values(path), written, strict=True))


def test_types_are_those_of_all_files(tmp_path: Path) -> None:
    for number, rows in enumerate(["x,id\n,1\n", "id,x\n2,5\n", "id;x\n3;0.5\n"]):
        (tmp_path / f"{number}.csv").write_text(rows)
    files, schema = look(sorted(tmp_path.iterdir()))
    assert schema.equals(pa.schema({"x": pa.float64(), "id": pa.int64()}))
    found = [row for file in files for table in file.tables(schema) for row in table.to_pylist()]
    assert found == [{"x": None, "id": 1}, {"x": 5.0, "id": 2}, {"x": 0.5, "id": 3}]
    (tmp_path / "3.csv").write_text("id,y\n4,5\n")
    with pytest.raises(DatasetError, match=r"3.csv, line 1: the columns are \['id', 'y'\]"):
        look(sorted(tmp_path.iterdir()))


BAD = {
    "empty": (b"", "line 1: the file is empty"),
    "ragged": (b'id,t\n1,"a\nb"\n2,b,c\n', r"line 4: 3 field\(s\), but line 1 names 2"),
    "short": (b"id,t\n1,a\n2\n", r"line 3: 1 field\(s\)"),
    "ragged in the end": (b"id,t\n" + b"1,a\n" * 4000 + b"1\n", r"line 4002: 1 field\(s\)"),
    "blank line": (b"id,t\n1,a\n\n2,b\n", r"line 3: 0 field\(s\)"),
    "open quote": (b'id,t\n1,a\n2,"b\n3,c\n', "line 3: not a valid CSV row.*Close each quote"),
    "two names": (b"id,t,t\n1,a,b\n", "line 1, column 't': two columns have this name"),
    "windows-1252": ("id,t\n1,ok\n2,café\n".encode("cp1252"), "line 3: byte 15 is not UTF-8"),
    "late": (b"id,t\n" + b"1,a\n" * 19_999 + b"2,\xe9\n", "line 20001: byte .* not UTF-8"),
    "utf-16 without a mark": ("id,t\n1,a\n".encode("utf-16-le"), "line 1: NUL characters"),
    "cut utf-16": ("id,t\n1,a\n".encode("utf-16")[:-1], "not UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "byte 0 is not UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_can_not_be_read_has_an_address(case: str, tmp_path: Path) -> None:
    data, words = BAD[case]
    path = tmp_path / "mine.csv"
    path.write_bytes(data)
    for reader in (lambda: look([path]), lambda: read_table(path, ["t"])):
        with pytest.raises(DatasetError, match=f"mine.csv, {words}" if "line" in words else words):
            reader()


def test_blank_lines_at_the_ends_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n\nid,t\n1,a\n\n\n")
    assert values(path) == [{"id": 1, "t": "a"}]


def test_a_field_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,t\n1,{'x' * 300_000}\n")
    assert len(values(path)[0]["t"]) == len(read_table(path, ["t"])["t"][0]) == 300_000


def test_values_are_as_python_has_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("d,t,b\n2024-02-29,2024-02-29 12:00:00,True\n")
    when = datetime.datetime(2024, 2, 29, 12)
    assert values(path) == [{"d": when.date(), "t": when, "b": True}]
