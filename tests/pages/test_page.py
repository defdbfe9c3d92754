"""The page maker: whole in itself, and everything in it escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from labkit.errors import LabError
from labkit.pages.page import Page

BAD = '</p><script>alert("x")</script><img src=x onerror=alert(1)>&amp;\ud83d'


class Picture:
    alt = BAD

    def png(self) -> bytes:
        return b"\x89PNG"


def whole() -> Page:
    page = Page(BAD, BAD).facts({BAD: BAD}).section(BAD).text(BAD).text(BAD, kind="warning")
    frame = pd.DataFrame({BAD[:-1]: [BAD[:-1], None], "n": [1, 2]})  # pandas takes no half pairs
    return (
        page.table(frame).table(frame, folded=BAD).chart(Picture()).code(BAD).code(BAD, folded=BAD)
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}


def test_whatever_is_put_in_is_text() -> None:
    found = Tags()
    found.feed(whole().html())
    assert "script" not in found.tags and "onerror" not in found.names
    assert found.tags.count("img") == 1 and found.tags.count("h2") == 1


def test_nothing_is_fetched_and_nothing_may_run() -> None:
    text = whole().html()
    assert "default-src 'none'" in text and 'name="viewport"' in text and 'lang="en"' in text
    assert not re.search(r"<(script|link|iframe)\b", text)
    assert re.findall(r'<[^>]*\ssrc="([a-z]+):', text) == ["data"]


def test_it_is_saved_whatever_it_holds(tmp_path: Path) -> None:
    whole().save(tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text().endswith("</html>\n")
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="can't be written"):
        whole().save(tmp_path / "file" / "page.html")


def test_an_unknown_kind_of_text_is_refused() -> None:
    with pytest.raises(LabError, match="kind must be"):
        Page("x").text("y", kind="loud")
