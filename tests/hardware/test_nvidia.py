"""What nvidia-smi tells of the cards, and what CUDA_VISIBLE_DEVICES leaves of them."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import pytest

from labkit.hardware.nvidia import GPU, find_gpus, parse_gpus
from tests.hardware.test_machine import H100, H100_1, WITH_GPU

T4 = "0, Tesla T4, 15360, 14928, 7.5"


SHARED_MEMORY = "0, NVIDIA GB10, [N/A], [N/A], 12.1"


def test_parse_gpus_reads_name_memory_and_compute_capability() -> None:
    assert parse_gpus(H100) == (
        GPU(0, "NVIDIA H100 80GB HBM3", 81559 / 1024, 81079 / 1024, (9, 0)),
    )
    (card,) = parse_gpus(f"\n{T4}\r\n")
    assert (card.name, card.compute_capability) == ("Tesla T4", (7, 5))
    assert card.memory_gib == 15


def test_compute_capability_is_compared_as_numbers() -> None:
    (blackwell,) = parse_gpus("0, NVIDIA RTX PRO, 97887, 97000, 12.0")
    assert blackwell.compute_capability == (12, 0) > (7, 5)


def test_a_card_that_does_not_tell_its_compute_capability_has_none() -> None:
    (card,) = parse_gpus("0, Old Card, 4096, 4000, [N/A]")
    assert card.compute_capability == (0, 0)


@pytest.mark.parametrize(
    "listing",
    [
        "",
        "\n\n",
        "No devices were found",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        'Field "compute_cap" is not a valid field to query.',
        "index, name, memory.total, memory.free, compute_cap",
        "Failed to initialize NVML: Driver/library version mismatch, a, b, c, d",
    ],
)
def test_words_in_place_of_a_listing_are_no_gpu(listing: str) -> None:
    assert parse_gpus(listing) == ()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1]),
        ("0,1", [0, 1]),
        (" 0 , 1 ", [0, 1]),
        ("1", [1]),
        ("1,0", [0, 1]),
        ("7", []),
        ("", []),
        (" ", []),
        ("-1", []),
        ("1,-1,0", [1]),
        ("0,7,1", [0]),
        ("0,0", []),
        ("0,x,1", [0]),
        ("NoDevFiles", []),
        ("GPU-3f1c2a9e-1111", [0]),
        ("GPU-3f1c,GPU-4", [0, 1]),
        ("GPU-4", [1]),
        ("GPU-", []),  # both begin so
        ("GPU-5", []),
        ("MIG-3f1c2a9e", []),
    ],
)
def test_cuda_visible_devices(visible: str | None, expected: list[int]) -> None:
    listing = f"{H100}, GPU-3f1c2a9e-1111, 580.1, Disabled\n{H100_1}, GPU-4d, 580.1, [N/A]"
    assert [gpu.index for gpu in parse_gpus(listing, visible)] == expected


A100 = """\
0, NVIDIA A100-SXM4-40GB, 40960, [Insufficient Permissions], 8.0, GPU-aa11, 580.1, Enabled
1, NVIDIA A100-SXM4-40GB, 40960, 40000, 8.0, GPU-bb22, 580.1, Disabled
2, NVIDIA A100-SXM4-40GB, 40960, 40960, 8.0, GPU-cc33, 580.1, Enabled
"""


SLICES = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa11)
  MIG 3g.20gb     Device  0: (UUID: MIG-11)
  MIG 1g.5gb+me   Device  1: (UUID: MIG-GPU-aa11/5/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb22)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cc33)
"""


