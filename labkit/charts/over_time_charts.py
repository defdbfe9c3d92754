"""How a long job went: views only, the numbers are `metrics.over_time`'s."""

from __future__ import annotations

import pandas as pd

from labkit.charts.axes import shown
from labkit.charts.style import DARK, MID, Chart, Sheet, styled


@styled
def over_time(stretches: pd.DataFrame, where: str, title: str = "How the answers came") -> Chart:
    """Rows answered, and the rate at which they came, over the seconds since the call.

    stretches: of `metrics.over_time`, at least one. where: on what it was measured. The rate is in
    output tokens/s, or in rows/s where a server counts no tokens.
    """
    tokens = stretches["output_tokens_per_s"].notna().all()
    rate = stretches["output_tokens_per_s" if tokens else "rows_per_s"]
    unit = "output tokens/s" if tokens else "rows/s"
    ends = stretches["t_s"].to_numpy()
    width = float(ends[1] - ends[0]) if len(ends) > 1 else 1.0
    sheet = Sheet(height=4.6, rows=2, sharex=True)
    above, below = (row[0] for row in sheet.axes)
    rows = stretches["rows"].to_numpy()
    above.plot([ends[0] - width, *ends], [0, *rows], color=DARK, lw=2.5)
    above.set_ylim(0, 1.12 * max(rows[-1], 1))
    above.set_ylabel("rows answered")
    below.bar(ends - width / 2, rate, width=width, color=MID)
    below.set_ylim(0, 1.12 * max(rate.max(), 1e-9))
    below.set_ylabel(unit)
    below.set_xlabel("seconds since the call (startup is the gap on the left)")
    below.set_xlim(0, ends[-1] * 1.02)
    mean = float(rate.mean())
    alt = (
        f"{rows[-1]:,} rows were answered in {ends[-1]:.0f} s, the first after "
        f"{ends[0] - width:.0f} s of startup, at {shown(mean)} {unit} on average. {where}"
    )
    caption = f"{where}\nA row counts when it ends, in 1/{len(ends)} of the engine span each."
    return sheet.chart(title, caption, alt)
