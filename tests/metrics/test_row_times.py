"""metrics.row_times: one clock for all rows, and what is counted over time and by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from labkit.metrics import (
    batches,
    compute,
    rate_in_parts,
    rows_in_flight,
    stragglers,
    tail_start,
    timeline,
    tokens_until,
)
from tests.metrics.test_job_metrics import EXAMPLE, frame, jobs, row


def test_timeline_counts_from_the_call_and_orders_by_scheduling() -> None:
    times = timeline(EXAMPLE.iloc[::-1], 1000)
    assert list(times["queued_s"]) == [10, 10, 12]
    assert list(times["scheduled_s"]) == [10, 11, 12]
    assert list(times["first_token_s"]) == [11, 12, 13]
    assert list(times["last_token_s"]) == [14, 20, 13]
    assert list(times.index) == [0, 2, 3]


def test_timeline_leaves_its_input_as_it_was() -> None:
    given_rows = EXAMPLE.copy(deep=True)
    compute(given_rows, 1000, 1025)
    pd.testing.assert_frame_equal(given_rows, EXAMPLE)


def test_two_hosts_with_clocks_of_their_own_are_aligned() -> None:
    """The second host booted long before: its clock reads a million seconds more."""
    far = 900 - 1e6
    here = [row(110, 110, 111, 114, 4, batch="x"), row(112, 112, 113, 115, 3, batch="y")]
    there = [
        row(1e6 + 110.5, 1e6 + 110.5, 1e6 + 111, 1e6 + 116, 6, batch="z", offset=far),
        row(1e6 + 111, 1e6 + 111, 1e6 + 112, 1e6 + 113, 2, batch="w", offset=far),
    ]
    times = timeline(frame(*here, *there), 1000, clocks=2)
    assert list(times["scheduled_s"]) == pytest.approx([10, 10.5, 11, 12])
    assert list(times["last_token_s"]) == pytest.approx([14, 16, 13, 15])
    found = compute(frame(*here, *there), 1000, 1020, clocks=2)
    assert found.startup_s == pytest.approx(10)
    assert found.engine_span_s == pytest.approx(6)
    assert found.peak_rows_in_flight == 4
    assert found.ttft_p50_s == pytest.approx(1.0)  # of 1, 1, 0.5, 1


def test_a_long_wait_in_one_batch_does_not_make_a_second_host_of_it() -> None:
    """Batches on one host whose offsets look 0.8 s apart share the better offset."""
    rows = frame(
        row(110, 110, 111, 114, batch="x", arrives_before=0.8),
        row(112, 112, 113, 115, batch="y"),
    )
    assert list(timeline(rows, 1000)["queued_s"]) == pytest.approx([10, 12])


def test_rows_in_flight_by_hand() -> None:
    flight = rows_in_flight(timeline(EXAMPLE, 1000))
    assert flight.to_dict("list") == {"t_s": [10, 12, 13, 14, 20], "rows": [2, 3, 2, 1, 0]}


def test_a_row_that_takes_the_place_of_another_makes_no_peak() -> None:
    rows = frame(row(110, 110, 111, 112), row(112, 112, 113, 114))
    flight = rows_in_flight(timeline(rows, 1000))
    assert flight.to_dict("list") == {"t_s": [10, 12, 14], "rows": [1, 1, 0]}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 4), (5, 3), (6, 2), (7, 1), (9, 0)], 7),  # 2 is half of 4: not yet the tail
        ([(0, 4), (5, 1), (6, 2), (8, 0)], 8),  # it recovers to half: no tail before
        ([(0, 8), (3, 3), (9, 0)], 3),
        ([(0, 1), (9, 0)], 9),
    ],
)
def test_tail_start_by_hand(steps: list[tuple[float, int]], expected: float) -> None:
    flight = pd.DataFrame(steps, columns=["t_s", "rows"])
    assert tail_start(flight, 0.0, float(flight["t_s"].max())) == expected


def test_tokens_until_by_hand() -> None:
    times = timeline(EXAMPLE, 1000)
    at = [0, 10.9, 11, 12.5, 13, 14, 16, 20, 99]
    # A from 11 to 14: 1, 4; B from 12 to 20: 1, 5; C at 13: 1
    expected = [0, 0, 1, 2.5 + 1.25, 3 + 1.5 + 1, 4 + 2 + 1, 4 + 3 + 1, 10, 10]
    assert tokens_until(times, at) == pytest.approx(expected)


def test_tokens_until_takes_no_moments_too() -> None:
    assert tokens_until(timeline(EXAMPLE, 1000), []).shape == (0,)


def test_rate_in_parts_by_hand() -> None:
    """The span 10–20 in halves: 6.5 + 1 tokens until 15, the rest after."""
    until_15 = 4 + (1 + 4 * 3 / 8) + 1
    rates = rate_in_parts(timeline(EXAMPLE, 1000), 2)
    assert rates == pytest.approx([until_15 / 5, (10 - until_15) / 5])


def test_batches_by_hand() -> None:
    table = batches(timeline(EXAMPLE, 1000))
    # x: A and C, queued at 10 and 12, ended at 14 and 13; y: B alone, from 10 to 20
    first = table[table["rows"] == 2].iloc[0]
    assert (first["start_s"], first["span_s"], first["last_row_s"]) == (10, 4, 0.5)
    assert first["waiting"] == pytest.approx(0.5 / 4)  # C is done for 1 of 4 s, A for none
    alone = table[table["rows"] == 1].iloc[0]
    assert (alone["start_s"], alone["span_s"]) == (10, 10)
    assert alone["last_row_s"] == alone["waiting"] == 0
    assert list(table.index) == [0, 1]


def test_batches_are_in_the_order_of_their_first_row() -> None:
    rows = frame(
        row(115, 115, 116, 117, batch="late"),
        row(110, 110, 111, 130, batch="early"),
        row(112, 112, 113, 114, batch="middle"),
    )
    assert list(batches(timeline(rows, 1000))["start_s"]) == [10, 12, 15]


def test_stragglers_hold_back_a_batch_that_was_half_done() -> None:
    def batch(name: str, ends: list[float]) -> list[dict[str, Any]]:
        return [row(110, 110, 111, 110 + end, batch=name) for end in ends]

    uneven, even, alone = [2, 3, 4, 6, 10], [8, 9, 10], [7]
    rows = frame(*batch("uneven", uneven), *batch("even", even), *batch("alone", alone))
    late = stragglers(timeline(rows, 1000))
    assert list(late.sort_index()) == [False] * 4 + [True] + [False] * 4


def test_two_hosts_are_told_apart_at_the_widest_gap() -> None:
    """A batch that waited two seconds is no third host where there are two."""
    far = 900 - 1e6
    here = [row(110, 110, 111, 114, batch="x"), row(112, 112, 113, 115, batch="y")]
    here[1] = row(112, 112, 113, 115, batch="y", arrives_before=2.0)
    there = [row(1e6 + 110, 1e6 + 110, 1e6 + 111, 1e6 + 112, batch="z", offset=far)]
    times = timeline(frame(*here, *there), 1000, clocks=2)
    assert sorted(times["queued_s"]) == pytest.approx([10, 10, 12])


@given(jobs())
def test_tokens_until_rises_from_nothing_to_all(job: Any) -> None:
    rows, started, _ = job
    times = timeline(rows, started)
    begin, end = times["first_token_s"].min(), times["last_token_s"].max()
    made = tokens_until(times, np.linspace(begin - 1, end + 1, 200))
    assert (np.diff(made) >= -1e-9).all()
    assert made[0] == 0
    assert tokens_until(times, [np.nextafter(begin, -np.inf)])[0] == 0
    assert made[-1] == pytest.approx(times["num_generated_tokens"].sum())
    assert tokens_until(times, [end])[0] == pytest.approx(times["num_generated_tokens"].sum())


@given(jobs())
def test_batches_hold_every_row_once(job: Any) -> None:
    rows, started, _ = job
    times = timeline(rows, started)
    table = batches(times)
    assert table["rows"].sum() == len(times)
    assert table["start_s"].is_monotonic_increasing
    assert (table["last_row_s"].between(0, table["span_s"] + 1e-9)).all()
    assert table["waiting"].between(-1e-9, 1).all()
    late = stragglers(times)
    assert late.index.equals(times.index)
    assert (late.groupby(times["batch_uuid"]).mean() <= 0.5).all()
