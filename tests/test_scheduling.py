"""The scheduler toy's rules: who is decoded when, and what it is worth."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit import scheduling
from labkit.errors import LabError
from labkit.scheduling import MIXES, Schedule, compare, schedule, static, toy_lengths

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=60)
SMALL = st.integers(1, 9)
#: (batch_size, max_concurrent_batches) → tokens per unit of time, with the lab's own prompts.
KNOWN = {(64, 1): 10.7, (16, 4): 13.3, (4, 16): 17.9, (1, 64): 23.2, (16, 8): 19.5}


def lengths() -> list[int]:
    return 4 * labkit.load_prompts()["max_tokens"].tolist()


@pytest.mark.parametrize("setting", KNOWN)
def test_the_numbers_of_the_labs_own_prompts(setting: tuple[int, int]) -> None:
    assert len(lengths()) == 1280
    assert round(schedule(lengths(), *setting).tokens_per_unit, 1) == KNOWN[setting]


def test_by_hand() -> None:
    """Two batches of two rows, one at a time, then both, then over one seat."""
    one = schedule([2, 1, 1, 3], 2, 1)
    assert one.by_row.to_dict("list") == {
        "row": [0, 1, 2, 3],
        "batch": [0, 0, 1, 1],
        "length": [2, 1, 1, 3],
        "handed_over_step": [1, 1, 3, 3],
        "first_step": [1, 1, 3, 3],
        "last_step": [2, 1, 3, 5],
        "delivered_step": [2, 2, 5, 5],
    }
    assert one.by_step["decoding"].tolist() == [2, 1, 2, 1, 1]
    assert one.by_step["batches_open"].tolist() == [1] * 5 and one.by_step["waiting"].sum() == 0
    assert one.steps == 5 and one.tokens == 7 and one.time == pytest.approx(5 + 7 / 40)
    assert one.tokens_per_unit == pytest.approx(7 / one.time)
    both = schedule([2, 1, 1, 3], 2, 2)
    assert both.steps == 3 and both.by_step["decoding"].tolist() == [4, 2, 1]
    assert both.by_row["delivered_step"].tolist() == [2, 2, 3, 3]
    seat = schedule([2, 1, 1, 3], 2, 2, max_num_seqs=1)
    assert seat.by_row["first_step"].tolist() == [1, 3, 4, 5]
    assert seat.by_step["waiting"].tolist() == [3, 3, 2, 1, 0, 0, 0]
    assert seat.by_step["batches_open"].tolist() == [2, 2, 2, 1, 1, 1, 1]
    assert seat.mean_rows_decoding == 1 and seat.mean_rows_in_flight == pytest.approx(16 / 7)
    assert "7 tokens in 5 steps" in str(one)


@given(LENGTHS, SMALL, SMALL, SMALL)
def test_the_rules(lengths: list[int], size: int, batches: int, seats: int) -> None:
    job = schedule(lengths, size, batches, seats)
    rows, steps = job.by_row, job.by_step
    assert rows["length"].tolist() == lengths and steps["decoding"].sum() == sum(lengths)
    assert (rows["last_step"] - rows["first_step"] + 1 == rows["length"]).all()
    assert (
        rows["first_step"].is_monotonic_increasing
        and (rows["handed_over_step"] <= rows["first_step"]).all()
    )
    assert (rows["delivered_step"] == rows.groupby("batch")["last_step"].transform("max")).all()
    assert steps["decoding"].between(1, seats).all()
    assert steps["batches_open"].between(1, batches).all()
    assert ((steps["decoding"] + steps["waiting"]) <= size * batches).all()
    # No seat stays empty while a row waits, and no place while Ray holds a batch.
    assert not ((steps["waiting"] > 0) & (steps["decoding"] < seats)).any()
    last = rows["handed_over_step"].max()
    assert (steps["batches_open"][: last - 1] == min(batches, rows["batch"].max() + 1)).all()
    for step in steps.itertuples():
        at = (rows["first_step"] <= step.step) & (step.step <= rows["last_step"])
        door = (rows["handed_over_step"] <= step.step) & (step.step < rows["first_step"])
        assert (at.sum(), door.sum()) == (step.decoding, step.waiting)
    assert job.steps == rows["last_step"].max()
    assert job.time == pytest.approx(job.steps + sum(lengths) / 40)
    assert job.mean_rows_decoding <= job.mean_rows_in_flight + 1e-9


@given(LENGTHS, SMALL, SMALL, st.integers(1, 6), st.integers(1, 70))
def test_smaller_batches_are_never_slower(
    lengths: list[int], size: int, batches: int, parts: int, seats: int
) -> None:
    """At an equal product, where the smaller size divides the larger one; row by row."""
    large = schedule(lengths, size * parts, batches, seats)
    small = schedule(lengths, size, batches * parts, seats)
    assert (small.by_row["last_step"] <= large.by_row["last_step"]).all()
    assert small.tokens_per_unit >= large.tokens_per_unit - 1e-9


@given(LENGTHS, SMALL, SMALL, SMALL)
def test_more_places_and_more_seats_are_never_slower(
    lengths: list[int], size: int, batches: int, seats: int
) -> None:
    job = schedule(lengths, size, batches, seats)
    assert schedule(lengths, size, batches + 1, seats).steps <= job.steps
    assert schedule(lengths, size, batches, seats + 1).steps <= job.steps


@given(LENGTHS, SMALL)
def test_static_is_one_batch_at_a_time(lengths: list[int], size: int) -> None:
    job = static(lengths, size)
    longest = [max(lengths[at : at + size]) for at in range(0, len(lengths), size)]
    assert job.steps == sum(longest)
    pd.testing.assert_frame_equal(job.by_step, schedule(lengths, size, 1).by_step)


def test_compare() -> None:
    table = compare(lengths(), KNOWN)
    pairs = zip(table["batch_size"], table["max_concurrent_batches"], strict=True)
    assert list(pairs) == list(KNOWN)
    assert table["tokens_per_unit"].round(1).tolist() == list(KNOWN.values())
    assert table["times_first"].round(2).tolist() == [1, 1.24, 1.66, 2.16, 1.82]
    for wrong in ([], [3], [(1, 2, 3)], ["ab"]):
        with pytest.raises(LabError, match="pair|must be"):
            compare([3], wrong)  # type: ignore[arg-type]


def test_lengths_of_the_toy() -> None:
    assert toy_lengths(3, "all alike") == [24, 24, 24]
    for mix in MIXES:
        many = toy_lengths(1000, mix)
        assert many == toy_lengths(1000, mix) and toy_lengths(9, mix) == many[:9]
        assert 22 < sum(many) / len(many) < 26
    mixed, few = toy_lengths(1000, "mixed"), toy_lengths(1000, "a few long ones")
    assert (min(mixed), max(mixed)) == (4, 44)
    assert few.count(96) == 125 and max(set(few) - {96}) == 16 and min(few) == 8
    with pytest.raises(LabError, match="choose one of 'all alike', 'mixed', 'a few long ones'"):
        toy_lengths(3, "short")
    with pytest.raises(LabError, match="rows must be"):
        toy_lengths(0)


def test_any_list_of_whole_numbers_will_do() -> None:
    plain = schedule([3, 1, 2], 2, 1, 2)
    for same in (
        np.array([3, 1, 2]),
        pd.Series([3, 1, 2], index=[9, 9, 9]),
        (n for n in (3, 1, 2)),
        (np.int8(3), 1, np.uint64(2)),
    ):
        job = schedule(same, np.int64(2), np.int32(1), np.int64(2))  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(job.by_row, plain.by_row)
        assert isinstance(job, Schedule) and type(job.time) is float and type(job.tokens) is int


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (dict(lengths=[]), "There are no rows: give at least one length"),
        (dict(lengths=7), "lengths must be a list of whole numbers, one a row, not 7"),
        (dict(lengths=None), "lengths must be a list"),
        (dict(lengths="24"), "lengths[0] must be a whole number from 1 (such as 16), not '2'"),
        (dict(lengths=[3, 0]), "lengths[1] must be a whole number from 1"),
        (dict(lengths=[-1]), "not -1"),
        (dict(lengths=[2.0]), "not 2.0"),
        (dict(lengths=[True]), "not True"),
        (dict(lengths=np.array([True])), "lengths[0]"),
        (dict(lengths=pd.Series([1, None])), "lengths[0]"),
        (dict(lengths=[None]), "not None"),
        (dict(batch_size=0), "batch_size must be a whole number from 1"),
        (dict(batch_size=True), "batch_size"),
        (dict(max_concurrent_batches=1.5), "max_concurrent_batches"),
        (dict(max_num_seqs=None), "max_num_seqs"),
    ],
)
def test_what_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(LabError, match=re.escape(words)):
        schedule(**{"lengths": [1], "batch_size": 1, "max_concurrent_batches": 1, **wrong})


def test_a_job_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "MOST_STEPS", 1000)
    assert schedule([1000], 1, 1).steps == 1000
    with pytest.raises(LabError, match="more than 1,000 steps, which is no toy. Give fewer rows"):
        schedule([10**12], 1, 1)
