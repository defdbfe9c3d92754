"""What a job did, in numbers: pure, from its rows' own timestamps"""
# ruff: noqa: F401 (the names of this room)

from labkit.metrics.job_metrics import (
    CUT,
    Metrics,
    compare,
    compute,
    nothing_answered,
    without_unreadable,
)
from labkit.metrics.job_use import CORE, DRIVER, FRONT_END, TEXT, EngineUse
from labkit.metrics.row_times import (
    OTHER_HOST_S,
    PHASES,
    ROW_COLUMNS,
    batches,
    in_phases,
    middle_row,
    over_time,
    rate_in_parts,
    rows_in_flight,
    stragglers,
    tail_start,
    takes_a_place,
    timeline,
    tokens_until,
)
