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
        self.looking: asyncio.Task[None] | None = None
        self.last = 0.0
        self.begin()

    def begin(self) -> None:
        """Count from 0, for a job."""
        self.seconds = 0.0 if self.share else math.nan

    def watch(self, at_work: Callable[[], bool]) -> None:
        """Look at the card, in the running event loop, as long as `at_work` says so."""
        if self.share and (self.looking is None or self.looking.done()):
            self.last = time.monotonic()
            self.looking = asyncio.create_task(self._look(at_work))

    def busy_s(self) -> float:
        """The seconds until now; NaN where no card tells them."""
        if self.share and self.looking is not None and not self.looking.done():
            now = time.monotonic()
            self.seconds += self.share() * (now - self.last)
            self.last = now
        return self.seconds

    async def _look(self, at_work: Callable[[], bool]) -> None:
        while at_work():
            await asyncio.sleep(EVERY_S)
            self.busy_s()


def share_reader() -> Callable[[], float] | None:
    """Reads the share of the last moments in which this process's first card ran kernels, 0 to 1;
    NaN where it does not tell. None where this vLLM runs on no NVIDIA card, or on one that never
    tells (a slice)."""
    from vllm.platforms import current_platform
    from vllm.utils.import_utils import import_pynvml

    if not current_platform.is_cuda():  # beside a card that others use, perhaps
        return None
    nvml = import_pynvml()
    card = os.environ.get(VISIBLE, "0").split(",")[0].strip()
    try:
        nvml.nvmlInit()
        by_number = card.isdigit()
        find = nvml.nvmlDeviceGetHandleByIndex if by_number else nvml.nvmlDeviceGetHandleByUUID
        handle = find(int(card) if by_number else card)
        nvml.nvmlDeviceGetUtilizationRates(handle)
    except Exception:  # whatever it says: no engine fails for want of a number
        return None

    def share() -> float:
        try:
            return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except Exception:
            return math.nan

    return share
