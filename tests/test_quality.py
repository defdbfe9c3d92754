"""Accuracy, macro-F1, intervals, confusion and the bill, against numbers worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import quality
from labkit.datasets import load_posts
from labkit.tasks import LABELS

AB = ("a", "b")


def test_accuracy_and_macro_f1_by_hand() -> None:
    # a: 2 hits of 3 true, 3 claimed → F1 2/3; b: 1 hit of 2 true, 2 claimed → F1 1/2
    found = quality.evaluate(["a", "a", "a", "b", "b"], ["a", "a", "b", "b", "a"], AB)
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.accuracy_low < found.accuracy < found.accuracy_high
    assert found.macro_f1_low <= found.macro_f1 <= found.macro_f1_high


def test_a_perfect_labeller() -> None:
    found = quality.evaluate(list("abab"), list("abab"), AB)
    assert found.accuracy == found.macro_f1 == found.accuracy_high == 1
    assert found.accuracy_low < 1  # four rows prove little


def test_always_the_majority_has_a_low_macro_f1() -> None:
    truth = ["a"] * 90 + ["b"] * 10
    found = quality.evaluate(truth, ["a"] * 100, AB)
    assert found.accuracy == 0.9
    assert found.macro_f1 == pytest.approx((2 * 90 / 190) / 2)


def test_a_prediction_outside_the_labels_is_wrong() -> None:
    found = quality.evaluate(["a", "b"], ["a", "banana"], AB)
    assert found.accuracy == 0.5
    assert found.macro_f1 == 0.5


def test_wilson_by_hand() -> None:
    # The textbook case: 0 of 10 gives an upper bound of 27.8%.
    low, high = quality.wilson(0.0, 10)
    assert low == 0
    assert high == pytest.approx(0.2775, abs=1e-3)
    assert quality.wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


@pytest.mark.parametrize(("truth", "predicted"), [([], []), (["a"], ["a", "b"]), (["c"], ["a"])])
def test_bad_input_is_refused(truth: list[str], predicted: list[str]) -> None:
    with pytest.raises(ValueError, match="label|predictions"):
        quality.evaluate(truth, predicted, AB)


def test_confusion_counts() -> None:
    table = quality.confusion(["a", "a", "b"], ["a", "b", "b"], ("a", "b", "c"))
    assert table.loc["a"].tolist() == [1, 1, 0]
    assert table.loc["b"].tolist() == [0, 1, 0]
    assert table.loc["c"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("odd", ["banana", None, 3, "A"])
def test_confusion_keeps_predictions_outside_the_labels(odd: object) -> None:
    table = quality.confusion(["a", "a", "b"], ["a", odd, odd], AB)
    assert table.to_dict("list") == {"a": [1, 0], "b": [0, 0], "other": [1, 1]}
    assert table.to_numpy().sum() == 3


def test_a_rare_class_that_is_always_wrong_raises_no_interval() -> None:
    """In a resample that lacks it, it is no reason for a perfect score."""
    truth = ["a"] * 60 + ["b"] * 39 + ["c"]
    predicted = ["a"] * 60 + ["b"] * 39 + ["a"]
    found = quality.evaluate(truth, predicted, ("a", "b", "c"))
    assert found.macro_f1 == pytest.approx(0.664, abs=0.001)
    assert found.macro_f1_low <= found.macro_f1 <= found.macro_f1_high < 0.67


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx")), min_size=1))
def test_an_interval_never_leaves_what_the_classes_allow(pairs: list[tuple[str, str]]) -> None:
    truth, predicted = ([pair[at] for pair in pairs] for at in (0, 1))
    found = quality.evaluate(truth, predicted, tuple("abc"))
    assert 0 <= found.macro_f1_low <= found.macro_f1_high <= 1
    never_hit = {t for t in {*truth, *predicted} - {"x"} if (t, t) not in pairs}
    assert found.macro_f1_high <= 1 - len(never_hit) / len({*truth, *predicted} - {"x"}) + 1e-9


def test_compare_has_a_row_for_each_labeller() -> None:
    table = quality.compare(["a", "b"], {"x": ["a", "b"], "y": ["b", "b"]}, AB)
    assert list(table.index) == ["x", "y"]
    assert table.loc["x", "accuracy"] == "1.00"
    assert table.loc["y", "accuracy"] == "0.50"


def test_vader_on_its_own_benchmark() -> None:
    """The word list's published benchmark: about three quarters right on all 4,200 posts."""
    posts = load_posts()
    found = quality.evaluate(list(posts["label"]), quality.vader_labels(posts["text"]), LABELS)
    assert 0.70 < found.accuracy < 0.85
    assert quality.vader_labels(["I love this, great!", "This is awful", "a table"]) == [
        "positive",
        "negative",
        "neutral",
    ]


def test_the_bill_by_hand() -> None:
    table = quality.bill(rows=2000, tokens=100_000, engine_span_s=1800, gpus=2, price_per_hour=3.0)
    assert table["machine-seconds"].item() == "3,600.0"
    assert table["cost"].item() == "3.0000"
    assert table["per 1,000 rows"].item() == "1.5000"
    assert table["per 1,000,000 tokens"].item() == "30.0000"
