"""Sweeps side by side, from files of any kind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.cli import main
from labkit.errors import LabError
from labkit.paths import DATASETS
from labkit.results.sweep_result import Sweep
from tests.results.test_sweep_result import ABOUT, CURVE, measured

RECORDED = DATASETS / "recordings" / "h100-smollm2-135m-in-flight.jsonl"


def write(file: Path, rates: dict[tuple[int, int], list[float]], **about: Any) -> Path:
    sweep = measured(rates)
    lines = [{"provenance": {**ABOUT, "task": "faq", **about}}, *sweep.table.to_dict("records")]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_two_machines_on_one_chart(tmp_path: Path) -> None:
    slow = write(tmp_path / "a" / "sweep.jsonl", CURVE)
    fast = write(
        tmp_path / "b" / "sweep.jsonl", {p: [10 * r for r in rates] for p, rates in CURVE.items()},
        device="1 × H100",
    )  # fmt: skip
    found = labkit.compare_sweeps(slow, str(fast))
    assert list(found.table().index) == ["a/sweep", "b/sweep"]
    assert list(found.table()["best output tokens/s"]) == [104, 1040]
    assert found.sentence() == "b/sweep: up to 1,040 output tokens/s; a/sweep: 104, 10% of it."
    alt = found.chart().alt
    assert "a/sweep: 11 with 1, 40 with 4" in alt and "b/sweep: 110 with 1" in alt
    page = found.page().html()
    assert "1 × H100" in page and page.count("<img") == 1


def test_machines_alike_have_a_median_and_noise_is_no_difference(tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{n}.jsonl", {(1, 1): [10.0 + n], (1, 8): [80.0 + n]}) for n in range(3)
    ]
    found = labkit.compare_sweeps(*files)
    assert "2 CPU cores: median of 3: 11 with 1, 81 with 8" in found.chart().alt
    assert "1, 0 can't be told from it" in found.sentence()
    other = write(tmp_path / "other.jsonl", {(1, 1): [9.0]}, task="creative")
    assert "more than the device (task)" in labkit.compare_sweeps(*files, other).sentence()
    alt = labkit.compare_sweeps(*files, other).chart().alt
    assert "median of 3" in alt and "other: 9 with 1" in alt


def test_sweeps_and_recordings_are_taken_too() -> None:
    found = labkit.compare_sweeps(labkit.recorded(RECORDED.stem), RECORDED, RECORDED, rate="rows/s")
    names = [name for name, _ in found.curves]
    assert names == ["sweep 1", RECORDED.stem, f"{RECORDED.stem} (3)"]
    assert found.curves[0][1].recorded
    assert repr(found) == found.sentence() and "<table" in found._repr_html_()


def test_points_without_a_number_are_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {(1, 1): [math.nan], (1, 4): [30.0]})
    assert labkit.compare_sweeps(file).curves[0][1].points == ((4, 30, 30, 30),)
    with pytest.raises(LabError, match="a has no point with output tokens/s"):
        labkit.compare_sweeps(write(tmp_path / "a.jsonl", {(1, 1): [math.nan]}))


OTHERS = {
    "nothing": b"",
    "text": b"hello\nworld\n",
    "binary": b"\x89PNG\r\n\x1a\n\x00",
    "parquet": b"PAR1\x00\xffPAR1",
    "json": b"[1, 2]",
    "no provenance": b'{"a": 1}\n{"b": 2}\n',
    "no runs": b'{"provenance": {}}\n',
    "runs of others": b'{"provenance": {"device": "x"}}\n{"b": 2}\n',
    "provenance of others": b'{"provenance": [1]}\n{"b": 2}\n',
    "texts for numbers": b'{"provenance": {"versions": {}, "device": "x", "model": "y"}}\n'
    b'{"batch_size": 1, "max_concurrent_batches": 1, "rows_in_flight": 1, "rows": 1,'
    b' "output_tokens_per_s": "fast"}\n',
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_format_is_named(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.jsonl", CURVE)
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(OTHERS[kind])
    with pytest.raises(LabError, match="bad"):
        labkit.compare_sweeps(good, bad)
    assert main(["compare", str(good), str(bad)]) == 1
    assert "bad" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sweeps", "options", "words"),
    [
        ((), {}, "at least one"),
        ((3,), {}, "not int"),
        (("/no/such/file",), {}, "No such file"),
        ((RECORDED,), {"rate": "bananas"}, "rate must be one of"),
    ],
)
def test_what_can_not_be_compared_is_said(sweeps: Any, options: Any, words: str) -> None:
    with pytest.raises(LabError, match=words):
        labkit.compare_sweeps(*sweeps, **options)


@pytest.mark.slow
def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(write(tmp_path / f"{n}.jsonl", CURVE)) for n in "ab"]
    for name, begin in (("page.html", b"<!DOCTYPE"), ("new/chart.png", b"\x89PNG")):
        out = tmp_path / name
        assert main(["compare", *files, "--out", str(out)]) == 0
        assert out.read_bytes().startswith(begin)
        assert "output tokens/s" in capsys.readouterr().out
    assert isinstance(Sweep.load(files[0]), Sweep)
