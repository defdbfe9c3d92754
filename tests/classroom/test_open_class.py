"""What a class needs before its engine starts: a folder of its own, a port, a sheet."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from labkit.classroom import open_class
from labkit.cli import main
from labkit.errors import LabError
from labkit.hardware.classroom_seat import CLASS


def test_a_folder_is_of_one_class_at_a_time(tmp_path: Path) -> None:
    with open_class.held(tmp_path / "class") as folder:
        assert folder.stat().st_mode & 0o077 == 0, "for its owner alone"
        with (
            pytest.raises(LabError, match="Another class is open"),
            open_class.held(tmp_path / "class"),
        ):
            raise AssertionError
    with open_class.held(tmp_path / "class"):
        pass


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="can't be used"), open_class.held(tmp_path / "file"):
        raise AssertionError


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_said(port: int) -> None:
    with (
        pytest.raises(LabError, match="another one with --port"),
        open_class._listening("127.0.0.1", port),
    ):
        raise AssertionError


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(LabError, match=f"Port {port} .* another one with --port"),
            open_class._listening("127.0.0.1", port),
        ):
            raise AssertionError


def test_the_sheet_is_for_its_owner_alone(tmp_path: Path) -> None:
    open_class.write_sheet(tmp_path / "deep" / "sheet.html", "links")
    file = tmp_path / "deep" / "sheet.html"
    assert file.read_text() == "links" and file.stat().st_mode & 0o077 == 0
    with pytest.raises(LabError, match="can't be written"):
        open_class.write_sheet(tmp_path, "links")


def test_links_name_this_machine_as_others_see_it() -> None:
    assert open_class._address("127.0.0.1") == "127.0.0.1"
    assert open_class._address("0.0.0.0") not in ("", "0.0.0.0")


@pytest.mark.parametrize(
    ("arguments", "seated", "words"),
    [([], True, "is a seat itself"), (["--rows=0"], False, "at least one row")]
    + [(["--seconds=0"], False, "a time above 0"), (["--seconds=nan"], False, "a time above 0")],
)
def test_a_class_that_can_not_be_opened_says_why_before_an_engine_starts(
    arguments: list[str],
    seated: bool,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if seated:
        monkeypatch.setenv(CLASS, "http://127.0.0.1:9/01-a")
    assert main(["classroom", *arguments]) == 1
    assert words in capsys.readouterr().err
