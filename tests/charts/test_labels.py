"""Where a label goes: the first free side, farther away, or nowhere."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from labkit.charts.labels import CONTRAST, Label, contrast, place, readable_on


def axes_of(figure: Figure) -> object:
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    return axes


def placed(covered: list[tuple[float, float, float, float]], **more: object) -> list[tuple]:
    """(text, its offset in points) of a label at (5, 5), with these areas (x, y, width, height)."""
    figure = Figure(figsize=(6, 6), dpi=100)
    axes = axes_of(figure)
    for x, y, width, height in covered:
        axes.bar(x + width / 2, height, width, bottom=y, color="black", hatch="xx", edgecolor="w")
    options = {"texts": ["long label", "ll"], "anchors": [(5, 5)], "transform": None}
    options |= {"sides": ("above", "below", "right"), "options": {"fontsize": 12}, **more}
    place(figure, [Label(axes, **options)])
    return [(text.get_text(), text.get_position()) for text in axes.texts]


def test_the_first_side_that_is_free_is_taken() -> None:
    assert placed([]) == [("long label", (0, 7))]
    assert placed([(0, 5, 10, 5)]) == [("long label", (0, -7))]


def test_fewer_words_nearby_come_before_more_words_farther_away() -> None:
    assert placed([(4, 0, 0.9, 10), (5.1, 0, 0.9, 10)], sides=("above",)) == []
    assert placed([(4, 0, 0.6, 10), (5.4, 0, 0.6, 10)], sides=("above",)) == [("ll", (0, 7))]
    assert placed([(3, 5, 4, 0.6)], sides=("above",)) == [("long label", (0, 21))]


def test_where_nothing_is_free_there_is_no_label_and_none_outside() -> None:
    assert placed([(0, 0, 10, 10)]) == []
    assert placed([], anchors=[(10, 5)], sides=("right",)) == []
    assert placed([], anchors=[(10, 5), (5, 5)], sides=("right",))[0][0] == "long label"


def test_two_labels_do_not_meet() -> None:
    figure = Figure(figsize=(6, 6), dpi=100)
    axes = axes_of(figure)
    labels = [Label(axes, ["the same"], [(5, 5)], None, ("above", "below")) for _ in range(2)]
    place(figure, labels)
    assert [text.get_position() for text in axes.texts] == [(0, 7), (0, -7)]


@pytest.mark.parametrize("tone", ["white", "black", "#777777", "#5b8db8", "#c9dcec", "#b8324a"])
def test_black_or_white_can_be_read_on_any_tone(tone: str) -> None:
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast(readable_on(tone), tone) >= CONTRAST
