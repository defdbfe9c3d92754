"""Sentences of the lessons: on jobs as a fast, a slow and a noisy machine gives them, none of them
contradicts its numbers."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from labkit import claims, metrics
from labkit.quality import Quality
from labkit.results.sweep_result import NOISE, Sweep

#: How fast a machine is: seconds for a step.
MACHINES = {"fast": 0.001, "slow": 0.5, "usual": 0.02}


def a_job(
    rows: int = 32,
    at_once: int = 8,
    *,
    step: float = 0.02,
    lengths: int | list[int] = 30,
    startup: float = 20.0,
    prompt: int = 40,
    cached: int | None = None,
    batch: int = 8,
) -> Any:
    """A job's numbers without an engine: `at_once` rows are decoded, the others wait."""
    length = lengths if isinstance(lengths, list) else [lengths] * rows
    free, times = [0.0] * at_once, []
    for number in range(rows):
        at = min(range(at_once), key=free.__getitem__)
        begin = free[at]
        first = begin + 5 * step
        free[at] = first + step * length[number]
        times.append((0.0, begin, first, free[at]))
    frame = pd.DataFrame(
        times, columns=["queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts"]
    )
    frame = frame.assign(
        arrival_time=1000.0,
        num_input_tokens=prompt,
        num_generated_tokens=length,
        batch_uuid=[f"b{number // batch}" for number in range(rows)],
    )
    if cached is not None:
        frame = frame.assign(num_cached_tokens=cached)
    numbers = metrics.compute(frame, 1000.0 - startup, 1000.0 + max(free) + 0.1)
    spec = SimpleNamespace(rows_in_flight=at_once, replicas=1)
    timeline = metrics.timeline(frame, 1000.0 - startup)
    return SimpleNamespace(metrics=numbers, timeline=lambda: timeline, spec=spec)


def a_sweep(points: dict[int, float | list[float]], limit: float = math.inf) -> Sweep:
    runs = []
    for rows, rates in points.items():
        for rate in rates if isinstance(rates, list) else [rates]:
            runs.append(
                {
                    **dict.fromkeys(metrics.Metrics.__dataclass_fields__, 1.0),
                    **{"batch_size": rows, "max_concurrent_batches": 1, "rows_in_flight": rows},
                    **{"output_tokens_per_s": rate, "rows_per_s": rate / 10},
                }
            )
    settings = {} if math.isinf(limit) else {"vllm max_num_seqs": limit}
    return Sweep(pd.DataFrame(runs), {"settings": settings, "device": "toy", "versions": {}})


