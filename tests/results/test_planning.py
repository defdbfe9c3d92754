"""results.planning: a plan in a table and in words."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.results.job_estimate import Interval, Run
from labkit.results.planning import HERE, Elsewhere, Plan, told_warnings

PLAN = Plan(
    rows=4200,
    machine="2 CPU cores",
    model="small",
    seconds=Interval(1800, 1500, 2200),
    start_s=20.0,
    input_tokens=Interval(50, 49, 51),
    output_tokens=Interval(2, 2, 2),
    sample=1000,
    runs=(Run(100, 11.0, 1.0, 95.0),) * 3,
    warnings=("3 of 1,000 (0.3%) rows of the sample can't be asked.",),
    prices={HERE: 0.5, "H100": 3.0},
    currency="EUR",
    elsewhere=(
        Elsewhere("1 × NVIDIA H100 80GB HBM3", "recorded on 2026-11-23", Interval(6, 5, 8)),
        Elsewhere("1 × NVIDIA L4", "recorded on 2026-11-23", Interval(60, 50, 80)),
    ),
    measured_s=61.0,
)


def test_a_plan_in_a_table_and_a_sentence() -> None:
    table = PLAN.table
    assert table["machine"].tolist() == [
        "2 CPU cores",
        "1 × NVIDIA H100 80GB HBM3",
        "1 × NVIDIA L4",
    ]
    assert table["minutes"].tolist() == [30, 0.1, 1]
    assert table["machine-hours"].tolist()[0] == pytest.approx(1820 / 3600)
    here, there, unknown = table["price (EUR)"]
    assert (here, there) == pytest.approx((0.5 * 1820 / 3600, 3.0 * 6 / 3600))
    assert math.isnan(unknown)
    assert table["measured"].tolist()[1] == "recorded on 2026-11-23"
    said = PLAN.sentence()
    for words in ("4,200 rows", "30.0 min (25.0 to 36.7", "20 s for the engine's start", "EUR"):
        assert words in said
    assert "a 90% interval" in said and said.endswith("can't be asked.")
    assert said in repr(PLAN) and said in PLAN._repr_html_()


def test_without_prices_there_are_none() -> None:
    plan = replace(PLAN, prices={}, currency="")
    assert plan.price() is None and not [c for c in plan.table if "price" in c]
    assert "EUR" not in plan.sentence()
    assert replace(PLAN, prices={"H100": 3.0}).price() is None


@given(st.floats(0, 100))
def test_the_price_follows_the_hours(each: float) -> None:
    price = replace(PLAN, prices={HERE: each}).price()
    assert price is not None
    assert price.value == pytest.approx(each * PLAN.hours.value)
    assert price.low <= price.value <= price.high


QUIET = {"width": 0.2, "sample": 1000, "refused": 0, "too_long": 0, "may_not_end": 0}
QUIET |= {"answered": 500, "cut": 0, "limit": 2048}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"refused": 5}, "5 of 1,000 (0.5%) rows of the sample can't be asked"),
        ({"too_long": 10}, "10 of 1,000 (1.0%) rows of the sample do not fit the context of 2,048"),
        ({"may_not_end": 20}, "20 of 1,000 (2.0%) rows of the sample leave less"),
        ({"cut": 250}, "250 of 500 (50.0%) answers were cut"),
        ({"width": 0.3}, "The interval is wide (30%)"),
    ],
)
def test_a_warning_counts_its_rows_and_stands_alone(what: dict[str, int], words: str) -> None:
    (told,) = told_warnings(**{**QUIET, **what})  # type: ignore[arg-type]
    assert told.startswith(words)


def test_nothing_to_mend_is_no_warning() -> None:
    assert told_warnings(**QUIET) == ()  # type: ignore[arg-type]
