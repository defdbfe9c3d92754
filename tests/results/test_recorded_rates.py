"""results.recorded_rates: other machines, where the rows have the recording's shape."""

from __future__ import annotations

import pytest

from labkit.results.recorded_rates import elsewhere
from labkit.results.recordings import recorded

SWEEP = recorded("h100-smollm2-135m-in-flight")
MODEL = SWEEP.provenance["model"]


def test_rows_of_the_recorded_shape_take_what_the_recording_took() -> None:
    table = SWEEP.table
    best = table[table["batch_size"] * table["max_concurrent_batches"] == 512]
    inputs, outputs = (
        (best[f"{kind}_tokens"] / best["rows"]).mean() for kind in ("input", "output")
    )
    (one,) = elsewhere(100_000, MODEL, inputs, outputs, [SWEEP])
    assert one.machine == SWEEP.provenance["device"] and "recorded on" in one.recorded
    assert one.seconds.value == pytest.approx(100_000 / best["rows_per_s"].median(), rel=0.01)
    assert one.seconds.low <= one.seconds.value <= one.seconds.high
    (twice,) = elsewhere(200_000, MODEL, inputs, outputs, [SWEEP])
    assert twice.seconds.value == pytest.approx(2 * one.seconds.value)


def test_longer_answers_take_longer_and_are_less_sure() -> None:
    (same,) = elsewhere(1000, MODEL, 41, 128, [SWEEP])
    (longer,) = elsewhere(1000, MODEL, 41, 250, [SWEEP])
    assert longer.seconds.value > same.seconds.value
    assert longer.seconds.width > same.seconds.width


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [("another", 41, 128), (MODEL, 500, 128), (MODEL, 41, 2), (MODEL, 41, 1000)],
)
def test_rows_of_another_shape_or_model_are_not_estimated(
    model: str, inputs: float, outputs: float
) -> None:
    assert elsewhere(1000, model, inputs, outputs, [SWEEP]) == ()


def test_of_two_sweeps_of_a_machine_the_faster_counts() -> None:
    other = recorded("h100-smollm2-135m-batch-size")
    (one,) = elsewhere(1000, MODEL, 50, 128, [SWEEP, other])
    assert one in elsewhere(1000, MODEL, 50, 128, [SWEEP])
