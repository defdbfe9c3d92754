"""Tables for reading."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from labkit.html_table import show
from labkit.paths import short_path


def test_text_is_to_the_left_and_not_cut_off() -> None:
    long = "word " * 60
    page = show(pd.DataFrame({"text": [long, "<b>"]}))._repr_html_()
    assert long.strip() in page
    assert "text-align: left" in page and "text-align: right" not in page
    assert "&lt;b&gt;" in page


def test_a_named_index_becomes_a_column_and_row_numbers_go() -> None:
    frame = pd.DataFrame({"value": [1, 2]}, index=pd.Index(["a", "b"], name="what"))
    text = repr(show(frame, rows=1))
    assert "what" in text and "a" in text and "b" not in text.replace("value", "").split("\n")[1]


def test_short_path() -> None:
    assert short_path(str(Path.home() / "x")) == "~/x"
    assert short_path(7) == 7
