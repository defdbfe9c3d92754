"""A histogram of seconds whose bins add up: percentiles of any number of values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

#: A histogram's bins: each ends so much above its beginning, the first at LEAST seconds. The middle
#: of a bin is at most half of it (1%) away from each of its values.
GROWTH = 1.02
LEAST = 1e-6
LAST_BIN = 1500  # two months


@dataclass
class Histogram:
    """How many values (seconds) lie in each of the bins; those below LEAST count as 0."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(LAST_BIN + 1, np.int64))

    def add(self, values: np.ndarray) -> None:
        """Count values; NaN is none."""
        known = values[~np.isnan(values)]
        at = np.floor(np.log(np.maximum(known, LEAST / 2) / LEAST) / math.log(GROWTH)) + 1
        self.counts += np.bincount(
            np.clip(at, 0, LAST_BIN).astype(np.int64), minlength=LAST_BIN + 1
        )

    def quantile(self, share: float) -> float:
        """As pandas has it, at most 1% away from it (or LEAST seconds); NaN where no value is."""
        until = self.counts.cumsum()
        if not until[-1]:
            return math.nan
        place = share * float(until[-1] - 1)
        low, high = (
            float(at and LEAST * GROWTH ** (at - 0.5))
            for at in np.searchsorted(until, [math.floor(place), math.ceil(place)], side="right")
        )
        return low + (high - low) * (place - math.floor(place))
