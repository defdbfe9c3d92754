"""What bounds a job: jobs made to be bound by each of the causes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.metrics import CORE, DRIVER, FRONT_END, EngineUse, compute, timeline
from labkit.metrics.bottleneck import Bottleneck, bottleneck


def found(
    rows: int,
    *,
    startup: float = 1.0,
    at_once: int = 16,
    limit: int = 16,
    prompt: float = 0.1,
    answer: float = 1.0,
    late: int = 0,
    cpu: float = 0.0,
    card: float = float("nan"),
    straggler: float = 1.0,
    places: int | None = None,
) -> Bottleneck:
    """A job whose engine takes `at_once` rows at a time, each `prompt` + `answer` seconds; `late`
    rows take twenty times as long, and one row of each batch `straggler` times as long. Its front
    end takes `cpu` of a core, and its card is at work for the part `card` of the engine span."""
    wave = np.arange(rows) // at_once
    queued = 100 + startup + wave * (prompt + straggler * answer)
    length = np.where(np.arange(rows) >= rows - late, 20 * answer, answer)
    length = np.where(np.arange(rows) % at_once == 0, straggler * length, length)
    frame = pd.DataFrame(
        {
            "arrival_time": queued + 900,
            "queued_ts": queued,
            "scheduled_ts": queued,
            "first_token_ts": queued + prompt,
            "last_token_ts": queued + prompt + length,
            "num_input_tokens": 10,
            "num_generated_tokens": 5,
            "batch_uuid": [f"b{number}" for number in wave],
        }
    )
    end = float(frame["last_token_ts"].max()) + 900.2
    span = compute(frame, 1000.0, end).engine_span_s
    job = compute(frame, 1000.0, end, use=EngineUse(card_s=card * span))
    spent = {DRIVER: 0.5 * cpu * job.engine_span_s, FRONT_END: cpu * job.engine_span_s}
    spent |= {CORE: 0.99 * job.engine_span_s}  # it waits for a GPU in a loop: that says nothing
    made = bottleneck(job, timeline(frame, 1000.0), limit, spent, places)
    assert made is not None and 0 < made.share <= 1 and made.sentence.endswith(".")
    return made


@pytest.mark.parametrize(
    ("job", "name", "words"),
    [
        ({"rows": 320, "startup": 60.0}, "startup", "Startup was 73%"),
        ({"rows": 20}, "too few rows", "20, where 16"),
        ({"rows": 160, "late": 2}, "the tail", "Send long rows first"),
        ({"rows": 650, "at_once": 13, "late": 2}, "the tail", "took 26% of the engine span"),
        ({"rows": 320, "at_once": 4}, "what feeds the engine", "4 of 16"),
        (
            {"rows": 320, "at_once": 4, "cpu": 0.6},
            "what feeds the engine",
            "front end was the busi",
        ),
        ({"rows": 320, "cpu": 0.9}, "what feeds the engine", "the engine's front end took 90% of"),
        ({"rows": 320, "prompt": 3.0}, "reading the prompts", "75%"),
        ({"rows": 320}, "the engine", "16 rows in flight on average, where 16"),
        (
            {"rows": 320, "card": 0.96},
            "the card",
            "was at work for 96% of the engine span",
        ),
        ({"rows": 320, "card": 0.96, "cpu": 0.9}, "the card", "more cards"),
        ({"rows": 320, "at_once": 4, "card": 0.96, "cpu": 0.9}, "what feeds the engine", "90% of"),
        (
            {"rows": 320, "card": 0.5},
            "what feeds the engine",
            "at work for 50% of",
        ),
        ({"rows": 320, "card": 0.8}, "the engine", "The engine was full"),
        ({"rows": 320, "card": 0.96, "prompt": 3.0}, "reading the prompts", "75%"),
        (
            {"rows": 320, "card": 0.1, "prompt": 3.0},
            "what feeds the engine",
            "engine's own process was the busiest, with 99% of a core",
        ),
        ({"rows": 320, "places": 16}, "the engine", "The engine was full"),
        ({"rows": 320, "places": 64}, "rows in flight", "16 rows were in flight at most, and"),
        ({"rows": 320, "places": 64, "card": 0.99}, "rows in flight", "decodes up to 64 at once"),
        ({"rows": 320, "places": 64, "card": 0.1, "prompt": 3.0}, "rows in flight", "allow more"),
        ({"rows": 40, "at_once": 1, "limit": 1, "places": 64}, "rows in flight", "1 row was in"),
        ({"rows": 320, "straggler": 4.0}, "the batches", "smaller batches, more of them"),
    ],
)
def test_each_cause_is_named(job: dict[str, float], name: str, words: str) -> None:
    made = found(**job)  # type: ignore[arg-type]
    assert made.name == name and words in made.sentence


def test_a_job_without_answers_has_none() -> None:
    frame = pd.DataFrame({name: [float("nan")] for name in ("last_token_ts",)})
    for name in ("arrival_time", "queued_ts", "scheduled_ts", "first_token_ts"):
        frame[name] = float("nan")
    frame = frame.assign(num_input_tokens=np.nan, num_generated_tokens=np.nan, batch_uuid=None)
    assert bottleneck(compute(frame, 0.0, 5.0), timeline(frame), 16) is None


@given(
    st.integers(1, 400),
    st.floats(0.01, 100),
    st.integers(1, 64),
    st.floats(0.001, 5),
    st.floats(0.01, 5),
)
def test_any_job_has_a_cause_that_its_numbers_bear_out(
    rows: int, startup: float, at_once: int, prompt: float, answer: float
) -> None:
    limit = max(16, at_once)
    made = found(rows, startup=startup, at_once=at_once, limit=limit, prompt=prompt, answer=answer)
    bounds = {"startup": 0.5, "the tail": 0.15, "reading the prompts": 0.5}
    assert made.share >= bounds.get(made.name, 0)
    if made.name == "what feeds the engine":
        assert made.share < 0.7
