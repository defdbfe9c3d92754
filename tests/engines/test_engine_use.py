"""What an engine's processes tell: counted by steps, read from processes, told apart by job."""

from __future__ import annotations

import math
from types import SimpleNamespace

from labkit.engines import engine_use
from labkit.engines.engine_use import StepCounter, since
from labkit.metrics import CORE, FRONT_END, EngineUse


def test_preemptions_are_counted_step_by_step() -> None:
    counter = StepCounter()
    assert counter(object(), 3) is counter, "vLLM makes its loggers by a call"
    for preempted in (0, 2, 1):
        counter.record(None, SimpleNamespace(num_preempted_reqs=preempted))
    counter.record(object(), None)
    assert counter.preemptions == 3


def test_of_several_replicas_all_preemptions_and_the_busiest_process() -> None:
    before = [EngineUse(1, {FRONT_END: 10.0, CORE: 50.0}), EngineUse(5, {FRONT_END: 2.0})]
    after = [EngineUse(4, {FRONT_END: 11.0, CORE: 53.0}), EngineUse(5, {FRONT_END: 6.5})]
    did = since(before, after)
    assert did.preemptions == 3 and did.cpu_s == {FRONT_END: 4.5, CORE: 3.0}
    assert math.isnan(EngineUse().preemptions), "not told is no zero"


def test_of_several_cards_the_busiest_that_tells() -> None:
    nan = math.nan
    before = [EngineUse(0, card_s=seconds) for seconds in (1.0, 5.0, nan)]
    after = [EngineUse(0, card_s=seconds) for seconds in (4.0, 6.0, nan)]
    assert since(before, after).card_s == 3.0 == since(before[::-1], after[::-1]).card_s
    assert math.isnan(since(before[2:], after[2:]).card_s)


def test_the_time_of_a_process_grows_with_its_work() -> None:
    before, total = engine_use.cpu_s(), 0
    while engine_use.cpu_s() < before + 0.05:
        total += sum(range(10_000))
    assert total and engine_use.children_cpu_s() >= 0
