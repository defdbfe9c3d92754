"""The roofline: what a step costs, and which of the two limits counts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.roofline import Limits, bound, step_seconds

H100 = Limits("H100", 3.0e12, 7.0e14)


def test_one_row_is_bound_by_reading_and_many_by_multiplying() -> None:
    shape = Shape.of(LLAMA_8B)
    read, work = step_seconds(shape, H100, 1, 100)
    assert read > 50 * work
    assert bound(shape, H100, 1, 100) == pytest.approx(3.0e12 / shape.weight_bytes, rel=0.01)
    read, work = step_seconds(shape, H100, 1024, 100)
    assert work > read
    assert bound(shape, H100, 1024, 100) < bound(shape, H100, 2048, 100) * 1.01


def test_more_rows_never_lower_the_bound_and_longer_ones_do() -> None:
    shape = Shape.of(LLAMA_8B)
    rates = [bound(shape, H100, rows, 200) for rows in (1, 2, 4, 16, 64, 256, 1024)]
    assert rates == sorted(rates)
    assert bound(shape, H100, 64, 4000) < bound(shape, H100, 64, 40)


@pytest.mark.slow
def test_the_limits_of_this_machine_are_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labkit.weights.roofline"],
        capture_output=True,
        text=True,
        check=True,
    )
    limits = Limits(**json.loads(done.stdout))
    assert 1e8 < limits.bytes_per_s < 1e14 and 1e8 < limits.operations_per_s < 1e17
