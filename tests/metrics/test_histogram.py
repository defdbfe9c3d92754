"""labkit.metrics.histogram: percentiles as pandas has them, about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.metrics.histogram import LEAST, Histogram


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_is_at_most_one_percent_away(values: list[float], share: float) -> None:
    histogram = Histogram()
    histogram.add(np.array([*values, np.nan]))
    exact = pd.Series(values).quantile(share)
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.0101, abs=LEAST)
