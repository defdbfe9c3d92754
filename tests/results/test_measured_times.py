"""The measured seconds, read from the docs that come with the package."""

from __future__ import annotations

from labkit.results import measured_times
from labkit.results.lesson_outline import lessons


def test_a_page_s_tables_are_read_by_section_row_and_column() -> None:
    text = "# T\n\n## A `b`\n\n| x | k |\n|---|---:|\n| *all of it* | 1,200 |\n| y | – |\n"
    assert measured_times.tables(text) == {"A `b`": {"all of it": {"k": 1200.0}, "y": {}}}
    assert measured_times.tables("no table") == {}


def test_the_page_has_each_lesson() -> None:
    page = measured_times.page()
    assert all(page[lesson.name]["all of it"] for lesson in lessons())
