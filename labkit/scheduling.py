"""A toy of Ray's batches over vLLM's continuous batching: which row is decoded when. Pure: no Ray,
no engine, no clock; `widgets/scheduler_toy.html` plays the same rules in a browser.

The rules. Ray hands over whole batches, in order, at most `max_concurrent_batches` at once; a batch
keeps its place until its last row is done. Rows handed over wait in first-come order at the
engine's door; at most `max_num_seqs` of them are decoded in one step. A step writes one token for
each decoding row. A row that is done leaves, and the first that waits takes its place in the next
step.

What is assumed, not measured: a step costs 1 + rows/40 units of time, whatever the rows are;
prefill costs nothing; each row's length is known. The units are arbitrary: compare times of the toy
with each other, never with a job's seconds.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.errors import LabError

#: How the lengths of `toy_lengths` are spread.
MIXES = ("all alike", "mixed", "a few long ones")
#: More is no toy: it would take many seconds and fill the memory with its own table.
MOST_STEPS = 1_000_000


def step_cost(rows: int) -> float:
    """What a step costs with so many rows decoding, in units of time. An assumption: one unit for
    reading the weights, which all rows share, and a fortieth for each row's own work."""
    return 1 + rows / 40


@dataclass(frozen=True, eq=False)
class Schedule:
    """A job of the toy, as it was played.

    by_row: a line for each row, in order. `row` and `batch` are numbers from 0; `length` is in
    tokens; the others are numbers of steps, from 1: `handed_over_step` (the row comes to the
    engine's door before this step), `first_step` and `last_step` (it is decoded from here to here),
    `delivered_step` (at the end of this one its batch is whole, and gives up its place).

    by_step: a line for each step. `step` is a number from 1; `cost` is this step's part, and `time`
    the sum at its end, in units of time; `decoding` and `waiting` are rows, in the engine and at
    its door; `batches_open` are batches handed over and not yet whole.
    """

    by_row: pd.DataFrame
    by_step: pd.DataFrame

    @property
    def steps(self) -> int:
        """How many steps the job took."""
        return len(self.by_step)

    @property
    def time(self) -> float:
        """How long the job took, in units of time."""
        return float(self.by_step["time"].iloc[-1])

    @property
    def tokens(self) -> int:
        """How many tokens all rows wrote."""
        return int(self.by_row["length"].sum())

    @property
    def tokens_per_unit(self) -> float:
        """Tokens for each unit of time: the toy's output tokens/s."""
        return self.tokens / self.time

    @property
    def mean_rows_decoding(self) -> float:
        """Rows decoding, on average over time."""
        return self._over_time(self.by_step["decoding"])

    @property
    def mean_rows_in_flight(self) -> float:
        """Rows at the engine and not done, waiting or decoding, on average over time."""
        return self._over_time(self.by_step["decoding"] + self.by_step["waiting"])

    def _over_time(self, rows: pd.Series) -> float:
        return float((rows * self.by_step["cost"]).sum() / self.by_step["cost"].sum())

    def __str__(self) -> str:
        return (
            f"{len(self.by_row):,} rows, {self.tokens:,} tokens in {self.steps:,} steps: "
            f"{self.tokens_per_unit:.1f} tokens per unit of time, "
            f"{self.mean_rows_decoding:.1f} rows decoding on average"
        )