def numbers(text: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


@pytest.fixture(params=MACHINES.values(), ids=MACHINES)
def step(request: Any) -> float:
    return float(request.param)


def test_a_sentence_is_text_without_quotes() -> None:
    said = claims.Sentence("a < b")
    assert repr(said) == "a < b" == said and "a &lt; b" in said._repr_html_()


def test_a_sentence_on_a_job_that_is_played_back_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_REPLAY", "1")
    said = claims.Sentence("a")
    assert repr(said) == "REPLAY: a" and "REPLAY: a" in said._repr_html_() and said == "a"


def test_a_speed_up_is_the_ratio_and_noise_is_no_difference(step: float) -> None:
    one, many = a_job(at_once=1, step=step), a_job(at_once=8, step=step)
    said = claims.speed_up({"one": one, "many": many})
    ratio = many.metrics.output_tokens_per_s / one.metrics.output_tokens_per_s
    assert f"{ratio:.1f}×" in said and "can't tell" not in said
    near = a_job(at_once=8, step=step * 1.1)
    assert "can't tell" in claims.speed_up({"a": many, "b": near})


@pytest.mark.parametrize("seconds", [0.0, 5e-5, 0.0009, 0.001, 0.059, 4.97, 1e4])
def test_no_number_is_written_with_an_exponent(seconds: float) -> None:
    told = claims._number(seconds).replace(",", "")
    assert "e" not in told and float(told) == pytest.approx(seconds, rel=0.02, abs=0.001)


@pytest.mark.parametrize("startup", [0.1, 5.0, 60.0])
def test_startup_is_the_share_that_it_was(startup: float, step: float) -> None:
    job = a_job(step=step, startup=startup)
    said = claims.startup({"this": job})
    assert f"{job.metrics.startup_s / job.metrics.wall_s:.0%} of “this”" in said


def test_the_parts_of_a_row_add_up(step: float) -> None:
    job = a_job(rows=64, step=step)
    times = job.timeline()
    whole = (times["last_token_s"] - times["queued_s"]).mean()
    assert sum(claims._parts(job)) == pytest.approx(whole)
    said = claims.latency(a_job(at_once=1, rows=8, step=step), job)
    wait, read, write = numbers(said)[-3:]
    assert wait + read + write == pytest.approx(whole, rel=0.1)
    shares = claims.prefill_and_decode(a_job(prompt=60, lengths=40))
    assert "60% were input" in shares and "40% output" in shares


#: Rates by rows in flight → what must be said, and what must not.
CURVES = [
    ({1: 100, 4: 400, 16: 1600}, "80% or more. to the last point", "falls behind"),
    ({1: 100, 4: 380, 16: 1000, 64: 1200}, "up to 4, and falls behind it beyond", "before 4"),
    ({1: 15.1, 4: 39.4, 16: 84.3, 64: 119.5}, "falls behind perfect scaling before 4", "keeps to"),
    ({1: 100, 4: 390, 16: 1500, 64: 700}, "Beyond 16 it falls again", "last point"),
    ({1: 100, 4: 390, 16: 1500, 64: 1400}, "up to 16, and falls behind it beyond", "falls again"),
    ({1: [90, 110], 4: [300, 500]}, "to the last point", "falls behind"),
    ({4: 50, 8: 99}, "1.98×|2.0×", "falls again"),
]


@pytest.mark.parametrize(("points", "told", "not_told"), CURVES)
@pytest.mark.parametrize("scale", [0.01, 1, 1000])
def test_a_curve_is_called_what_it_is(
    points: dict[int, Any], told: str, not_told: str, scale: float
) -> None:
    """On a machine of any speed."""
    scaled = {
        n: [scale * r for r in rates] if isinstance(rates, list) else scale * rates
        for n, rates in points.items()
    }
    said = claims.sharing(a_sweep(scaled))
    assert re.search(told, said) and not_told not in said
    assert claims.sharing(a_sweep(scaled), "rows/s") == said


def test_the_review_s_own_curve() -> None:
    said = claims.sharing(a_sweep({1: 15.1, 4: 39.4, 16: 84.3, 64: 119.5}))
    assert "4.0×, 16.0× and 64×" in said and "2.6×, 5.6× and 7.9×" in said
    assert "65%, 35% and 12%" in said


def test_beyond_max_num_seqs_no_more_rows_share() -> None:
    curve = claims.scaling(a_sweep({1: 10, 64: 640, 128: 640}, limit=64))
    assert list(curve["perfect"]) == [1, 64, 64] and list(curve["share"]) == [1, 1, 1]
    assert claims.sharing(a_sweep({8: 1.0})) == "One point is no curve: measure at least two."


def test_the_best_point_is_not_the_last_one() -> None:
    said = claims.best_points({"H100": a_sweep({1: 10, 64: 820, 256: 570})})
    assert said == "H100: 82× at 64 rows in flight, against 1 in flight."


def test_batches_of_one_limit(step: float) -> None:
    full = a_job(at_once=8, rows=64, step=step)
    near = a_job(at_once=8, rows=64, step=step * 1.15)
    slow = a_job(at_once=8, rows=64, step=step * 2)
    assert "can't be told apart" in claims.rows_in_flight({"small": full, "large": near})
    said = claims.rows_in_flight({"small": full, "large": slow})
    assert "The fastest, small, has 2.0×" in said and "Up to 8 rows" in said


def test_stragglers_are_counted(step: float) -> None:
    lengths = [100, *[5] * 7] * 4
    said = claims.stragglers(a_job(at_once=32, lengths=lengths, step=step))
    assert said.startswith("Stragglers (4 of 32 rows) held back 4 of 4 batches.")
    assert "held back 0 of 4 batches" in claims.stragglers(a_job(at_once=32, step=step))


@pytest.mark.parametrize("ratio", [0.3, 0.9, 1.0, 1.1, 3.0])
def test_the_prefix_cache_in_either_direction(ratio: float) -> None:
    """Whichever was faster; and nothing of hits where they are not known."""
    front, behind = a_job(step=0.01, cached=32), a_job(step=0.01 * ratio, cached=0)
    said = claims.prefix_cache({"behind": behind, "front": front})
    assert ("can't tell" in said) == (1 - NOISE <= ratio <= 1 / (1 - NOISE))
    if ratio > 2:
        assert said.startswith("“behind” took")
    if ratio < 0.5:
        assert said.startswith("“front” took")
    assert "80% (front)" in said and "0% (behind)" in said
    assert "cache" not in claims.prefix_cache({"a": a_job(), "b": a_job(step=1)})


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.5])
def test_longer_prompts_need_not_take_longer(ratio: float) -> None:
    said = claims.few_shot(
        a_job(prompt=77, cached=32), a_job(prompt=191, step=0.02 * ratio, cached=160)
    )
    assert "2.5× as long (191 against 77" in said
    assert ("can't tell" in said) == (ratio == 1.0)
    assert said.endswith("So 31 tokens a row were left to read, against 45.")


