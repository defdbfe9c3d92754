"""Tables for reading."""

from __future__ import annotations

import datetime
import html
import re
from pathlib import Path

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from labkit.html_table import show
from labkit.paths import short_path


def test_text_is_to_the_left_and_not_cut_off() -> None:
    long = "word " * 60
    page = show(pd.DataFrame({"text": [long, "<b>"]}))._repr_html_()
    assert long.strip() in page
    assert "text-align: left" in page and "text-align: right" not in page
    assert "&lt;b&gt;" in page


@given(
    st.lists(st.sampled_from(["\\", "n", "\n", "\r\n", "\\n", "C:\\new", " ", "<br>", "&", "ä"]))
)
def test_a_cell_shows_its_own_characters_and_breaks_its_own_lines(parts: list[str]) -> None:
    cell = "".join(parts)
    frame = pd.DataFrame({"a": [cell], f"head\n{cell}": [1.25]})
    page = show(frame)._repr_html_()
    (found,) = re.findall(r"<td[^>]*>(.*)</td>\s*<td", page)
    shown = html.unescape(found.replace("<br>", "\n"))
    assert shown == cell.replace("\r\n", "\n").strip(" ")  # pandas strips cells
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


def test_short_path() -> None:
    assert short_path(str(Path.home() / "x")) == "~/x"
    assert short_path(7) == 7
