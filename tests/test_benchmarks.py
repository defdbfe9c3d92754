"""The arithmetic of the benchmarks, and what docs/gpu.md says of their recorded results."""

import json
from pathlib import Path

import pytest

from benchmarks import replicas
from benchmarks.parity import LAB, PLAIN, compare
from benchmarks.phases import facts, phases
from labkit.recordings import FOLDER

PAGE = (Path(__file__).parent.parent / "docs" / "gpu.md").read_text()
PARITY = sorted(FOLDER.glob("*-parity.json"))
REPLICAS = sorted(FOLDER.glob("*-replicas.json"))


def start(seconds: float, **rates: list[int]) -> dict:
    return {
        "startup_s": seconds,
        "output_tokens_per_s": {k.strip("_"): v for k, v in rates.items()},
    }


def test_ratios_are_of_medians_with_the_widest_spread() -> None:
    found = compare(
        {
            PLAIN: [start(90, _=[100, 200]), start(40, _=[110, 90]), start(50, _=[100, 100])],
            LAB: [start(99, _=[50, 150], _8=[300, 300]), start(54, _=[100, 110], _8=[100, 300])],
        }
    )
    assert found["throughput_ratio_lowest_median_highest"] == {
        "": [0.25, 1.05, 1.667],
        "8": [0.5, 3.0, 3.333],
    }
    assert found["startup_ratio"] == 1.2  # the first round is left out
    assert found["startup_s"] == {PLAIN: [90, 40, 50], LAB: [99, 54]}


def test_one_start_is_compared_as_it_is() -> None:
    found = compare({PLAIN: [start(50, _=[1])], LAB: [start(75, _=[1])]})
    assert found["startup_ratio"] == 1.5


def test_phases_add_up_to_the_startup() -> None:
    import time

    began = time.mktime((2026, 11, 24, 10, 0, 0, 0, 0, -1))
    log = [
        "INFO 11-24 10:00:02 [model.py:7] Resolved architecture: LlamaForCausalLM",
        "(EngineCore pid=7) INFO 11-24 10:00:09 [core.py:1] Initializing a V1 LLM engine (v0.29.0)",
        "INFO 11-24 09:59:00 [core.py:1] Model loading took 9 GiB memory and 9 seconds",
        "INFO 11-24 10:00:14 [model_runner.py:4] Model loading took 1 GiB memory and 2 seconds",
        "INFO 11-24 10:00:20 [monitor.py:5] torch.compile took 5 s in total",
    ]
    found = phases(log, began, began + 21.5)
    assert found == {
        "vLLM's imports": 2.0,
        "configuration, the engine's own process": 7.0,
        "weights": 5.0,
        "compilation": 6.0,
        "until the first row": 1.5,
    }
    assert facts(log)[-1] == "torch.compile took 5 s in total"


def spread(low: float, middle: float, high: float) -> str:
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


@pytest.mark.parametrize("file", PARITY, ids=lambda file: file.stem)
def test_recorded_ratios_follow_from_their_runs_and_stand_on_the_page(file: Path) -> None:
    found = json.loads(file.read_text())
    assert compare(found["starts"]).items() <= found.items()
    assert {"made", "command", "device", "versions", "settings"} <= set(found)
    assert found["settings"]["max_num_seqs"] == 512 and found["rows_in_flight"] == 564
    for limit, ratios in found["throughput_ratio_lowest_median_highest"].items():
        row = f"{int(limit or 564):,}"
        assert spread(*ratios) in next(x for x in PAGE.splitlines() if x.startswith(f"| {row} |"))
    for side in (PLAIN, LAB):
        times = found["starts"][side][0]
        assert sum(times["phases_s"].values()) == pytest.approx(times["startup_s"], abs=0.2)
        row = next(x for x in PAGE.splitlines() if x.startswith("| all |"))
        assert f"| {times['startup_s']} |" in row
    assert f"| {found['startup_ratio']} |" in PAGE


@pytest.mark.parametrize("file", REPLICAS, ids=lambda file: file.stem)
def test_recorded_replicas_follow_from_their_runs_and_stand_on_the_page(file: Path) -> None:
    found = json.loads(file.read_text())
    assert replicas.compare(found["rows_per_s"]) == found["ratios"]
    assert {"made", "command", "device", "versions"} <= set(found)
    for ratios in found["ratios"].values():
        assert spread(*ratios) in PAGE


def test_kinds_of_engines_are_read_and_compared_with_one() -> None:
    assert replicas.counts("2x1") == (2, 1)
    with pytest.raises(ValueError):
        replicas.counts("2")
    found = replicas.compare({"1x1": [10, 20, 12], "2x1": [20, 24, 30], "1x2": [12, 6, 18]})
    assert found == {"2x1": [1.0, 2.0, 3.0], "1x2": [0.3, 1.0, 1.8]}


def test_there_are_results_of_a_gpu() -> None:
    assert len(PARITY) == 2 and len(REPLICAS) == 1
