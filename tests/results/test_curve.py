"""A curve as it is told to others: the same back, and nothing else is taken."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.curve import MOST_POINTS, Curve, curve, medians, of_sweep, plain_text
from labkit.results.sweep_result import ROWS
from tests.results.test_sweep_result import CURVE, measured

ONE = Curve(
    "faq", "tiny", "2 cores", "output tokens/s", ((1, 10.0, 9.0, 11.0), (8, 40.0, 40.0, 40.0)), {}
)


def test_a_sweep_s_curve_has_medians_ranges_and_the_fastest_of_each_number() -> None:
    found = of_sweep(measured({**CURVE, (4, 1): [30]}), {1: 1, 4: 3, 64: None})
    assert found is not None
    assert found.points == (
        (1, 11, 10, 12),
        (4, 40, 40, 40),
        (16, 95, 90, 100),
        (64, 104, 104, 104),
    )
    assert found.guess == {1: 1, 4: 3} and found.device == "2 CPU cores"
    assert found.guesses() == {4: (3, 40 / 11)}
    in_rows = of_sweep(measured(CURVE), rate=ROWS)
    assert in_rows is not None and in_rows.points[0] == (1, 1.1, 1.0, 1.2)


def test_what_has_no_throughput_has_no_curve() -> None:
    assert of_sweep(measured({(1, 1): [math.nan]})) is None
    found = of_sweep(measured({(1, 1): [math.nan], (1, 4): [3.0]}))
    assert found is not None and found.points == ((4, 3, 3, 3),)


def test_a_long_sweep_is_shown_up_to_a_limit() -> None:
    found = of_sweep(measured({(1, n): [n] for n in range(1, 100)}))
    assert found is not None and len(found.points) == MOST_POINTS
    assert curve(json.loads(json.dumps(found.to_json()))) == found


def test_it_comes_back_from_json() -> None:
    for one in (ONE, of_sweep(measured(CURVE), {1: 1, 4: 2.5})):
        assert one is not None and curve(json.loads(json.dumps(one.to_json()))) == one


def test_a_guess_is_compared_over_the_first_point_that_both_have() -> None:
    three = Curve("a", "b", "c", ONE.rate, ((2, 10, 10, 10), (4, 20, 20, 20), (8, 30, 30, 30)), {})
    assert three.guesses() == {}
    assert Curve(**{**vars(three), "guess": {1: 1, 4: 2, 8: 8}}).guesses() == {8: (4, 1.5)}
    still = Curve(**{**vars(three), "points": ((1, 0, 0, 0),), "guess": {1: 1}})
    assert still.speed_ups() == {} == still.guesses()


BAD: list[dict[str, Any]] = [
    {"points": []},
    {"points": [[1, 2, 2]]},
    {"points": [[1, math.nan, 1, 1]]},
    {"points": [[1, math.inf, 1, math.inf]]},
    {"points": [[1, -1, -1, -1]]},
    {"points": [[1, 2, 3, 4]]},
    {"points": [[1.5, 1, 1, 1]]},
    {"points": [[True, 1, 1, 1]]},
    {"points": [[1, True, 1, 1]]},
    {"points": [[1, "1", 1, 1]]},
    {"points": [[1, 1, 1, 1], [1, 2, 2, 2]]},
    {"points": [[2, 1, 1, 1], [1, 2, 2, 2]]},
    {"points": [[n + 1, 1, 1, 1] for n in range(MOST_POINTS + 1)]},
    {"points": {"1": 1}},
    {"guess": [[1, 0]]},
    {"guess": [[0, 1]]},
    {"guess": None},
    {"task": 1},
    {"device": "x" * 81},
    {"rate": "bananas"},
    {"rate": ["output tokens/s"]},
    {"recorded": "no"},
    {"more": 1},
]


@pytest.mark.parametrize("change", BAD, ids=str)
def test_what_is_no_curve_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LabError):
        curve({**ONE.to_json(), **change})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.sampled_from(list(ONE.to_json())), JSON)
def test_any_json_is_a_curve_or_an_error_of_the_lab(name: str, value: Any) -> None:
    try:
        found = curve({**ONE.to_json(), name: value})
    except LabError:
        return
    json.dumps(found.to_json(), allow_nan=False)


def test_a_setting_without_a_number_does_not_hide_another_one() -> None:
    sweep = measured({(1, 4): [math.nan], (4, 1): [40], (8, 1): [80]})
    for one in (of_sweep(sweep), of_sweep(measured({(4, 1): [40], (8, 1): [80]}))):
        assert one is not None and one.points == ((4, 40, 40, 40), (8, 80, 80, 80))


def test_medians_are_of_the_curves_that_have_the_point() -> None:
    other = Curve("faq", "tiny", "x", ONE.rate, ((1, 30, 30, 30), (16, 5, 5, 5)), {})
    assert medians([ONE, other]) == [(1, 20), (8, 40), (16, 5)]
    assert medians([]) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  Ada\n Lovelace\t", "Ada Lovelace"),
        ("\u202eabc\u0000d", "abc d"),
        ("e\u0301", "é"),
        ("Z" + "\u0335" * 40, "Z\u0335\u0335"),
        ("<b>x</b>", "<b>x</b>"),
        ("日本 🙂", "日本 🙂"),
        ("\ud800x", "x"),
        ("x" * 200, "x" * 80),
    ],
)
def test_a_text_fits_on_a_line(text: str, shown: str) -> None:
    assert plain_text(text) == shown
