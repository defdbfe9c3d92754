"""A point of a sweep: one setting of batch size and batches; and the points of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from labkit.errors import LabError, lab_errors


class Point(NamedTuple):
    """One setting of both knobs."""

    batch_size: int
    max_concurrent_batches: int

    @property
    def rows_in_flight(self) -> int:
        """The rows handed to the engine at once."""
        return self.batch_size * self.max_concurrent_batches

    def __str__(self) -> str:
        return f"{self.batch_size} × {self.max_concurrent_batches}"


@lab_errors("The points could not be made")
def in_flight(*rows: int) -> list[Point]:
    """A point for each number of rows in flight, in four batches where it divides by four."""
    return [Point(n // 4, 4) if n % 4 == 0 and n > 4 else Point(1, n) for n in rows]


@lab_errors("The points could not be made")
def at_product(product: int, batch_sizes: Iterable[int]) -> list[Point]:
    """Points with the same rows in flight and different batch sizes (divisors of `product`)."""
    sizes = list(batch_sizes)
    if odd := [size for size in sizes if size < 1 or product % size]:
        raise LabError(f"The batch sizes {odd} don't divide {product}.")
    return [Point(size, product // size) for size in sizes]


@lab_errors("The points could not be made")
def grid(batch_sizes: Iterable[int], max_concurrent_batches: Iterable[int]) -> list[Point]:
    """Every pair of the two."""
    batches = list(max_concurrent_batches)
    return [Point(size, number) for size in batch_sizes for number in batches]
