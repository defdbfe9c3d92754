"""labkit.metrics: every number by hand, and what must hold for any rows."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labkit.metrics import (
    ROW_COLUMNS,
    EngineUse,
    Metrics,
    compare,
    compute,
    rate_in_parts,
    rows_in_flight,
    timeline,
    tokens_until,
)

FAILED = dict.fromkeys(ROW_COLUMNS)


def row(
    queued: float,
    scheduled: float,
    first: float,
    last: float,
    tokens: int = 1,
    *,
    inputs: int = 10,
    batch: str = "b",
    offset: float = 900.0,
    arrives_before: float = 0.0,
) -> dict[str, Any]:
    """A row by the engine's clock; `offset` is wall clock minus that clock."""
    return {
        "arrival_time": queued + offset - arrives_before,
        "queued_ts": queued,
        "scheduled_ts": scheduled,
        "first_token_ts": first,
        "last_token_ts": last,
        "num_input_tokens": inputs,
        "num_generated_tokens": tokens,
        "batch_uuid": batch,
    }


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(ROW_COLUMNS))


# Seconds since the call (started=1000, engine clock = Unix − 900):
#   A queued 10, scheduled 10, first 11, last 14, 4 tokens
#   B queued 10, scheduled 11, first 12, last 20, 5 tokens
#   C queued 12, scheduled 12, first 13, last 13, 1 token
# In flight: 2 from 10, 3 from 12, 2 from 13, 1 from 14, 0 from 20.
EXAMPLE = frame(
    row(110, 110, 111, 114, 4, inputs=10, batch="x"),
    FAILED,
    row(110, 111, 112, 120, 5, inputs=20, batch="y"),
    row(112, 112, 113, 113, 1, inputs=30, batch="x"),
).assign(finish_reason=["stop", None, "length", None])

BY_HAND = {
    "rows": 3,
    "failed": 1,
    "cut": 1,
    "input_tokens": 60,
    "output_tokens": 10,
    "wall_s": 25,
    "startup_s": 10,
    "engine_span_s": 10,
    "tail_s": 6,  # from 14 on 1 row is in flight: less than half of 3
    "shutdown_s": 5,
    "rows_per_s": 0.3,
    "output_tokens_per_s": 1.0,
    "total_tokens_per_s": 7.0,
    "steady_output_tokens_per_s": 7 / 4,  # until 14: A 4, B 1 + 4 × 2/8, C 1
    "latency_p50_s": 4,  # of 1, 4, 10
    "latency_p95_s": 4 + 0.9 * 6,
    "ttft_p50_s": 1,  # of 1, 2, 1
    "tpot_p50_s": 1.5,  # A 3/3, B 8/4; C has no token after the first
    "peak_rows_in_flight": 3,
    "mean_rows_in_flight": 1.5,  # (4 + 10 + 1) / 10
    "prefix_hit_rate": math.nan,  # not told
    "preemptions": math.nan,
    "waiting_p50_s": 0,  # of 0, 1, 0
    "prefill_p50_s": 1,
    "decode_p50_s": 3,  # of 3, 8, 0
    "card_busy": math.nan,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Metrics)])
def test_each_number_by_hand(field: str) -> None:
    found = compute(EXAMPLE, 1000, 1025)
    assert getattr(found, field) == pytest.approx(BY_HAND[field], nan_ok=True)


def test_counts_are_whole_numbers() -> None:
    found = compute(EXAMPLE, 1000, 1025)
    counts = ("rows", "failed", "cut", "input_tokens", "output_tokens", "peak_rows_in_flight")
    assert all(type(getattr(found, name)) is int for name in counts)


def test_as_dict_and_table_hold_every_number_with_its_unit_and_meaning() -> None:
    found = compute(EXAMPLE, 1000, 1025)
    assert found.as_dict() == pytest.approx(BY_HAND, nan_ok=True)
    table = found.table()
    assert len(table) == len(BY_HAND) - 1 and table.index.is_unique, "no card tells"
    assert table.loc["engine span", "value"] == "10.0 s"
    assert table.loc["rows answered", "value"] == "3"
    assert table.loc["TPOT p50", "value"] == "1.50 s"
    assert (table.loc["engine span", "meaning"]) == "first row scheduled to last token"


def test_table_groups_thousands_and_shows_the_unknown_as_a_dash() -> None:
    found = dataclasses.replace(
        compute(EXAMPLE, 1000, 1025),
        output_tokens=1_234_567,
        output_tokens_per_s=20501.4,
        tpot_p50_s=math.nan,
    )
    table = found.table()["value"]
    assert table["output tokens"] == "1,234,567"
    assert table["output tokens/s"] == "20,501"
    assert table["TPOT p50"] == "–"


