"""A job that is killed on purpose: what it had written is there (lesson 3 runs it for real)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit import cli
from labkit.api import demo_kill as module
from labkit.errors import JobFailed, ModelError

WRITES = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
folder.mkdir()
for part in range(2):
    (folder / f"{part}.parquet").touch()
time.sleep(60)
"""


def instead(monkeypatch: pytest.MonkeyPatch, code: str, *arguments: str) -> None:
    """Another program in place of `python -m labkit label`."""
    start = module.subprocess.Popen

    def other(command: list[str], **given: Any) -> Any:
        assert command[:4] == [sys.executable, "-m", "labkit", "label"]
        return start([sys.executable, "-c", code, *arguments], **given)

    monkeypatch.setattr(module, "_make_room", lambda: None)  # it asks programs of its own
    monkeypatch.setattr(module.subprocess, "Popen", other)


def test_it_is_killed_once_there_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "labels"
    instead(monkeypatch, WRITES, str(folder))
    assert labkit.demo_kill(folder, rows=300) == -9
    assert len(list(folder.glob("*.parquet"))) == 2


def test_few_rows_are_in_flight_at_one_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several engines, which a fast card gets by itself, would be done before the kill."""
    asked: list[list[str]] = []

    def note(command: list[str], **given: Any) -> Any:
        asked.append(command)
        raise OSError("not started")

    monkeypatch.setattr(module, "_make_room", lambda: None)
    monkeypatch.setattr(module.subprocess, "Popen", note)
    with pytest.raises(labkit.errors.LabError):
        labkit.demo_kill(tmp_path / "labels", rows=4200)
    specs: list[dict[str, Any]] = []
    monkeypatch.setattr(labkit, "configure", lambda *_, **given: specs.append(given) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(asked[0][3:])
    in_flight = specs[0]["batch_size"] * specs[0]["max_concurrent_batches"]
    assert (in_flight, specs[0]["engines_per_gpu"]) == (16, 1)


def test_an_error_of_its_own_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "raise SystemExit('no model here')")
    with pytest.raises(JobFailed, match="no model here"):
        labkit.demo_kill(tmp_path / "labels", rows=3)


def test_one_that_was_done_before_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, "pass")
    assert labkit.demo_kill(tmp_path / "labels", rows=3) == 0


@pytest.mark.parametrize(
    ("device", "fits", "stopped"), [("cpu", True, 0), ("cpu", False, 1), ("gpu", True, 1)]
)
def test_the_warm_engine_stays_where_another_fits_beside_it(
    device: str, fits: bool, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[None] = []

    def configure(machine: Any) -> None:
        if not fits:
            raise ModelError("too large")

    monkeypatch.setattr(module, "configure", configure)
    monkeypatch.setattr(module.machines, "detect", lambda: SimpleNamespace(device=device))
    monkeypatch.setattr(module.warm_engine, "stop", lambda: ends.append(None))
    module._make_room()
    assert len(ends) == stopped