def quality(f1: float, half: float = 0.05) -> Quality:
    return Quality(150, f1, f1 - half, f1 + half, f1, f1 - half, f1 + half)


def test_better_only_where_intervals_part() -> None:
    scores = {
        "list": quality(0.6),
        "weak": quality(0.4),
        "near": quality(0.65),
        "good": quality(0.8),
    }
    said = claims.best_labels(scores, ["weak", "near", "good"], "list")
    assert said == (
        "By macro-F1: good is better than list; near can't be told from list on 150 rows; weak is "
        "worse than list."
    )
    none = claims.best_labels(scores, ["weak", "near"], "list")
    assert none.endswith("On these rows no model of this table is shown to beat list.")
    assert claims.compared(scores, "weak", "good").endswith("Good is better.")
    assert claims.compared(scores, "good", "weak").endswith("Good is better.")
    assert "overlap" in claims.compared(scores, "near", "list")


def test_what_was_never_said() -> None:
    labels = ("a", "b")
    assert claims.never_said(["a", "a"], labels, "it") == "In 2 rows it never said b."
    assert claims.never_said(["a", "b"], labels, "it") == "Of 2 rows it called a 50% and b 50%."


def test_a_label_said_once_in_many_rows_is_not_said_to_be_none() -> None:
    rare = ["a"] * 299 + ["b"]
    said = claims.never_said(iter(rare), ("a", "b"), "it")
    assert said == "Of 300 rows it called a over 99% and b under 1%."


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("abc", "All 3 answers are the same."),
        ("abx", "2 of 3 answers are the same (67%)."),
        ("xyz", "0 of 3 answers are the same (0%)."),
        ("ab", "All 2 answers are the same."),  # one row failed there
        ("", "No row was answered by both."),
    ],
)
def test_answers_of_two_engines_are_compared_row_by_row(other: str, told: str) -> None:
    """Joined by id, in whatever order they came."""

    def answers(texts: str) -> Any:
        frame = pd.DataFrame({"id": range(len(texts)), "says": list(texts)})
        return SimpleNamespace(answers=frame.iloc[::-1])

    assert claims.agreement(answers("abc"), answers(other)) == told


@pytest.mark.parametrize(("texts", "told"), [("aabc", "1 of 2"), ("abbb", "2 of 2")])
def test_texts_are_counted_by_temperature(texts: str, told: str) -> None:
    tried = pd.DataFrame({"temperature": [0.0, 0.0, 1.2, 1.2], "answer": list(texts)})
    said = claims.different_texts(tried, "temperature")
    assert said.startswith(f"Different texts: {told} at temperature 0 and ")
    assert said.endswith(f"{len(set(texts[2:]))} of 2 at temperature 1.2.")


@pytest.mark.parametrize(("ratio", "told"), [(1.0, "can't tell"), (1.98, "2.0×"), (0.4, "0.4×")])
def test_replicas(ratio: float, told: str) -> None:
    assert told in claims.replicas(a_job(step=0.02), a_job(step=0.02 / ratio))