def test_rows_wait_in_the_frontend_before_they_are_queued() -> None:
    """Arrival is a little before the queue; the smallest such wait gives the clocks' offset."""
    rows = frame(
        row(110, 110, 111, 112, arrives_before=0.25),
        row(111, 111, 112, 113, arrives_before=0.0),
        row(112, 112, 113, 114, arrives_before=0.5, batch="other"),
    )
    assert list(timeline(rows, 1000)["queued_s"]) == [10, 11, 12]


def test_single_row() -> None:
    found = compute(frame(row(110, 110.5, 111, 113, 5)), 1000, 1014)
    assert (found.rows, found.failed, found.peak_rows_in_flight) == (1, 0, 1)
    assert (found.startup_s, found.engine_span_s, found.shutdown_s) == (10.5, 2.5, 1)
    assert found.tail_s == 0
    assert found.steady_output_tokens_per_s == found.output_tokens_per_s == 2
    assert found.latency_p50_s == found.latency_p95_s == 3
    assert (found.ttft_p50_s, found.tpot_p50_s) == (1, 0.5)


def test_time_in_the_queue_before_the_span_is_no_row_in_flight() -> None:
    """The mean is over the engine span: one row that waited 8 s is still one row."""
    found = compute(frame(row(102, 110, 111, 112, 2)), 1000, 1020)
    assert found.mean_rows_in_flight == pytest.approx(1)
    assert found.latency_p50_s == 10


def test_one_token_everywhere_has_no_time_per_output_token() -> None:
    found = compute(frame(row(110, 110, 111, 111), row(110, 110, 112, 112)), 1000, 1020)
    assert math.isnan(found.tpot_p50_s)
    assert found.output_tokens_per_s == 1.0


@pytest.mark.parametrize("known", [0, 1, 2])
def test_tokens_that_are_not_known_of_every_row_are_not_counted(known: int) -> None:
    """A server need not send them: less than all of them is a wrong number, not a small one."""
    rows = EXAMPLE.copy()
    rows.loc[rows.index[known + (known > 0) :], "num_generated_tokens"] = math.nan
    found = compute(rows, 1000, 1025)
    assert (found.rows, found.input_tokens, found.rows_per_s) == (3, 60, 0.3)
    unknown = ("output_tokens", "output_tokens_per_s", "total_tokens_per_s")
    unknown += ("steady_output_tokens_per_s",)
    assert all(math.isnan(getattr(found, name)) for name in unknown)
    assert found.table()["value"]["output tokens"] == "–"


def test_prefix_hits_and_preemptions_are_told_or_unknown() -> None:
    told = compute(EXAMPLE.assign(num_cached_tokens=[0, None, 15, 30]), 1000, 1025, 1, EngineUse(2))
    assert (told.prefix_hit_rate, told.preemptions) == (0.75, 2)
    assert told.table()["value"]["prefix cache hits"] == "75%"
    for cached in ([None] * 4, [0, None, None, 30]):
        assert math.isnan(
            compute(EXAMPLE.assign(num_cached_tokens=cached), 1000, 1025).prefix_hit_rate
        )
    unknown = compute(EXAMPLE, 1000, 1025)
    assert math.isnan(unknown.prefix_hit_rate) and math.isnan(unknown.preemptions)
    assert unknown.table()["value"]["preemptions"] == "–"


def test_a_card_s_work_is_a_share_of_a_span_long_enough_to_tell() -> None:
    def job(span: float, card_s: float = math.nan) -> Metrics:
        rows = frame(row(10, 10, 11, 10 + span))
        return compute(rows, 910.0, 911.0 + span, use=EngineUse(card_s=card_s))

    def busy(span: float, card_s: float) -> float:
        return job(span, card_s).card_busy

    assert busy(20.0, 18.0) == pytest.approx(0.9)
    assert busy(20.0, 20.2) == 1.0, "a look may end after the last token"
    assert math.isnan(busy(20.0, math.nan)) and math.isnan(busy(9.0, 5.0))
    assert job(20.0, 18.0).table()["value"]["card at work"] == "90%"
    assert "card at work" not in job(20.0).table().index


