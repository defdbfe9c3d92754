"""How many engines a card takes: by the rows, the model, the card, the cores and its memory."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.api import run_job
from labkit.api.configure import configure
from labkit.engines import dispatch
from labkit.engines.warm_engine import why_reload
from labkit.errors import LabError
from labkit.rows import requests
from labkit.rows.sampling_values import for_vllm
from labkit.settings.engines_on_card import MOST, Work, settle
from labkit.tasks import faq, sentiment
from labkit.weights.architecture import LLAMA_8B, Shape
from labkit.weights.model import Model
from tests.settings.test_processor_spec import H100, H100_X2, LAPTOP, T4
from tests.settings.test_processor_spec import no_hub as no_hub  # each test here has it, too

SIZES = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
SIZES |= {"num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49152}
TINY_SHAPE = Shape.of({**LLAMA_8B, **SIZES, "tie_word_embeddings": True})
TINY = Model("small", "some/small", "for the test", 0.25, 8192, TINY_SHAPE)
LARGE = Model("large", "some/large", "for the test", 15.0, 8192, Shape.of(LLAMA_8B))
POSTS, LONG = Work(33_600, 76, 3), Work(4096, 848, 32)


def engines(model: Model, work: Work, machine: Any = H100, **options: Any) -> int:
    return settle(configure(model, machine, **options), work).replicas


def test_short_rows_of_a_small_model_get_several_engines() -> None:
    spec = settle(configure(TINY, H100, warm=True), POSTS)
    assert (spec.replicas, spec["engines_per_gpu"]) == (8, 8)
    assert spec["placement_group_config"] == {"bundles": [{"CPU": 1.0, "GPU": 0.125}]}
    assert spec["gpu_memory_utilization"] == pytest.approx(0.9 / 8, abs=0.001)
    reason = spec.describe().loc[("labkit", "engines_per_gpu"), "reason"]
    assert "ms to feed" in reason and "the cores feed no more" in reason


@pytest.mark.parametrize(
    ("model", "work", "options"),
    [
        (LARGE, POSTS, {}),
        (LARGE, LONG, {}),
        (TINY, replace(POSTS, rows=200), {}),
        (TINY, POSTS, {"tensor_parallel": 2, "machine": H100_X2}),
        (TINY, POSTS, {"machine": LAPTOP}),
        (TINY, POSTS, {"engines_per_gpu": 1}),
        (replace(TINY, shape=None), POSTS, {}),
    ],
)
def test_where_one_engine_is_best_there_is_one(
    model: Model, work: Work, options: dict[str, Any]
) -> None:
    for warm in (False, True):
        assert engines(model, work, **{"machine": H100, "warm": warm, **options}) == 1


def test_cores_memory_and_the_start_are_limits() -> None:
    warm = {"warm": True}
    assert engines(TINY, POSTS, replace(H100, cores=4), **warm) == 2
    assert engines(TINY, POSTS, replace(H100, cores=256), **warm) == MOST
    assert engines(TINY, POSTS, T4, **warm) < 8, "the memory of a small card"
    assert engines(TINY, POSTS) == 2, "a cold job of half a minute"
    assert engines(TINY, Work(None, 76, 3), **warm) == 8, "the rows of a Dataset are not known"
    two = settle(configure(TINY, H100_X2, replicas=2, warm=True), replace(POSTS, rows=99_999))
    assert (two["engines_per_gpu"], two.replicas) == (4, 8), "16 cores feed two cards"


def test_what_is_set_by_hand_is_kept() -> None:
    by_hand = configure(TINY, H100, replicas=4, gpu_share=0.25, warm=True)
    assert settle(by_hand, POSTS) is by_hand and by_hand.replicas == 4
    four = configure(TINY, H100, engines_per_gpu=4, batch_size=8)
    assert (settle(four, POSTS).replicas, four["batch_size"]) == (4, 8)
    changed = settle(configure(TINY, H100, warm=True).with_(batch_size=7, max_num_seqs=99), POSTS)
    assert (changed.replicas, changed["batch_size"], changed["max_num_seqs"]) == (8, 7, 99)
    assert changed.warm


@pytest.mark.parametrize(
    ("rows", "size"), [(4200, 64), (8400, 128), (16_800, 256), (10**6, 256), (None, 64)]
)
def test_several_engines_get_larger_batches_where_there_are_enough_rows(
    rows: int | None, size: int
) -> None:
    work = replace(POSTS, rows=rows)
    for asked in (
        configure(TINY, H100, engines_per_gpu=8, warm=True),
        settle(configure(TINY, H100, warm=True), replace(POSTS, rows=99_999)),
        configure(TINY, H100, engines_per_gpu=8).with_(warm=True),
    ):
        made = settle(asked.with_(warm=True), work)
        if asked["batch_size"] == 64:
            assert (made["batch_size"], made.limit) == (size, asked.limit)
        assert settle(made, work) is made
    mine = configure(TINY, H100, engines_per_gpu=8, batch_size=16, warm=True)
    assert settle(mine, work) is mine, "what is set by hand stays"


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "many"])
def test_other_numbers_are_refused(wrong: Any) -> None:
    with pytest.raises(LabError, match="engines_per_gpu"):
        configure(TINY, H100, engines_per_gpu=wrong)


@pytest.mark.parametrize(
    "options", [{"machine": LAPTOP}, {"gpu_share": 0.5}, {"tensor_parallel": 2}], ids=str
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(LabError, match="engines_per_gpu shares a card"):
        configure(TINY, **{"machine": H100_X2, "engines_per_gpu": 2, **options})


def test_a_warm_engine_is_gone_on_with_whatever_the_rows() -> None:
    asked = configure(TINY, H100, warm=True)
    running = settle(asked, POSTS)
    for work in (LONG, Work(1, 5, 5), POSTS):
        for again in (asked, configure(TINY, H100, warm=True), asked.with_(batch_size=3)):
            kept = settle(again, work, running)
            assert why_reload(running, kept) == [] and kept.replicas == 8
            if again["batch_size"] == 3 or work.rows == 1:
                assert kept["batch_size"] == again["batch_size"]
        one = asked.with_engines(1)  # of a sweep
        assert why_reload(one, settle(asked, work, one)) == []
    other = settle(configure(TINY, H100, warm=True).with_(max_num_seqs=16), LONG, running)
    assert other is not running and other["max_num_seqs"] == 16


@given(
    st.builds(Work, st.integers(1, 10**7), st.floats(1, 4000), st.floats(1, 2000)),
    st.sampled_from([TINY, LARGE]),
    st.sampled_from([H100, T4, H100_X2]),
    st.booleans(),
)
def test_any_work_gets_engines_that_fit(work: Work, model: Model, machine: Any, warm: bool) -> None:
    if model is LARGE and machine is T4:
        return
    asked = configure(model, machine, warm=warm)
    spec = settle(asked, work)
    number = spec["engines_per_gpu"]
    assert 1 <= number <= MOST and spec.replicas == number
    assert spec["gpu_memory_utilization"] <= asked["gpu_memory_utilization"]
    assert spec.limit == asked.with_engines(number).limit and spec.warm == warm
    if number == 1:
        assert spec["batch_size"] == asked["batch_size"]
    assert settle(spec, work) is spec, "settled once"
    if not warm:  # the real configuration of Ray's processor takes it
        assert spec.config().concurrency == (number, number)


def test_the_work_is_read_from_the_requests() -> None:
    rows = [{"text": "x" * 80, "question": "y" * 4000}] * 10
    short = requests.Batches(sentiment(), rows, for_vllm, 4)
    found = dispatch._work(sentiment(), short, 10)
    assert found.rows == 10 and 20 < found.input_tokens < 120 and found.output_tokens < 5
    long = requests.Batches(faq(max_tokens=300), rows, for_vllm, 4)
    found, no_rows = dispatch._work(faq(), long, 10), requests.Batches(faq(), [], for_vllm, 4)
    assert found.input_tokens > 1000 and found.output_tokens == 300
    assert dispatch._work(faq(max_tokens=7), no_rows, 0).output_tokens == 7
    assert len(list(short)) == 3, "what was looked at is still asked"


def test_rows_are_sent_in_batches_of_the_size_that_is_settled() -> None:
    """The requests are looked at before it is; smaller ones would leave the engines half empty."""
    rows = [{"text": "x" * 80}] * 33_600
    asked = configure(TINY, H100, warm=True)
    batches = requests.Batches(sentiment(), rows, for_vllm, asked["batch_size"])
    spec = dispatch.settled(asked, sentiment(), batches)
    first, second = itertools.islice(batches, 2)
    assert first.num_rows == second.num_rows == spec["batch_size"] == 256


def test_rows_of_a_file_get_the_engines_and_batches_of_rows_in_memory() -> None:
    """A guess at their length gave six engines instead of eight, and batches of 64."""
    rows, asked = [{"text": "x" * 80}] * 33_600, configure(TINY, H100, warm=True)
    every = requests.Batches(sentiment(), rows, for_vllm, 64)
    head = requests.Batches(sentiment(), rows[:64], for_vllm, 64)
    both = [dispatch.settled(asked, sentiment(), every)]
    both.append(dispatch.settled(asked, sentiment(), head, len(rows), part=True))
    sizes = [(spec.replicas, spec["batch_size"]) for spec in both]
    assert sizes[0] == sizes[1] and sizes[0][1] == 256


@pytest.mark.parametrize(
    ("text", "engines"),
    [("x" * 80, 8), ("word " * 2000, 4), (None, None)],
    ids=["short rows", "long rows", "no rows"],
)
def test_rows_of_a_dataset_get_the_engines_of_its_first_rows(
    monkeypatch: pytest.MonkeyPatch, text: str | None, engines: int | None
) -> None:
    """Nobody knows how many they are: as many as fill all engines."""
    task = faq(max_tokens=300) if engines == 4 else sentiment()
    rows = [] if text is None else [{"text": text, "question": text}] * 64

    monkeypatch.setattr(run_job, "first_rows", lambda data, cancel, stall_s: rows)
    data: Any = object()
    spec = run_job._settled(task, data, data, configure(TINY, H100, warm=True), None, 1.0)
    assert spec.replicas == engines or text is None, "without rows any number will do"


def test_first_rows_are_wanted_where_the_number_of_engines_is_open() -> None:
    asked = configure(TINY, H100, warm=True)
    assert dispatch.open_number(asked)
    assert not dispatch.open_number(asked.with_engines(8))
    assert not dispatch.open_number(configure(TINY, LAPTOP, warm=True))
