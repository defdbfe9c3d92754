"""How many engines share one card: short answers of a small model are bound by what feeds an
engine, not by the card, and several engines feed it at once. Pure: no Ray, no engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from labkit.errors import ModelError
from labkit.hardware.nvidia import GPU
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.setting import NEED_NO_RELOAD, Setting

#: Seconds that the processes of one engine take to feed it a row, and for each token of its answer
#: (one engine on an H100 with SmolLM2-135M, docs/gpu.md and rounds before: 1,152 to 1,316 posts a
#: second with 2 output tokens each; 213 to 238 rows a second with 128, of which the card takes a
#: part).
FEED_ROW_S, FEED_TOKEN_S = 0.8e-3, 0.02e-3
#: Cores for each engine: eight on a host of 16 cores are the most that was tried there.
CORES = 2
#: More engines than these were not tried.
MOST = 8
#: Fewer rows than these for each engine do not fill it.
ROWS = 1024
#: Seconds of one engine's work that are worth the start of another one for a single job: chosen,
#: not measured; a start takes longer, but engines start side by side.
WORTH_S = 10.0
#: Rows a batch, at most, where several engines are fed: what Ray takes to hand out a batch was
#: 47 µs a row with 64 of them, 31 with 128, 15 with 256 (`python -m benchmarks.driver`).
LARGEST = 256
#: Batches that each engine should get: with fewer, one has much more to do than another.
BATCHES_EACH = 8
SIZE, BATCHES = "batch_size", "max_concurrent_batches"
#: bf16 operations a second that prefill reaches on a card, by its compute capability: half of what
#: its maker says without sparsity.
OPERATIONS = {(10, 0): 11e14, (9, 0): 5e14, (8, 0): 1.5e14}
OTHER_OPERATIONS = 0.6e14


@dataclass(frozen=True)
class Work:
    """A job's rows, as far as they are known: how many, and the tokens of a row (estimated)."""

    rows: int | None
    input_tokens: float
    output_tokens: float


def settle(spec: ProcessorSpec, work: Work, running: ProcessorSpec | None = None) -> ProcessorSpec:
    """`spec` with as many engines on a card as this work takes, and the reason as a setting.

    running: the spec of the warm engines that are up. Those that differ in their number alone are
    gone on with: a start costs more than it would bring.
    """
    if spec.engines_per_gpu != "auto" or not spec.machine.gpus:
        return _delivered(spec, work)
    if running is not None and _same(running.settled_from, spec.settings):
        handed = {s.name: s for s in spec.settings if s.name in NEED_NO_RELOAD}
        same = replace(running, settings=tuple(handed.get(s.name, s) for s in running.settings))
        return _delivered(same, work)
    number, why = engines(spec, work)
    for fewer in range(number, 1, -1):
        try:
            return _delivered(_with(spec, fewer, why), work)
        except ModelError:
            why = "more copies of the weights do not fit the card"
    return _with(spec, 1, why)


def _with(spec: ProcessorSpec, number: int, why: str) -> ProcessorSpec:
    made = spec.with_engines(number)
    setting = Setting("labkit", "engines_per_gpu", number, why)
    return replace(made, settings=(*made.settings, setting))


def _delivered(spec: ProcessorSpec, work: Work) -> ProcessorSpec:
    """Several engines of short rows get larger batches where there are enough rows: each batch
    costs the program that hands them out time of its own (LARGEST)."""
    known = {s.name: s for s in spec.settings if s.name in (SIZE, BATCHES)}
    yours = any(s.reason == "set by you" for s in known.values())
    if work.rows is None or spec.engines_per_gpu == 1 or yours:
        return spec
    limit, each = spec.limit, work.rows / (BATCHES_EACH * spec.replicas)
    size = max(known[SIZE].value, min(LARGEST, limit // 4, 2 ** int(math.log2(max(1, each)))))
    why = "several engines: fewer batches to hand out"
    if size == known[SIZE].value:
        return spec
    made = {SIZE: size, BATCHES: math.ceil(limit / size)}
    settings = tuple(
        Setting(s.layer, s.name, made[s.name], why) if s.name in made else s for s in spec.settings
    )
    return replace(spec, settings=settings)


def _same(one: Sequence[Setting], other: Sequence[Setting]) -> bool:
    """Whether engines of these settings differ in what needs no other engine alone."""
    sides = (
        {s.name: s.value for s in side if s.name not in NEED_NO_RELOAD and not s.measured}
        for side in (one, other)
    )
    return next(sides) == next(sides)


def engines(spec: ProcessorSpec, work: Work) -> tuple[int, str]:
    """(engines a card, why no more)."""
    cards, shape = spec.machine.gpus, spec.model.shape
    if spec.tensor_parallel > 1 or shape is None:
        return 1, "the weights are shared by cards, or their size is not known"
    feed = FEED_ROW_S + work.output_tokens * FEED_TOKEN_S
    card = on_card(cards[0], shape.weight_bytes / shape.dtype_bytes, work)
    words = f"a row takes about {1e3 * feed:.1f} ms to feed and {1e3 * card:.2f} ms on the card"
    limits = [
        (feed / card, words),
        (spec.machine.cores / (CORES * spec.replicas), f"{words}; the cores feed no more"),
        (MOST, f"{words}; more were not tried"),
    ]
    if work.rows is not None:
        limits.append((work.rows / ROWS / spec.replicas, f"{words}; the rows fill no more"))
        if not spec.warm:
            worth = work.rows * feed / WORTH_S / spec.replicas
            limits.append((worth, f"{words}; one job is not worth more starts"))
    least, why = min(limits, key=lambda limit: limit[0])
    return max(1, math.floor(least)), why


def on_card(card: GPU, parameters: float, work: Work) -> float:
    """Seconds that the card itself takes for a row among many: two operations for each parameter
    and token."""
    operations = OPERATIONS.get(card.compute_capability, OTHER_OPERATIONS)
    return 2 * parameters * (work.input_tokens + work.output_tokens) / operations