def test_what_engines_told_goes_through_json_without_what_they_did_not() -> None:
    for told in (EngineUse(), EngineUse(2, {"this program": 0.5}, 3.0), EngineUse(0)):
        text = json.dumps(told.as_json(), allow_nan=False)
        back = EngineUse(9, {"old": 1.0}, 9.0)
        back.take(json.loads(text))
        assert repr(back) == repr(told)


def test_cut_answers_are_counted_and_said() -> None:
    found = compute(EXAMPLE, 1000, 1025)
    assert found.remark().startswith("1 of 4 answers were cut at max_tokens")
    whole = compute(EXAMPLE.assign(finish_reason="stop"), 1000, 1025)
    assert (whole.cut, whole.remark()) == (0, "")
    assert compute(EXAMPLE.drop(columns="finish_reason"), 1000, 1025).cut == 0


@pytest.mark.parametrize("failed", [0, 1, 7])
def test_nothing_answered(failed: int) -> None:
    found = compute(frame(*[FAILED] * failed), 1000.0, 1030.0)
    assert (found.rows, found.failed, found.output_tokens) == (0, failed, 0)
    assert (found.wall_s, found.startup_s, found.engine_span_s) == (30, 30, 0)
    assert (found.tail_s, found.shutdown_s, found.peak_rows_in_flight) == (0, 0, 0)
    unknown = ("output_tokens_per_s", "rows_per_s", "latency_p50_s", "ttft_p50_s", "tpot_p50_s")
    assert all(math.isnan(getattr(found, name)) for name in unknown)
    assert set(found.table()["value"]) >= {"–", "30.0 s"}
    assert timeline(frame(*[FAILED] * failed)).empty


@pytest.mark.parametrize("column", ROW_COLUMNS)
def test_missing_column_is_named(column: str) -> None:
    with pytest.raises(ValueError, match=column):
        compute(EXAMPLE.drop(columns=column), 1000, 1025)


def test_a_job_can_not_end_before_it_began() -> None:
    with pytest.raises(ValueError, match="before started"):
        compute(EXAMPLE, 1000, 999.9)


def test_extra_columns_and_any_index_are_welcome() -> None:
    rows = EXAMPLE.assign(more="x").set_axis(["d", "d", "a", "a"])
    assert compute(rows, 1000, 1025) == compute(EXAMPLE, 1000, 1025)


# --- rows in flight, tail, tokens over time ------------------------------------------------------


def test_an_endpoint_that_reports_no_first_token() -> None:
    """Its tokens are spread evenly from when the row was sent; TTFT and TPOT are unknown."""
    rows = EXAMPLE.assign(first_token_ts=None)
    times = timeline(rows, 1000)
    # A 4 tokens from 10 to 14, B 5 from 11 to 20, C 1 from 12 to 13
    assert tokens_until(times, [9, 12, 14, 20]) == pytest.approx(
        [0, 4 * 2 / 4 + 5 / 9, 4 + 5 * 3 / 9 + 1, 10]
    )
    found = compute(rows, 1000, 1025)
    assert math.isnan(found.ttft_p50_s) and math.isnan(found.tpot_p50_s)
    assert found.output_tokens_per_s == 1.0 and found.latency_p50_s == 4


# --- comparison ----------------------------------------------------------------------------------


def test_compare_gives_the_speed_up_over_the_first() -> None:
    first = compute(EXAMPLE, 1000, 1025)
    twice = dataclasses.replace(first, output_tokens_per_s=2 * first.output_tokens_per_s)
    half = dataclasses.replace(first, output_tokens_per_s=first.output_tokens_per_s / 2)
    table = compare([first, twice, half], ["one by one", "batched", "worse"])
    assert list(table.index) == ["one by one", "batched", "worse"]
    assert list(table["speed-up"]) == [1, 2, 0.5]
    assert list(table["rows"]) == [3, 3, 3]
    assert list(table["peak rows in flight"]) == [3, 3, 3]
    assert table.loc["batched", "startup (s)"] == 10
    assert table.loc["batched", "engine span (s)"] == 10
    assert table.loc["batched", "row latency p95 (s)"] == pytest.approx(9.4)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_compare_demands_a_name_for_each_job(names: list[str]) -> None:
    with pytest.raises(ValueError):
        compare([compute(EXAMPLE, 1000, 1025)] * 2, names)


# --- properties ----------------------------------------------------------------------------------

TICK = 1024.0  # times in 1/1024 s are exact in binary: sums and shifts lose nothing
ticks = st.integers(0, 20_000).map(lambda n: n / TICK)
some = st.integers(1, 20_000).map(lambda n: n / TICK)


