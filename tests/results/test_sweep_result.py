"""What a sweep measured, as pure numbers."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep

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


def points_of(frame: pd.DataFrame) -> list[Point]:
    pairs = frame[["batch_size", "max_concurrent_batches"]].to_numpy(int)
    return [Point(*pair) for pair in pairs]


@pytest.mark.slow
@given(
    st.dictionaries(
        st.tuples(st.integers(1, 64), st.integers(1, 64)),
        st.lists(st.floats(50, 100), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_the_choice_says_how_sure_it_is(rates: dict[Any, Any]) -> None:
    """Several runs: the fewest rows that reach the plateau, and whose ranges overlap. One run: no
    choice among those that it can't tell apart, only the fewest rows in flight of them."""
    sweep = measured(rates)
    summary, choice, text = sweep.summary(), sweep.choice(), sweep.sentence()
    best = summary.loc[summary["output tokens/s"].idxmax()]
    near = []
    for _, point in summary.iterrows():
        if min(point["runs"], best["runs"]) == 1:
            as_good = point["output tokens/s"] >= 0.8 * best["output tokens/s"]
        else:
            as_good = point["highest"] >= best["lowest"]
        if as_good:
            near.append(point)
    assert points_of(sweep.near_best()) == points_of(pd.DataFrame(near))
    good = summary[summary["output tokens/s"] >= 0.95 * best["output tokens/s"]]
    unsure = len(near) > 1 and any(point["runs"] == 1 for point in near)
    assert sweep.undecided == unsure
    if unsure:
        good = pd.DataFrame(near)
        assert "Our choice" not in text and "One run can't tell " in text and "repeats=3" in text
    else:
        assert f"Our choice: {choice}, " in text
        assert ("overlap" in text) == (len(near) > 1)
    if len(near) > 1:
        assert all(str(point) in text for point in points_of(pd.DataFrame(near)))
    least = good[good["rows_in_flight"] == good["rows_in_flight"].min()]
    fastest = least[least["row latency p95 (s)"] == least["row latency p95 (s)"].min()]
    assert choice in points_of(fastest)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_turn_a_choice_round(seed: int) -> None:
    """A curve that is flat from 16 rows on, seen through noise of 5%: the same point each time."""
    chance = random.Random(seed)
    true = {(1, 1): 10, (1, 4): 40, (4, 4): 95, (16, 4): 100, (64, 4): 100}
    once = measured({at: [rate * chance.gauss(1, 0.05)] for at, rate in true.items()})
    assert once.choice() == (4, 4) and "Our choice" not in once.sentence()


def test_the_sentence_says_range_choice_and_reason() -> None:
    text = measured({(1, 1): [11], (4, 4): [96, 98], (16, 4): [100, 102]}).sentence()
    assert "From 11 output tokens/s with 1 in flight to 101 with 64 (9.2×)" in text
    assert "Our choice: 4 × 4, 16 in flight: the fewest that reach 95% of the best (96%)" in text
    assert "p95 row latency of 3.2 s" in text
    assert "still rises" not in text and "overlap" not in text


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (
            {(1, 1): [11], (4, 4): [90], (8, 4): [96], (16, 4): [104]},
            "One run can't tell 4 × 4, 8 × 4 and 16 × 4 apart: two jobs of one setting may differ "
            "by a fifth. The fewest rows in flight among them: 4 × 4, 16 in flight (87% of the "
            "best), with a p95 row latency of 3.2 s.",
        ),
        (
            {(4, 4): [90, 101], (8, 4): [96, 98, 100], (16, 4): [100, 104]},
            "The ranges of 4 × 4 and 8 × 4 overlap with that of the best, 16 × 4: other runs",
        ),
        (
            {(4, 4): [80, 81], (8, 4): [96, 100], (16, 4): [100, 104]},
            "The range of 8 × 4 overlaps with that of the best, 16 × 4: other runs",
        ),
        (
            {(1, 16): [90], (4, 4): [100], (16, 1): [70]},
            "One run can't tell 1 × 16 and 4 × 4 apart: two jobs of one setting may differ by a "
            "fifth. The lowest row latency among them: 1 × 16, 16 in flight (90% of the best)",
        ),
    ],
)
def test_the_sentence_names_what_can_not_be_told_apart(rates: Any, words: str) -> None:
    assert words in measured(rates).sentence()


def test_a_curve_that_ends_before_its_bend_is_said_to_rise() -> None:
    assert "still rises" in measured({(1, 1): [10], (4, 4): [100]}).sentence()
    assert "still rises" not in measured({(1, 1): [10], (16, 4): [100]}).sentence()  # the limit
    assert "still rises" not in measured({(4, 4): [100]}).sentence()
    assert "still rises" not in measured({(1, 4): [90], (4, 4): [100]}).sentence()  # noise
    overlap = measured({(1, 1): [10], (1, 4): [80, 100], (4, 4): [95, 105]})
    assert overlap.choice() == (4, 4) and "still rises" not in overlap.sentence()


def test_batch_sizes_at_one_limit_are_named_by_their_size() -> None:
    text = measured({(1, 16): [90], (4, 4): [100], (16, 1): [80]}).sentence()
    assert "From 90 output tokens/s with batches of 1 to 100 with batches of 4 (1.1×)" in text
    assert "still rises" not in text


def test_the_caption_says_on_what_it_was_measured() -> None:
    text = measured(CURVE).caption()
    assert "2 CPU cores · tiny · ray 2.60.0" in text
    assert "10 rows a run, mean 20 input and 10 output tokens" in text
    assert "warm-up left out · median and range of 1–3 runs" in text


def test_a_recorded_sweep_says_so_under_its_table() -> None:
    here = measured(CURVE)
    there = Sweep(here.table, {**ABOUT, "recorded": True, "made": "2024-02-29"})
    assert "Recorded" not in here._repr_html_()
    assert "Recorded 2024-02-29 on 2 CPU cores" in there._repr_html_()
    assert there.caption().startswith("Recorded 2024-02-29 on 2 CPU cores · tiny")


@pytest.mark.parametrize(
    ("repeated", "setting", "words"),
    [
        ([0, 0], None, None),
        ([0, 5], None, "up to 50% of the rows (with 16 in flight)"),
        ([math.nan, 1], None, "up to 10% of the rows (with 16 in flight)"),
        ([math.nan, math.nan], None, None),
        ([0, 5], True, "up to 50%"),
        ([0, 5], False, None),
    ],
)
def test_the_caption_says_when_prompts_repeat(repeated: Any, setting: Any, words: Any) -> None:
    sweep = measured({(1, 4): [40], (4, 4): [100]})
    table = sweep.table.assign(repeated_prompts=repeated)
    settings = {} if setting is None else {"vllm enable_prefix_caching": setting}
    text = Sweep(table, {**ABOUT, "settings": settings}).caption()
    assert (words in text) if words else ("repeat one" not in text)
    assert "repeat one" not in sweep.caption(), "a file that does not tell it"


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
