"""How long an engine's card was at work while it had rows, by NVIDIA's own count (NVML).

NVML tells the share of the last moments (1/6 to 1 s) in which the card ran any kernel
(https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html). A card that always runs
small kernels is at work all the time: it says that the card has no time left, not that all of its
arithmetic is used. Of several engines on one card each sees the work of all.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable

from labkit.hardware.nvidia import VISIBLE

#: Seconds between two looks.
EVERY_S = 0.25


class CardUse:
    """Sums up the seconds that the card of this process was at work, while rows are there."""

    def __init__(self, share: Callable[[], float] | None):
        """share: reads the share of the last moments, as `share_reader` makes it."""
        self.share = share
        self.busy_s = 0.0 if share else math.nan
        self.looking: asyncio.Task[None] | None = None

    def watch(self, at_work: Callable[[], bool]) -> None:
        """Look at the card, in the running event loop, as long as `at_work` says so."""
        if self.share and (self.looking is None or self.looking.done()):
            self.looking = asyncio.create_task(self._look(self.share, at_work))

    async def _look(self, share: Callable[[], float], at_work: Callable[[], bool]) -> None:
        last = time.monotonic()
        while at_work():
            await asyncio.sleep(EVERY_S)
            now = time.monotonic()
            self.busy_s += share() * (now - last)
            last = now


def share_reader() -> Callable[[], float] | None:
    """Reads the share of the last moments in which this process's first card ran kernels, 0 to 1;
    NaN where it stopped telling. None where no NVIDIA card tells it: without one, or on a slice."""
    from vllm.utils.import_utils import import_pynvml

    nvml = import_pynvml()
    card = os.environ.get(VISIBLE, "0").split(",")[0].strip()
    try:
        nvml.nvmlInit()
        by_number = card.isdigit()
        find = nvml.nvmlDeviceGetHandleByIndex if by_number else nvml.nvmlDeviceGetHandleByUUID
        handle = find(int(card) if by_number else card)
        nvml.nvmlDeviceGetUtilizationRates(handle)
    except nvml.NVMLError:
        return None

    def share() -> float:
        try:
            return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except nvml.NVMLError:
            return math.nan

    return share