@st.composite
def jobs(
    draw: st.DrawFn, min_rows: int = 1, longest: int = 20_000
) -> tuple[pd.DataFrame, float, float]:
    """Rows of one host, some of them failed, with the times of the call and of the result; each
    step takes at most `longest` ticks."""
    ticks = st.integers(0, longest).map(lambda n: n / TICK)
    some = st.integers(1, longest).map(lambda n: n / TICK)
    rows = []
    for _ in range(draw(st.integers(min_rows, 12))):
        queued = 5000 + draw(ticks)
        scheduled = queued + draw(ticks)
        first = scheduled + draw(some)
        tokens = draw(st.integers(1, 50))
        last = first + (draw(some) if tokens > 1 else 0)
        batch = draw(st.sampled_from("abcd"))
        wait = draw(st.integers(0, 200)) / TICK
        rows.append(
            row(
                queued,
                scheduled,
                first,
                last,
                tokens,
                inputs=draw(st.integers(0, 99)),
                batch=batch,
                offset=1.7e9,
                arrives_before=wait,
            )
        )
    failed = draw(st.integers(0, 3))
    started = 1.7e9 + 5000 - 1 - draw(ticks)
    finished = 1.7e9 + max(one["last_token_ts"] for one in rows) + draw(ticks)
    order = draw(st.permutations([*rows, *[FAILED] * failed]))
    return frame(*order), started, finished


def same(one: Metrics, other: Metrics) -> None:
    assert one.as_dict() == pytest.approx(other.as_dict(), rel=1e-9, abs=1e-6, nan_ok=True)


@given(jobs())
def test_wall_is_startup_and_span_and_shutdown(job: Any) -> None:
    rows, started, finished = job
    found = compute(rows, started, finished)
    parts = found.startup_s + found.engine_span_s + found.shutdown_s
    assert parts == pytest.approx(found.wall_s, abs=1e-6)
    assert found.wall_s == finished - started
    assert min(found.startup_s, found.engine_span_s, found.shutdown_s) >= 0


@given(jobs())
def test_counts_add_up(job: Any) -> None:
    rows, started, finished = job
    found = compute(rows, started, finished)
    assert found.rows + found.failed == len(rows)
    assert found.output_tokens == rows["num_generated_tokens"].sum()
    assert found.input_tokens == rows["num_input_tokens"].sum()
    assert found.rows_per_s * found.engine_span_s == pytest.approx(found.rows)
    tokens = found.input_tokens + found.output_tokens
    assert found.total_tokens_per_s * found.engine_span_s == pytest.approx(tokens)


@given(jobs())
def test_rows_in_flight_never_exceed_the_rows(job: Any) -> None:
    rows, started, finished = job
    found = compute(rows, started, finished)
    assert 1 <= found.peak_rows_in_flight <= found.rows
    assert 0 < found.mean_rows_in_flight <= found.peak_rows_in_flight + 1e-6
    flight = rows_in_flight(timeline(rows, started))
    assert flight["rows"].min() >= 0 and flight["rows"].iloc[-1] == 0
    assert flight["t_s"].is_monotonic_increasing and flight["t_s"].is_unique


@given(jobs())
def test_tail_lies_within_the_span(job: Any) -> None:
    rows, started, finished = job
    found = compute(rows, started, finished)
    assert 0 <= found.tail_s <= found.engine_span_s + 1e-9
    assert found.steady_output_tokens_per_s >= 0


@given(jobs())
def test_percentiles_are_in_order_and_real(job: Any) -> None:
    rows, started, finished = job
    found = compute(rows, started, finished)
    good = rows.dropna(subset=["last_token_ts"])
    latency = (good["last_token_ts"] - good["queued_ts"]).astype(float)
    assert latency.min() - 1e-6 <= found.latency_p50_s <= found.latency_p95_s + 1e-9
    assert found.latency_p95_s <= latency.max() + 1e-6
    assert 0 < found.ttft_p50_s <= latency.max() + 1e-6


@given(jobs(), st.integers(-10_000_000, 10_000_000), st.integers(-4_000_000, 1_000_000_000))
def test_shifting_all_clocks_changes_nothing(job: Any, wall: int, engine: int) -> None:
    rows, started, finished = job
    moved = rows.copy()
    moved["arrival_time"] = moved["arrival_time"].astype(float) + wall / TICK
    for name in ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"):
        moved[name] = moved[name].astype(float) + engine / TICK
    same(
        compute(moved, started + wall / TICK, finished + wall / TICK),
        compute(rows, started, finished),
    )


