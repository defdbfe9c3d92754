"""Pre-flights that come back from their pages, and thirty of them summed up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit.cli import main
from labkit.errors import LabError
from labkit.preflight_check import Preflight
from labkit.preflight_room import MOST_BYTES, read, room
from tests.classroom.test_board import HTML
from tests.results.test_curve import JSON
from tests.test_preflight_check import BROKEN, DEAD, FINE, SLOW


@pytest.mark.parametrize("one", [FINE, SLOW, BROKEN, DEAD], ids=["fine", "slow", "broken", "dead"])
def test_a_page_comes_back_whole(one: Preflight, tmp_path: Path) -> None:
    one = replace(one, machine=HTML)
    one.page().save(tmp_path / "p.html")
    (tmp_path / "p.json").write_text(json.dumps(one.to_json(), allow_nan=False))
    for file in ("p.html", "p.json"):
        assert str(read(tmp_path / file).to_json()) == str(one.to_json())
    page = (tmp_path / "p.html").read_text()
    assert HTML not in page and one.sentence().split(":")[0] in page
    assert one._repr_html_() in page


GARBAGE: list[bytes] = [b"", b"{}", b"<html></html>", b"<pre>{}</pre>", b"\xff\xfe", b"{" * 9999]
GARBAGE += [b'{"kind": "labkit hand-in"}', b" " * (MOST_BYTES + 1), b"<pre>[1, 2]</pre>"]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:20]))
def test_a_file_of_another_kind_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_bytes(content)
    with pytest.raises(LabError, match="bad.html is not a page of labkit preflight"):
        read(tmp_path / "bad.html")


@example("limit_min", None)
@given(st.sampled_from(list(FINE.to_json())), JSON)
def test_any_json_is_a_preflight_or_an_error_of_the_lab(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    file = tmp_path_factory.mktemp("p") / "p.json"
    file.write_text(json.dumps({**FINE.to_json(), name: value}))
    try:
        found = read(file)
    except LabError:
        return
    whole = room([file])
    assert len(whole.found) == 1 and "<script" not in whole.page().html() + found.page().html()


def test_a_room_of_thirty_is_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for number in range(30):
        one = (BROKEN, DEAD, SLOW, SLOW)[number] if number < 4 else FINE
        files.append(tmp_path / f"{number:02}.html")
        replace(one, name=one.name and f"{one.name} {number}").page().save(files[-1])
    found = room(files)
    assert list(found.counts().values()) == [26, 2, 2, 0]
    assert found.sentence().startswith("26 of 30 machines are ready for all lessons; 4 need a seat")
    table = found.table()
    assert list(table["who"][:3]) == ["00.html", "Cy 1", "Ben 2"], "who needs something is first"
    assert list(table["ready"][:4]) == ["no", "no", "in part", "in part"]
    assert table["lesson 3, min"][2] == "40 ✘" and table["to mend"][0] == "disk"
    page = found.page().html()
    assert "disk: free some space" in page and "engine: The engine died." in page
    (tmp_path / "bad.html").write_text(HTML)
    out = tmp_path / "room.html"
    arguments = ["preflight", "--room", *map(str, files), str(tmp_path / "bad.html")]
    assert main([*arguments, "--out", str(out)]) == 1, "a file is left out"
    shown = capsys.readouterr().out
    assert "bad.html is not a page" in shown and "26 of 30" in shown
    assert HTML not in out.read_text() and "Files that are no pre-flight" in out.read_text()
    assert main(arguments[:-1]) == 0
    with pytest.raises(LabError, match="Give the pages"):
        room([])
    assert room([tmp_path / "no such file"]).bad and "None." in room([out]).page().html()
