"""Points, sweeps and guesses as pure numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.sweep_result import (
    Point,
    Sweep,
    at_product,
    grid,
    in_flight,
    off_by,
    off_by_words,
)

ABOUT = {
    "device": "2 CPU cores",
    "model": "tiny",
    "versions": {"ray": "2.60.0"},
    "settings": {"vllm max_num_seqs": 64},
    "rows": 10,
}


def measured(rates: dict[tuple[int, int], list[float]], **more: Any) -> Sweep:
    """A sweep with these output tokens/s, each run of 10 rows."""
    runs = [
        {
            "batch_size": size,
            "max_concurrent_batches": batches,
            "rows_in_flight": size * batches,
            "repeat": repeat,
            "output_tokens_per_s": rate,
            "rows_per_s": rate / 10,
            "latency_p50_s": size * batches / 10,
            "latency_p95_s": size * batches / 5 + size / 100,
            "tail_s": size / 10,
            "mean_rows_in_flight": size * batches * 0.9,
            "rows": 10,
            "failed": 0,
            "input_tokens": 200,
            "output_tokens": 100,
            **more,
        }
        for (size, batches), found in rates.items()
        for repeat, rate in enumerate(found)
    ]
    return Sweep(pd.DataFrame(runs), ABOUT)


CURVE = {(1, 1): [10, 12, 11], (1, 4): [40], (4, 4): [100, 90], (16, 4): [104]}


@given(st.lists(st.integers(1, 4096), min_size=1, unique=True))
def test_in_flight_keeps_each_number(counts: list[int]) -> None:
    points = in_flight(*counts)
    assert [point.rows_in_flight for point in points] == counts
    assert all(min(point) >= 1 for point in points)


def test_in_flight_takes_four_batches_where_it_can() -> None:
    assert in_flight(1, 3, 4, 8, 64) == [(1, 1), (1, 3), (1, 4), (2, 4), (16, 4)]


def test_at_product_holds_the_rows_in_flight() -> None:
    assert at_product(64, [1, 16, 64]) == [(1, 64), (16, 4), (64, 1)]
    with pytest.raises(LabError, match=r"\[5\] don't divide 64"):
        at_product(64, [4, 5])


def test_grid_has_every_pair() -> None:
    assert grid([1, 2], iter([3, 4])) == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert str(Point(16, 4)) == "16 × 4"


def test_the_summary_has_medians_and_ranges() -> None:
    summary = measured(CURVE).summary()
    assert summary["rows_in_flight"].tolist() == [1, 4, 16, 64]
    first = summary.iloc[0]
    assert (first["runs"], first["output tokens/s"], first["lowest"], first["highest"]) == (
        3,
        11,
        10,
        12,
    )


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 64), st.integers(1, 64)),
        st.lists(st.floats(0.1, 1e5), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_the_choice_is_the_fewest_rows_that_reach_the_plateau(rates: dict[Any, Any]) -> None:
    sweep = measured(rates)
    summary, choice = sweep.summary(), sweep.choice()
    good = summary[summary["output tokens/s"] >= 0.95 * summary["output tokens/s"].max()]
    mine = good[
        (good["batch_size"] == choice.batch_size)
        & (good["max_concurrent_batches"] == choice.max_concurrent_batches)
    ]
    assert len(mine) == 1
    assert choice.rows_in_flight == good["rows_in_flight"].min()
    same = good[good["rows_in_flight"] == choice.rows_in_flight]
    assert mine["row latency p95 (s)"].iloc[0] == same["row latency p95 (s)"].min()


def test_the_sentence_says_range_choice_and_reason() -> None:
    text = measured({(1, 1): [11], (4, 4): [100], (16, 4): [104]}).sentence()
    assert "From 11 output tokens/s with 1 in flight to 104 with 64 (9.5×)" in text
    assert "Our choice: 4 × 4, 16 in flight: the fewest that reach 95% of the best (96%)" in text
    assert "p95 row latency of 3.2 s" in text
    assert "still rises" not in text


def test_a_curve_that_ends_before_its_bend_is_said_to_rise() -> None:
    assert "still rises" in measured({(1, 1): [10], (4, 4): [100]}).sentence()
    assert "still rises" not in measured({(1, 1): [10], (16, 4): [100]}).sentence()  # the limit
    assert "still rises" not in measured({(4, 4): [100]}).sentence()


def test_batch_sizes_at_one_limit_are_named_by_their_size() -> None:
    text = measured({(1, 16): [90], (4, 4): [100], (16, 1): [80]}).sentence()
    assert "From 90 output tokens/s with batches of 1 to 100 with batches of 4 (1.1×)" in text
    assert "still rises" not in text


def test_the_caption_says_on_what_it_was_measured() -> None:
    text = measured(CURVE).caption()
    assert "2 CPU cores · tiny · ray 2.60.0" in text
    assert "10 rows a run, mean 20 input and 10 output tokens" in text
    assert "warm-up left out · median and range of 1–3 runs" in text


def test_a_sweep_is_read_back(tmp_path: Path) -> None:
    sweep = measured(CURVE)
    lines = [json.dumps({"provenance": ABOUT})]
    lines += [json.dumps(run) for run in sweep.table.to_dict("records")]
    file = tmp_path / "sweep.jsonl"
    file.write_text("\n".join(lines) + "\n")
    again = Sweep.load(file)
    pd.testing.assert_frame_equal(again.summary(), sweep.summary(), check_dtype=False)
    assert again.provenance == ABOUT


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense\n", '{"provenance": {}}\nhalf'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(LabError, match="is not a sweep of this lab"):
        Sweep.load(tmp_path / "x")


def test_a_guess_is_held_against_the_curve() -> None:
    summary = measured({(1, 1): [10], (1, 4): [40], (4, 4): [100], (16, 1): [90]}).summary()
    table = off_by(summary, {1: 2, 4: 4, 16: 40, 99: 7})
    assert table.index.tolist() == [1, 4, 16]
    assert table["you said"].tolist() == [1, 2, 20]
    assert table["measured"].tolist() == [1, 4, 10]  # the faster of the two points with 16
    assert table["off by"].tolist() == [1, 2, 2]
    words = off_by_words(table)
    assert "a factor of 2.0 on average" in words
    assert "at 4 rows in flight, where you expected less (2.0×, measured 4.0×)" in words


@given(st.dictionaries(st.sampled_from([1, 4, 16]), st.floats(0.01, 1e4), min_size=2))
def test_off_by_is_a_factor_of_at_least_one(guess: dict[int, float]) -> None:
    table = off_by(measured(CURVE).summary(), guess)
    assert (table["off by"] >= 1).all() and table["off by"].iloc[0] == 1
    assert all(math.isfinite(value) for value in table["off by"])


def test_a_guess_at_no_measured_point_is_refused() -> None:
    with pytest.raises(LabError, match="no point that was measured"):
        off_by(measured(CURVE).summary(), {2: 3, 1: 0})
    assert "at least two" in off_by_words(off_by(measured(CURVE).summary(), {4: 1}))