DETAILS = """<gpu id="0"><fb_memory_usage><total>40960 MiB</total></fb_memory_usage><mig_devices>
<mig_device><index>0</index><fb_memory_usage><total>20096 MiB</total><used>128 MiB</used>
<free>19968 MiB</free></fb_memory_usage><bar1_memory_usage><total>1 MiB</total><free>1 MiB</free>
</bar1_memory_usage></mig_device><mig_device>
<index>1</index><fb_memory_usage><total>4864 MiB</total>
<used>N/A</used></fb_memory_usage></mig_device></mig_devices></gpu>
<gpu id="1"><mig_devices>None</mig_devices></gpu><gpu id="2"></gpu>"""


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [("MIG-11", 19.5), ("GPU-bb22", 40000 / 1024)]),
        ("0,1", [("MIG-11", 19.5), ("GPU-bb22", 40000 / 1024)]),
        ("GPU-aa", [("MIG-11", 19.5)]),
        ("MIG-11,MIG-GPU-aa11/5/0", [("MIG-11", 19.5), ("MIG-GPU-aa11/5/0", 4.75)]),
        ("MIG-GPU-aa11/5/0,MIG-9,MIG-11", [("MIG-GPU-aa11/5/0", 4.75)]),
        ("MIG-11,MIG-11", []),
        ("2", []),  # cut, and no slice is made
        ("2,1", []),
    ],
)
def test_mig_slices_stand_for_their_card(
    visible: str | None, expected: list[tuple[str, float]]
) -> None:
    found = parse_gpus(A100, visible, SLICES, DETAILS)
    assert [(gpu.uuid, gpu.free_gib) for gpu in found] == expected
    assert all("MIG" in gpu.name for gpu in found if gpu.uuid.startswith("MIG"))
    for gpu in parse_gpus(A100, visible, SLICES):  # as far as the profile's name tells
        assert gpu.memory_gib in (20, 5, 40)
    machine = dataclasses.replace(WITH_GPU, gpus=found)
    assert sum(fact.startswith("GPU") for fact in machine.table().index) == len(found)


def test_find_gpus_looks_at_the_slices_of_a_card_that_is_cut(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"-L": SLICES, "-q": DETAILS, "--query-gpu": A100}.items():
        (tmp_path / f"answer{name}").write_text(text)
    program("nvidia-smi", f'cat "{tmp_path}/answer${{1%%=*}}"')
    assert [(gpu.uuid, gpu.memory_gib) for gpu in find_gpus()][0] == ("MIG-11", 20096 / 1024)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-aa11/5/0")
    (small,) = find_gpus()
    assert (small.memory_gib, small.index) == (4.75, 0)


def test_find_gpus_asks_nvidia_smi(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program("nvidia-smi", f'echo "{H100}"; echo "{H100_1}"')
    assert [gpu.index for gpu in find_gpus()] == [0, 1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.free_gib for gpu in find_gpus()] == [40000 / 1024]


def test_find_gpus_asks_for_the_fields_it_parses(program: Any, tmp_path: Path) -> None:
    program("nvidia-smi", f'echo "$@" > {tmp_path}/asked')
    assert find_gpus() == ()
    asked = (tmp_path / "asked").read_text()
    assert "--query-gpu=index,name,memory.total,memory.free,compute_cap" in asked
    assert "csv,noheader,nounits" in asked


def test_no_nvidia_smi_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == ()


def test_failing_nvidia_smi_is_no_gpu(program: Any) -> None:
    program("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert find_gpus() == ()


def test_hanging_nvidia_smi_is_given_up(program: Any) -> None:
    program("nvidia-smi", "exec sleep 60")
    began = time.monotonic()
    assert find_gpus(timeout_s=0.3) == ()
    assert time.monotonic() - began < 10


def test_a_card_that_does_not_tell_its_memory_is_still_a_card() -> None:
    """Boards that share memory with the CPU answer [N/A]."""
    (card,) = parse_gpus(SHARED_MEMORY)
    assert card.name == "NVIDIA GB10" and card.compute_capability == (12, 1)
    assert math.isnan(card.memory_gib) and math.isnan(card.free_gib)
    machine = dataclasses.replace(WITH_GPU, gpus=(card,))
    assert "NVIDIA GB10" in machine.table().loc["GPU 0", "value"]
