"""Makes a set of ids (`id_set`): tasks hash the ids where they lie and sort them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from labkit.errors import LabError
from labkit.rows import arrow_types
from labkit.rows.id_set import BUCKETS, IdSet, bucket_of, hashes, in_order
from labkit.settings.engine_defaults import STAGE_CPUS

#: So many rows are hashed and sorted by a task; so many ids are in one array of a set, about.
ROWS_A_TASK = 1_000_000
IDS_AN_ARRAY = 4_000_000
#: Where there are so few, they are hashed and sorted in this process: 0.2 s, while a task waits for
#: a process of its own to start.
ROWS_HERE = 200_000


@dataclass(frozen=True)
class Found:
    """What a task tells of the rows that it looked at, beside their hashes. marked: see `Gatherer`.
    types: of other columns, as far as they are known. problem: why the ids have no common type."""

    rows: int
    nulls: int = 0
    marked: int = 0
    types: tuple[tuple[str, pa.DataType], ...] = ()
    problem: str = ""


def _hashed(
    id_column: str, kind: pa.DataType, read: Callable[[Any], pa.Table], *some: Any
) -> tuple[Any, ...]:
    """What is found in these tables (or whatever `read` makes tables of), and their hashes by
    bucket."""
    rows = nulls = marked = 0
    types: dict[str, pa.DataType] = {}
    made = [np.zeros((2, 0), np.uint64)]
    try:
        for table in map(read, some):
            rows += table.num_rows
            for field in table.schema:
                if field.name != id_column:
                    before = types.get(field.name, pa.null())
                    types[field.name] = arrow_types.wider(before, field.type)
            if MARK in table.column_names:
                marked += table[MARK].length() - table[MARK].null_count
            ids = table[id_column].cast(kind)
            nulls += ids.null_count
            made.append(hashes(ids.drop_null()))
    except pa.ArrowException as problem:
        return (Found(rows, problem=str(problem)), *[made[0]] * BUCKETS)
    every = np.concatenate(made, axis=1)
    bucket = bucket_of(every)
    parts = [every[:, bucket == number] for number in range(BUCKETS)]
    return (Found(rows, nulls, marked, tuple(types.items())), *parts)


def _merged(*parts: np.ndarray) -> tuple[np.ndarray, int]:
    """(the hashes of all parts, sorted, each once; how many there are)"""
    every = in_order(np.concatenate(parts, axis=1))
    new = np.ones(every.shape[1], bool)
    new[1:] = (every[:, 1:] != every[:, :-1]).any(axis=0)
    once = every if new.all() else np.ascontiguousarray(every[:, new])
    return once, once.shape[1]


def _table(block: Any) -> pa.Table:
    """A block of a Dataset: Ray has some as frames."""
    if isinstance(block, pd.DataFrame):
        return pa.Table.from_pandas(block, preserve_index=False)
    return block


#: A column beside the ids whose values are counted, where they are not null.
MARK = "error"


class Gatherer:
    """Makes a set of the ids in what it is given: references of tables, or other things that
    `read` makes tables of, in a task. Rows with a value in the column MARK are counted.

    where: Ray's scheduling strategy for the tasks that read. nulls, marked: rows without an id, and
    those with a mark. types: of the other columns.
    """

    def __init__(
        self,
        id_column: str,
        kind: pa.DataType,
        read: Callable[[Any], pa.Table] = _table,
        where: Any = None,
    ) -> None:
        self.id_column, self.kind, self.read = id_column, kind, read
        self.options = {"num_cpus": STAGE_CPUS, "scheduling_strategy": where}
        self.waiting: list[Any] = []
        self.rows_waiting = 0
        self.told: list[Any] = []
        self.parts: list[list[Any]] = [[] for _ in range(BUCKETS)]
        self.nulls = self.marked = 0
        self.types: dict[str, pa.DataType] = {}

    def add(self, some: Any, rows: int) -> None:
        """Hash the ids of some rows, together with those of the next ones."""
        self.waiting.append(some)
        self.rows_waiting += rows
        if self.rows_waiting >= ROWS_A_TASK:
            self._begin()

    def _begin(self) -> None:
        import ray

        if not self.waiting:
            return
        task = ray.remote(_hashed).options(num_returns=BUCKETS + 1, **self.options)
        found, *parts = task.remote(self.id_column, self.kind, self.read, *self.waiting)
        self.told.append(found)
        for kept, part in zip(self.parts, parts, strict=True):
            kept.append(part)
        self.waiting, self.rows_waiting = [], 0

    def finish(self) -> Iterator[IdSet | None]:
        """None while tasks are at work, the set at the end. Raises LabError for ids without a
        common type, and what `read` raised."""
        import ray

        if not self.told and self.rows_waiting <= ROWS_HERE:
            yield self._here()
            return
        self._begin()
        yield from _while(self.told)
        rows = sum(map(self._note, ray.get(self.told)))
        if not rows:
            yield IdSet()
            return
        count = min(BUCKETS, -(-rows // IDS_AN_ARRAY))
        first = [number * BUCKETS // count for number in range(count)]
        merge = ray.remote(_merged).options(num_returns=2, num_cpus=STAGE_CPUS)
        made = [
            merge.remote(*[part for bucket in self.parts[begin:end] for part in bucket])
            for begin, end in zip(first, [*first[1:], BUCKETS], strict=True)
        ]
        self.parts = []
        sizes = [size for _, size in made]
        yield from _while(sizes)
        arrays = tuple(array for array, _ in made)
        yield IdSet(arrays, tuple(ray.get(sizes)), tuple(first), rows - self.nulls)

    def _here(self) -> IdSet:
        import ray

        some = [ray.get(one) if isinstance(one, ray.ObjectRef) else one for one in self.waiting]
        found, *parts = _hashed(self.id_column, self.kind, self.read, *some)
        self.waiting, self.rows_waiting = [], 0
        if not self._note(found):
            return IdSet()
        array, size = _merged(*parts)
        return IdSet((ray.put(array),), (size,), (0,), found.rows - self.nulls)

    def _note(self, found: Found) -> int:
        """Add up what was found; how many rows these were."""
        if found.problem:
            raise LabError(f"Column {self.id_column!r} mixes types: {found.problem}.")
        self.nulls, self.marked = self.nulls + found.nulls, self.marked + found.marked
        for name, kind in found.types:
            self.types[name] = arrow_types.wider(self.types.get(name, pa.null()), kind)
        return found.rows


def _while(waiting: Sequence[Any]) -> Iterator[None]:
    """None, twice a second, until these are there."""
    import ray

    left = list(waiting)
    while left:
        _, left = ray.wait(left, num_returns=len(left), timeout=0.5)
        yield None
