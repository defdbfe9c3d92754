"""Sums in bins of time, which grow wider as a job grows longer, and add up in any order."""

from __future__ import annotations

import numpy as np

#: So many bins of time at most; they begin with FINEST seconds and double as the job grows longer.
BINS = 2**14
FINEST = 2.0**-10
#: What is counted in a bin of time: rows queued, and the sum of their times; rows that ended;
#: tokens that were there at once; the change of tokens/s, and that times its moment.
QUEUED, QUEUED_AT, ENDED, TOKENS, SLOPE, SLOPE_AT = range(6)


class InTime:
    """Sums of six kinds (QUEUED to SLOPE_AT) in bins of time, at most BINS of them."""

    def __init__(self) -> None:
        self.width, self.first = FINEST, 0
        self.sums = np.zeros((6, 0))

    def add(self, kind: int, moments: np.ndarray, values: np.ndarray) -> None:
        """Add values at their moments (seconds)."""
        if not len(moments):
            return
        at = self._made_room(moments)
        self.sums[kind] += np.bincount(at, values, minlength=self.sums.shape[1])

    def merge(self, other: InTime, shift: float = 0.0) -> None:
        """Add what another has, `shift` seconds later. By a shift, rows may come into the bin
        beside theirs."""
        if not other.sums.shape[1]:
            return
        middles = (other.first + np.arange(other.sums.shape[1]) + 0.5) * other.width + shift
        sums = other.sums.copy()
        sums[QUEUED_AT] += shift * sums[QUEUED]
        sums[SLOPE_AT] += shift * sums[SLOPE]
        while self.width < other.width:
            self._coarsen()
        at = self._made_room(middles)
        for kind, values in enumerate(sums):
            self.sums[kind] += np.bincount(at, values, minlength=self.sums.shape[1])

    def edges(self) -> np.ndarray:
        """The moments at which the bins begin, and at which the last one ends."""
        return (self.first + np.arange(self.sums.shape[1] + 1)) * self.width

    def until(self, kind: int) -> np.ndarray:
        """The sums of all that was before each edge."""
        return np.concatenate([[0.0], self.sums[kind].cumsum()])

    def _made_room(self, moments: np.ndarray) -> np.ndarray:
        """The bins of these moments, which are there now."""
        while True:
            at = np.floor(moments / self.width).astype(np.int64)
            low, high = int(at.min()), int(at.max())
            if self.sums.shape[1]:
                low = min(low, self.first)
                high = max(high, self.first + self.sums.shape[1] - 1)
            if high - low < BINS:
                break
            self._coarsen()
        before = self.first - low if self.sums.shape[1] else 0
        after = high - low + 1 - self.sums.shape[1] - before
        self.sums = np.pad(self.sums, ((0, 0), (before, after)))
        self.first = low
        return at - low

    def _coarsen(self) -> None:
        """Bins of twice the width; their edges stay on one grid, whatever was added first."""
        odd = self.first % 2
        sums = np.pad(self.sums, ((0, 0), (odd, (self.sums.shape[1] + odd) % 2)))
        self.sums = sums.reshape(6, -1, 2).sum(axis=2)
        self.first = (self.first - odd) // 2
        self.width *= 2
