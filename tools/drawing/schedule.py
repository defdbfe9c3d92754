"""Which row is decoded in which step: static and continuous batching, without their prefill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """A row in the engine: in `place`, from step `start` until before step `end`."""

    row: int
    place: int
    start: int
    end: int


def static(lengths: Sequence[int], places: int) -> list[Run]:
    """A batch of as many rows as there are places runs until its longest row ends."""
    runs, step = [], 0
    for first in range(0, len(lengths), places):
        batch = lengths[first : first + places]
        runs += [Run(first + at, at, step, step + tokens) for at, tokens in enumerate(batch)]
        step += max(batch)
    return runs


def continuous(lengths: Sequence[int], places: int) -> list[Run]:
    """A row that ends makes room for the next one in the next step."""
    free, runs = [0] * places, []
    for row, tokens in enumerate(lengths):
        place = free.index(min(free))
        runs.append(Run(row, place, free[place], free[place] + tokens))
        free[place] += tokens
    return runs


def steps(runs: Sequence[Run]) -> int:
    return max(run.end for run in runs)


def handed_on(runs: Sequence[Run], batch_size: int) -> list[int]:
    """The step after which each batch of Ray is complete: that of its last row."""
    ends = [run.end for run in sorted(runs, key=lambda run: run.row)]
    return [max(ends[at : at + batch_size]) for at in range(0, len(ends), batch_size)]
