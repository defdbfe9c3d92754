"""A guess of a curve against what was measured: by which factor it was off."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

import pandas as pd

from labkit.errors import LabError
from labkit.results.sweep_result import RATE


def off_by(summary: pd.DataFrame, guess: Mapping[int, float]) -> pd.DataFrame:
    """A guess beside what was measured: a row a number of rows in flight.

    guess: rows in flight → speed-up over the first point of it. Columns: `you said` and `measured`
    (speed-ups), `off by` (the larger over the smaller: 1 is a hit).
    """
    rate = summary.groupby("rows_in_flight")[RATE].max()
    known = [rows for rows in sorted(guess) if rows in rate.index and guess[rows] > 0]
    if not known:
        raise LabError("The guess has no point that was measured.")
    said = pd.Series({rows: guess[rows] / guess[known[0]] for rows in known})
    true = rate[known] / rate[known[0]]
    ratio = said / true
    return pd.DataFrame(
        {"you said": said, "measured": true, "off by": ratio.where(ratio >= 1, 1 / ratio)}
    ).rename_axis("rows in flight")


def off_by_words(table: pd.DataFrame) -> str:
    """`off_by` in words: the geometric mean over all points but the first, which is always 1."""
    factors = table["off by"].iloc[1:]
    if factors.empty:
        return "One point alone is no curve: guess at least two."
    mean = math.exp(statistics.fmean(math.log(factor) for factor in factors))
    worst = int(factors.to_numpy().argmax()) + 1
    at, said, true = (
        table.index[worst],
        table["you said"].iloc[worst],
        table["measured"].iloc[worst],
    )
    side = "more" if said > true else "less"
    return (
        f"You were off by a factor of {mean:.1f} on average; most at {at} rows in flight, "
        f"where you expected {side} ({said:.1f}×, measured {true:.1f}×)."
    )