@given(jobs(min_rows=2), st.integers(2_000_000, 1_000_000_000))
def test_a_second_host_changes_nothing_but_its_own_clock(job: Any, engine: int) -> None:
    """Half of the batches move to a host whose clock reads something else."""
    rows, started, finished = job
    good = rows["last_token_ts"].notna()
    there = good & rows["batch_uuid"].isin(["a", "b"])
    assume(there.any() and (good & ~there).any())
    # No wait before the queue: then both hosts' offsets are known exactly.
    rows.loc[good, "arrival_time"] = rows.loc[good, "queued_ts"].astype(float) + 1.7e9
    moved = rows.copy()
    for name in ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"):
        moved.loc[there, name] = moved.loc[there, name].astype(float) + engine / TICK
    same(compute(moved, started, finished, clocks=2), compute(rows, started, finished))


@given(jobs(), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100_000)))
def test_one_engine_has_one_clock_however_long_its_steps(job: Any, waits: Any) -> None:
    """A batch that arrives during a long step is queued when the step ends: that is its wait, not
    another host. The engine's own times tell the same numbers, if one batch did not wait."""
    rows, started, finished = job
    good = rows["last_token_ts"].notna()
    assume(good.any())
    rows.loc[good, "arrival_time"] = rows.loc[good, "queued_ts"].astype(float) + 1.7e9
    late = rows.copy()
    first = rows.loc[good, "batch_uuid"].iloc[0]
    for batch, wait in waits.items():
        if batch != first:
            these = good & (rows["batch_uuid"] == batch)
            late.loc[these, "arrival_time"] = late.loc[these, "arrival_time"] - wait / TICK
    same(compute(late, started, finished), compute(rows, started, finished))


@pytest.mark.parametrize("step_s", [0.5, 0.9, 1.5, 3.0, 20.0])
def test_a_long_first_step_shortens_no_span(step_s: float) -> None:
    """Four batches of 16; three of them arrive during the first step of the one engine."""
    batches = [
        row(
            100.0 if n == 0 else 100.0 + step_s,
            100.0 if n == 0 else 100.0 + step_s,
            100.5 + step_s,
            109.0,
            8,
            batch=f"b{n}",
            arrives_before=0.0 if n == 0 else step_s - 0.01,
        )
        for n in range(4)
        for _ in range(16)
    ]
    found = compute(frame(*batches), 990, 1020)
    assert found.engine_span_s == pytest.approx(9.0)
    assert found.output_tokens_per_s == pytest.approx(4 * 16 * 8 / 9.0)


@given(jobs(), st.randoms(use_true_random=False))
def test_row_order_changes_nothing(job: Any, random: Any) -> None:
    rows, started, finished = job
    order = list(range(len(rows)))
    random.shuffle(order)
    same(compute(rows.iloc[order], started, finished), compute(rows, started, finished))


@given(jobs(), st.permutations("abcd"))
def test_names_of_batches_change_nothing(job: Any, names: list[str]) -> None:
    rows, started, finished = job
    renamed = rows.assign(batch_uuid=rows["batch_uuid"].map(dict(zip("abcd", names, strict=True))))
    same(compute(renamed, started, finished), compute(rows, started, finished))


@given(jobs(), st.data())
def test_which_batch_a_row_of_one_host_was_in_changes_nothing(job: Any, data: Any) -> None:
    rows, started, finished = job
    good = rows["last_token_ts"].notna()
    shuffled = rows.copy()
    shuffled.loc[good, "batch_uuid"] = data.draw(
        st.permutations(list(rows.loc[good, "batch_uuid"])), label="batches"
    )
    same(compute(shuffled, started, finished), compute(rows, started, finished))


@given(jobs(), st.integers(1, 5))
def test_failed_rows_change_nothing_but_their_count(job: Any, more: int) -> None:
    rows, started, finished = job
    with_more = frame(*rows.to_dict("records"), *[FAILED] * more)
    without = compute(rows, started, finished)
    found = compute(with_more, started, finished)
    assert found.failed == without.failed + more
    same(dataclasses.replace(found, failed=without.failed), without)


@given(jobs(), st.integers(1, 6))
def test_rates_of_the_parts_average_to_the_rate_of_the_whole(job: Any, parts: int) -> None:
    rows, started, finished = job
    whole = compute(rows, started, finished)
    rates = rate_in_parts(timeline(rows, started), parts)
    assert len(rates) == parts and (rates >= -1e-6).all()
    assert rates.mean() == pytest.approx(whole.output_tokens_per_s, rel=1e-6)