def schedule(
    lengths: Iterable[int],
    batch_size: int,
    max_concurrent_batches: int,
    max_num_seqs: int = 64,
) -> Schedule:
    """Play a job of the toy, by the rules at the top of this module. Assumed, not measured: a step
    costs 1 + rows/40 units of time, and prefill is ignored.

    lengths: how many tokens each row writes, in the order of the rows. batch_size: rows a batch.
    max_concurrent_batches: batches handed over at once; 1 is Ray's one batch at a time, where a
    batch's last row keeps all others out. max_num_seqs: rows decoded in one step.

    At an equal `batch_size × max_concurrent_batches` more batches of fewer rows never take more
    steps, if the smaller batch size divides the larger one: a place is given up sooner, and nothing
    later. A thousand rows take some ten milliseconds.

    Raises LabError for lengths or settings that are no whole numbers from 1, no rows at all, and a
    job of more than a million steps.
    """
    tokens = _lengths(lengths)
    size = _whole("batch_size", batch_size)
    places = _whole("max_concurrent_batches", max_concurrent_batches)
    seats = _whole("max_num_seqs", max_num_seqs)

    rows, total = len(tokens), -(-len(tokens) // size)
    handed_over, delivered = [0] * total, [0] * total
    first, last = [0] * rows, [0] * rows
    left = [min(size, rows - batch * size) for batch in range(total)]  # rows not done
    decoding: list[tuple[int, int]] = []  # a heap of (last step, row)
    batches = door = done = 0  # so many are handed over, let in, whole: all in order but the whole
    steps: list[tuple[int, float, float, int, int, int]] = []
    time = 0.0
    while done < total:
        step = len(steps) + 1
        if step > MOST_STEPS:
            raise LabError(
                f"This job takes more than {MOST_STEPS:,} steps, which is no toy. Give fewer rows "
                "or shorter ones, or let more rows be in flight."
            )
        while batches < total and batches - done < places:
            handed_over[batches] = step
            batches += 1
        arrived = min(batches * size, rows)
        while door < arrived and len(decoding) < seats:
            first[door], last[door] = step, step + tokens[door] - 1
            heapq.heappush(decoding, (last[door], door))
            door += 1
        price = step_cost(len(decoding))
        time += price
        steps.append((step, price, time, len(decoding), arrived - door, batches - done))
        while decoding and decoding[0][0] == step:
            batch = heapq.heappop(decoding)[1] // size
            left[batch] -= 1
            if not left[batch]:
                delivered[batch] = step
                done += 1

    batch_of = [row // size for row in range(rows)]
    by_row = pd.DataFrame(
        {
            "row": range(rows),
            "batch": batch_of,
            "length": tokens,
            "handed_over_step": [handed_over[batch] for batch in batch_of],
            "first_step": first,
            "last_step": last,
            "delivered_step": [delivered[batch] for batch in batch_of],
        }
    )
    names = ("step", "cost", "time", "decoding", "waiting", "batches_open")
    by_step = pd.DataFrame(dict(zip(names, map(list, zip(*steps, strict=True)), strict=True)))
    return Schedule(by_row, by_step)


def static(lengths: Iterable[int], batch_size: int) -> Schedule:
    """Static batching: batch after batch, and no row joins while one is being decoded.

    It is `schedule` with one batch at a time and a seat for each of its rows: Ray with
    `max_concurrent_batches=1`, over an engine whose `max_num_seqs` is not smaller than the batch.
    What it does not count is padding: a row that is done costs nothing more here, though its seat
    stays empty.
    """
    return schedule(lengths, batch_size, 1, batch_size)


def compare(
    lengths: Iterable[int],
    settings: Iterable[tuple[int, int]],
    max_num_seqs: int = 64,
) -> pd.DataFrame:
    """The same rows with several settings: a line for each (batch_size, max_concurrent_batches).

    Columns: both; `steps`; `time` (units); `tokens_per_unit`; `mean_rows_decoding` and
    `mean_rows_in_flight` (rows, over time); `times_first` (tokens_per_unit as a multiple of that of
    the first line).
    """
    tokens = _lengths(lengths)
    lines = []
    for setting in settings:
        try:
            size, batches = setting
        except (TypeError, ValueError):
            raise LabError(
                f"A setting is a pair (batch_size, max_concurrent_batches), such as (16, 4), not "
                f"{setting!r}."
            ) from None
        job = schedule(tokens, size, batches, max_num_seqs)
        lines.append(
            {
                "batch_size": size,
                "max_concurrent_batches": batches,
                "steps": job.steps,
                "time": job.time,
                "tokens_per_unit": job.tokens_per_unit,
                "mean_rows_decoding": job.mean_rows_decoding,
                "mean_rows_in_flight": job.mean_rows_in_flight,
            }
        )
    if not lines:
        raise LabError("There is no setting to compare: give pairs, such as [(64, 1), (16, 4)].")
    table = pd.DataFrame(lines)
    table["times_first"] = table["tokens_per_unit"] / table["tokens_per_unit"].iloc[0]
    return table


def toy_lengths(rows: int, mix: str = "mixed") -> list[int]:
    """Lengths in tokens, made by a formula of the row's number: the same everywhere and always, and
    the same as in `widgets/scheduler_toy.html`.

    mix: one of `MIXES`. 'all alike': 24 each; 'mixed': 4 to 44, 24 on average; 'a few long ones':
    8 to 16, and one row in eight 96.
    """
    rows = _whole("rows", rows)
    if mix == "all alike":
        return [24] * rows
    spread = [(71 * row * row + 82 * row + 5) % 1009 % 41 for row in range(rows)]
    if mix == "mixed":
        return [4 + part for part in spread]
    if mix == "a few long ones":
        long = [(row + row // 8 * 3) % 8 == 5 for row in range(rows)]
        return [96 if is_long else 8 + part % 9 for is_long, part in zip(long, spread, strict=True)]
    raise LabError(f"There is no mix {mix!r}: choose one of {', '.join(map(repr, MIXES))}.")


def _lengths(lengths: Iterable[int]) -> list[int]:
    try:
        each = list(lengths)
    except TypeError:
        raise LabError(
            f"lengths must be a list of whole numbers, one a row, not {lengths!r}."
        ) from None
    if not each:
        raise LabError("There are no rows: give at least one length, such as [24, 8, 40].")
    return [_whole(f"lengths[{at}]", one) for at, one in enumerate(each)]


def _whole(what: str, value: Any) -> int:
    """A whole number from 1, of Python or numpy."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise LabError(f"{what} must be a whole number from 1 (such as 16), not {value!r}.")
    return number
