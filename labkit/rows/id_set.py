"""Ids of any number of rows, as hashes in Ray's object store: which rows are there, and are they
each there once? `id_gatherer` makes a set of them; no process holds them all.

A hash has 128 bits. That two of a billion ids share one, so that a row would be skipped, has a
probability of 1.5e-21 (n² / 2 / 2¹²⁸). A set takes 16 bytes for each id, in the shared memory of
each node that looks into it: its processes map it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from labkit.settings.engine_defaults import STAGE_CPUS

#: Two keys of SipHash, 64 bits each: fixed, since hashes are compared between processes.
KEYS = ("labkit's ids, 1.", "labkit's ids, 2.")
#: Hashes are sorted apart by their first four bits.
BUCKETS = 16


def hashes(ids: pa.ChunkedArray) -> np.ndarray:
    """Two numbers of 64 bits for each id (uint64, 2 × n), whatever the width of its type: 7 is the
    same id in a column of int8 and in one of int64. Ids must not be null."""
    texts = np.array(ids.cast(pa.string()).to_pylist(), dtype=object)
    both = [pd.util.hash_array(texts, hash_key=key, categorize=False) for key in KEYS]
    return np.array(both, np.uint64).reshape(2, len(texts))


@dataclass(frozen=True)
class IdSet:
    """Sorted hashes, in arrays whose references can be sent to any process.

    arrays: each has the hashes of some buckets, in their order. sizes: how many each has. buckets:
    at which bucket each begins. rows: how many rows there were, those that share an id among them.
    """

    arrays: tuple[Any, ...] = ()
    sizes: tuple[int, ...] = ()
    buckets: tuple[int, ...] = ()
    rows: int = 0

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def twice(self) -> int:
        """Rows that have the id of another one."""
        return self.rows - len(self)

    def places(self, wanted: np.ndarray) -> np.ndarray:
        """The place of each hash in the set, counted over all its arrays; -1 where it is not in
        it."""
        import ray

        found = np.full(wanted.shape[1], -1, np.int64)
        which = np.searchsorted(self.buckets, bucket_of(wanted), side="right") - 1
        before = 0
        for number, (array, size) in enumerate(zip(self.arrays, self.sizes, strict=True)):
            mine = np.flatnonzero(which == number)
            if len(mine):
                at = _places(ray.get(array), wanted[:, mine])
                found[mine] = np.where(at >= 0, at + before, -1)
            before += size
        return found

    def has(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Whether each id is in the set."""
        if not self.arrays:
            return np.zeros(len(ids), bool)
        return self.places(hashes(ids)) >= 0

    def common(self, other: IdSet) -> int:
        """How many ids are in both."""
        import ray

        if not self.arrays or not other.arrays:
            return 0
        count = ray.remote(_common).options(num_cpus=STAGE_CPUS)
        return sum(ray.get([count.remote(other, array) for array in self.arrays]))


def bucket_of(some: np.ndarray) -> np.ndarray:
    """The bucket of each hash."""
    return (some[0] >> np.uint64(60)).astype(np.int64)


def _places(kept: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the wanted hashes are among the sorted ones; -1 for nowhere."""
    if not kept.shape[1]:
        return np.full(wanted.shape[1], -1, np.int64)
    at = np.searchsorted(kept[0], wanted[0])
    last = kept.shape[1] - 1
    while True:  # the first numbers of two ids may be the same: then their second ones are sorted
        here = np.minimum(at, last)
        later = (at < last) & (kept[0][here] == wanted[0]) & (kept[1][here] < wanted[1])
        if not later.any():
            break
        at = at + later
    here = np.minimum(at, last)
    same = (kept[0][here] == wanted[0]) & (kept[1][here] == wanted[1])
    return np.where(same, here, -1)


def in_order(some: np.ndarray) -> np.ndarray:
    """The hashes, sorted."""
    return np.ascontiguousarray(some[:, np.lexsort((some[1], some[0]))])


def _common(kept: IdSet, array: np.ndarray) -> int:
    return int((kept.places(array) >= 0).sum())
