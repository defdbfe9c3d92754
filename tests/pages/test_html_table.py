"""Tables for reading."""

from __future__ import annotations

import datetime
import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.pages.html_table import show
from labkit.paths import short_path


def cells(page: str, tag: str = "td") -> list[tuple[str, str]]:
    """(side, text) of each cell."""
    found = re.findall(rf"<{tag}\b[^>]*text-align: (\w+)[^>]*>(.*?)</{tag}>", page, re.S)
    return [(side, html.unescape(text)) for side, text in found]


def test_text_is_to_the_left_and_not_cut_off() -> None:
    long = "word " * 60
    page = show(pd.DataFrame({"text": [long, "<b>"]}))._repr_html_()
    assert cells(page) == [("left", long), ("left", "<b>")]
    assert cells(page, "th") == [("left", "text")] and "pre-wrap" in page
    assert page.count("min-width") == 1, "a long text is no column of single words on a phone"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, 20], ["1", "20"]),
        ([40.0, float("nan")], ["40", "–"]),
        ([30985.0, 2.5], ["30985.0", "2.5"]),
        ([0.25, 1.0], ["0.25", "1.00"]),
        ([1.001, 2.0], ["1.00", "2.00"]),
        ([0.0012, 30985.0], ["0.0012", "30985"]),
        (["29.4 s", "0.9 s", "–"], ["29.4 s", "0.9 s", "–"]),
        (["1,234", "45%", "10.3×"], ["1,234", "45%", "10.3×"]),
        (pd.array([1, None], dtype="Int64"), ["1", "–"]),
    ],
)
def test_numbers_are_to_the_right_with_no_more_decimals_than_needed(
    values: Any, texts: list[str]
) -> None:
    page = show(pd.DataFrame({"n": values}))._repr_html_()
    assert cells(page) == [("right", text) for text in texts]
    assert cells(page, "th") == [("right", "n")]


@pytest.mark.parametrize("values", [["1", "a"], [True, False], ["2.60.0"], [None], [""]])
def test_what_only_looks_like_numbers_is_to_the_left(values: list[Any]) -> None:
    page = show(pd.DataFrame({"n": values}))._repr_html_()
    assert {side for side, _ in cells(page)} == {"left"}


@given(
    st.lists(st.sampled_from(["\\", "n", "\n", "\r\n", "\\n", "C:\\new", " ", "<br>", "&", "ä"]))
)
def test_a_cell_shows_its_own_characters_and_breaks_its_own_lines(parts: list[str]) -> None:
    cell = "".join(parts)
    frame = pd.DataFrame({"a": [cell], f"head\n{cell}": [1.25]})
    page = show(frame)._repr_html_()
    (found,) = re.findall(r"<td[^>]*>(.*)</td>\s*<td", page)
    shown = html.unescape(found.replace("<br>", "\n"))
    assert shown == cell.replace("\r\n", "\n")
    assert ">head<br>" in page and "1.25" in page


def test_what_is_no_text_is_shown_as_ever() -> None:
    """A line break beside them turns no numbers into others."""
    values = [2**53 + 1, 1.5, None, True, [1, "x"], {"k": 2**70}, datetime.date(2026, 1, 2)]
    plain = pd.DataFrame({"a": pd.Series([*values, "x y"], dtype=object)})
    broken = pd.DataFrame({"a": pd.Series([*values, "x\ny"], dtype=object)})
    page = show(broken)._repr_html_()
    assert page.replace("x<br>y", "x y") == show(plain)._repr_html_()
    assert "9007199254740993" in page and "None" in page


def test_a_named_index_becomes_a_column_and_row_numbers_go() -> None:
    frame = pd.DataFrame({"value": [1, 2]}, index=pd.Index(["a", "b"], name="what"))
    text = repr(show(frame, rows=1))
    assert "what" in text and "a" in text and "b" not in text.replace("value", "").split("\n")[1]


def test_row_names_stay_with_a_name_and_without() -> None:
    frame = pd.DataFrame({"v": [1, 2]}, index=["first", "second"])
    page = show(frame)._repr_html_()
    assert [text for _, text in cells(page, "th")] == ["", "v", "first", "second"]
    assert "first" in repr(show(frame))


def test_bare_row_numbers_leave_no_column() -> None:
    frame = pd.DataFrame({"v": ["a", "b"]})
    picked = frame.iloc[[1, 0]]  # numbers of rows that were picked are no names, either
    for shown in (show(frame), show(frame, rows=1), show(frame.set_axis([0, 1])), show(picked)):
        assert [text for _, text in cells(shown._repr_html_(), "th")] == ["v"]
    assert "0" not in repr(show(frame))


def test_levels_of_names_and_tables_of_two_kinds() -> None:
    frame = pd.DataFrame({"kind": ["x", "y"], "n": [1, 2], "v": [3, 4]})
    both = show(frame.set_index(["kind", "n"]))._repr_html_()
    assert [text for _, text in cells(both, "th")] == ["kind", "n", "v", "x", "1", "y", "2"]
    grouped = show(frame.groupby("kind").agg({"v": ["min", "max"]}))._repr_html_()
    assert [text for _, text in cells(grouped, "th")][:3] == ["kind", "v · min", "v · max"]
    crossed = pd.crosstab(frame["kind"].rename("people say"), frame["n"].rename("predicted"))
    assert "people say ↓ predicted →" in show(crossed)._repr_html_()
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"], index=["r"])
    assert [text for _, text in cells(show(twice)._repr_html_())] == ["1", "2"]


def test_a_table_without_rows_says_so() -> None:
    page = show(pd.DataFrame({"a": [], "b": []}))._repr_html_()
    assert "no rows" in page and 'colspan="2"' in page
    assert show(pd.DataFrame())._repr_html_()


def test_short_path() -> None:
    assert short_path(str(Path.home() / "x")) == "~/x"
    assert short_path(7) == 7
