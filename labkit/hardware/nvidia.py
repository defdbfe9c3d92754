"""NVIDIA cards of this computer, by nvidia-smi: those that CUDA_VISIBLE_DEVICES shows, and slices
of a card that is cut (MIG)."""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class GPU:
    """One NVIDIA GPU, or a MIG slice of one; memory in GiB (NaN: unknown), compute capability as
    (major, minor)."""

    index: int
    name: str
    memory_gib: float
    free_gib: float
    compute_capability: tuple[int, int]
    uuid: str = ""
    driver: str = ""

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16: from compute capability 8.0 on, not on a T4 (7.5)."""
        return self.compute_capability >= (8, 0)

    @property
    def visible_name(self) -> str:
        """What CUDA_VISIBLE_DEVICES calls it: its number; a slice, its UUID."""
        return self.uuid if self.uuid.startswith("MIG-") else str(self.index)


#: What `nvidia-smi` is asked of each card; some of it may be missing in its answer.
FIELDS = "index,name,memory.total,memory.free,compute_cap,uuid,driver_version,mig.mode.current"


def nvidia_smi(*arguments: str, timeout_s: float = 15) -> str:
    """What `nvidia-smi` prints; empty when it is not there, or takes too long."""
    try:
        return subprocess.run(
            ["nvidia-smi", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def find_gpus(timeout_s: float = 15) -> tuple[GPU, ...]:
    """The NVIDIA GPUs this process may use, by `nvidia-smi`; empty when there is none."""
    query = (f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits")
    listing, visible = nvidia_smi(*query, timeout_s=timeout_s), os.environ.get(VISIBLE)
    if not re.search(r", Enabled\s*$", listing, re.MULTILINE):
        return parse_gpus(listing, visible)
    slices = nvidia_smi("-L", timeout_s=timeout_s), nvidia_smi("-q", "-x", timeout_s=timeout_s)
    return parse_gpus(listing, visible, *slices)


def why_no_gpu() -> str:
    """Why this process sees no NVIDIA GPU."""
    words = nvidia_smi("-L", timeout_s=5).strip()
    if words.startswith("GPU"):
        return f"{VISIBLE}={os.environ.get(VISIBLE, '')!r} leaves none of those that are there"
    return words.splitlines()[0] if words else "nvidia-smi is not there, or does not answer"


def parse_gpus(
    listing: str, visible: str | None = None, slices: str = "", details: str = ""
) -> tuple[GPU, ...]:
    """Parse `nvidia-smi` CSV lines (FIELDS; MiB) and keep what `visible` shows, if given: the value
    of CUDA_VISIBLE_DEVICES. slices, details: what `nvidia-smi -L` and `-q -x` print, for MIG."""
    cards: list[GPU] = []
    cut: dict[int, list[GPU]] = {}  # what can be used of each card: itself, or its slices
    for line in listing.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 5 or not parts[0].isdigit():
            continue
        # '[N/A]' stands for what a card can't tell, such as its memory where the CPU shares it.
        total, free = (float(part) / 1024 if part.isdigit() else math.nan for part in parts[2:4])
        capability = re.fullmatch(r"(\d+)\.?(\d*)", parts[4])
        major, minor = (int(part or 0) for part in capability.groups()) if capability else (0, 0)
        uuid, driver, mig = [*parts[5:8], "", "", ""][:3]
        card = GPU(int(parts[0]), parts[1], total, free, (major, minor), uuid, driver)
        cards.append(card)
        cut[card.index] = [] if mig == "Enabled" else [card]
    for slice_ in _slices(cards, slices, details):
        cut[slice_.index].append(slice_)
    if visible is None:  # CUDA shows the first slice of a card
        return tuple(gpu for card in cards for gpu in cut[card.index][:1])
    found: list[GPU] = []
    for name in map(str.strip, visible.split(",")):
        gpu = _named(name, cards, cut)
        if gpu is None:  # CUDA shows what stands before a name that is none
            break
        if gpu in found:  # and nothing where one stands twice
            return ()
        found.append(gpu)
    return tuple(sorted(found, key=lambda gpu: gpu.index))


def _named(name: str, cards: list[GPU], cut: Mapping[int, list[GPU]]) -> GPU | None:
    """The one GPU that an entry of CUDA_VISIBLE_DEVICES names, by its number or the beginning of
    its UUID (https://docs.nvidia.com/cuda/cuda-programming-guide, "Environment Variables")."""
    if name.startswith("MIG-"):
        named = [gpu for gpus in cut.values() for gpu in gpus if gpu.uuid.startswith(name)]
        return named[0] if len(named) == 1 else None
    if name.startswith("GPU-"):
        fits = [card for card in cards if card.uuid.startswith(name)]
    else:
        number = re.match(r"\d+", name)
        fits = [card for card in cards if number and card.index == int(number[0])]
    return next(iter(cut[fits[0].index]), None) if len(fits) == 1 else None


def _slices(cards: list[GPU], listing: str, details: str) -> Iterator[GPU]:
    """The MIG slices of all cards. A slice's memory is in `details`; else its profile tells the
    size ('1g.10gb', rounded up)."""
    blocks = re.split(r"^GPU \d+:", listing, flags=re.MULTILINE)[1:]
    parts = details.split("<gpu ")[1:] + [""] * len(blocks)
    for card, block, part in zip(cards, blocks, parts, strict=False):
        memory = re.findall(
            r"<mig_device>.*?<fb_memory_usage>(.*?)</fb_memory_usage>", part, re.DOTALL
        )
        slices = re.findall(r"MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)", block)
        for profile, at, uuid in slices:
            inside = memory[int(at)] if int(at) < len(memory) else ""
            told = {name: int(n) / 1024 for name, n in re.findall(r"<(\w+)>(\d+) MiB", inside)}
            size = re.search(r"(\d+)gb", profile)
            total = told.get("total", float(size[1]) if size else math.nan)
            free = told.get("free", total - told.get("used", 0))
            name = f"{card.name} MIG {profile}"
            yield replace(card, name=name, memory_gib=total, free_gib=free, uuid=uuid)
