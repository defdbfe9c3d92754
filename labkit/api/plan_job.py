"""Before a job: how long it will take, what it will cost, and what to mend first."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from labkit.api.measure_job import LEAST, Measurement, measure, of_engines
from labkit.engines import dispatch
from labkit.engines.prompt_rendering import Renderer, renderer_arguments
from labkit.errors import LabError, lab_errors
from labkit.progress import View
from labkit.ray_session import job_lock, session
from labkit.results import job_estimate, planning, recordings
from labkit.results.job_estimate import Run
from labkit.results.planning import Plan
from labkit.results.recorded_rates import elsewhere
from labkit.rows import requests, user_data
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Row, Task

#: Rows whose prompts are made and counted.
SAMPLE = 1000
#: Runs that a plan has at least, and at most: with more, each is larger instead.
FEWEST, MOST = 3, 8
#: An interval that is wide gets more runs, in so many times the seconds at most.
LONGEST = 2.0


@lab_errors("The job could not be planned")
def plan(
    task: Task,
    data: pd.DataFrame | Sequence[Row],
    spec: ProcessorSpec | None = None,
    *,
    total: int | None = None,
    seconds: float = 60.0,
    price_per_hour: float | Mapping[str, float] | None = None,
    currency: str = "",
    progress: bool | View = True,
    cancel: threading.Event | None = None,
    stall_s: float | None = None,
) -> Plan:
    """How long `task` over `data` will take, with an interval of 90% for a machine that stays as
    busy as it is; machine-hours and price; and warnings. The method: `results.job_estimate`.

    Some of the rows are run for it on a warm engine, which stays up. Tokens are counted on a sample
    with the model's own chat template and tokenizer.

    data: the job's rows, or a sample of them; total: how many the job has, if more than these.
    spec: None for this machine's defaults. seconds: about how long the runs take, the start of the
    engine aside (longer, where so few rows do not fill it, and up to twice as long where the
    interval is wider than 25%); more make the interval narrower.
    price_per_hour: of all that the job runs on; or by machine: {"here": 0.4, "H100": 2.5}, where a
    name is a part of that of a recorded machine. currency: shown beside prices.
    progress, cancel, stall_s: as in `labkit.run`.

    Raises LabError for values that can't be used and for an endpoint, and what `labkit.run` raises.
    """
    began = time.monotonic()
    prices = _prices(price_per_hour)
    if not seconds > 0:
        raise LabError(f"seconds must be above 0, not {seconds!r}.")
    requests.check_task(task)
    rows = user_data.in_memory(data)
    total = len(rows) if total is None else total
    if isinstance(total, bool) or not isinstance(total, int) or total < len(rows):
        raise LabError(f"total counts the job's rows: at least the {len(rows):,} of the data.")
    spec = _settled(of_engines(spec).with_(warm=True), task, rows, total)
    task = replace(task, any_text=True)  # the time is wanted, and a text of another form takes it
    some = random.Random(1).sample(rows, min(SAMPLE, len(rows)))
    with session.quiet():  # a tokenizer warns of each long row
        lengths, outcome = _counted(task, some, spec)
    with job_lock.one_job():
        shown: dict[str, Any] = {"progress": progress, "cancel": cancel, "stall_s": stall_s}
        runs, start_s = _runs(task, rows, spec, total, seconds, shown)
    inputs = job_estimate.ratio(lengths, [1] * len(lengths))
    outputs = job_estimate.ratio([run.output_tokens for run in runs], [run.rows for run in runs])
    sweeps = [recordings.recorded(name) for name in recordings.recordings().index]
    took = job_estimate.job_seconds(total, runs)
    ran = {"answered": sum(run.rows for run in runs), "cut": sum(run.cut for run in runs)}
    return Plan(
        rows=total,
        machine=spec.machine.name,
        model=spec.model.name,
        seconds=took,
        start_s=start_s,
        input_tokens=inputs,
        output_tokens=outputs,
        sample=len(some),
        runs=tuple(runs),
        warnings=planning.told_warnings(width=took.width, sample=len(some), **outcome, **ran),
        prices=prices,
        currency=currency,
        elsewhere=elsewhere(total, spec.model.name, inputs.value, outputs.value, sweeps),
        measured_s=time.monotonic() - began - start_s,
    )


def _prices(price: float | Mapping[str, float] | None) -> dict[str, float]:
    if price is None:
        return {}
    prices = dict(price) if isinstance(price, Mapping) else {planning.HERE: price}
    for name, value in prices.items():
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not 0 <= value < math.inf or not isinstance(name, str) or not name:
            raise LabError(
                "price_per_hour must be a number from 0, or numbers by machine such as "
                f"{{'here': 0.4, 'H100': 2.5}}, not {price!r}."
            )
    return prices


def _settled(spec: ProcessorSpec, task: Task, rows: list[Row], total: int) -> ProcessorSpec:
    """With as many engines on a card as the whole job takes, not as a short run would."""
    asked = requests.Batches(task, rows, dispatch.parameter_of(spec), spec["batch_size"])
    settled = dispatch.settled(spec, task, asked, total, part=True)
    assert isinstance(settled, ProcessorSpec)
    return settled


def _counted(
    task: Task, some: list[Row], spec: ProcessorSpec
) -> tuple[list[float], dict[str, int]]:
    """(tokens of the prompts that can be made, how many rows are refused, too long for the context,
    or may not end within it)."""
    made = requests.make(task, some, dispatch.parameter_of(spec))
    prompts, errors = Renderer(**renderer_arguments(spec)).encode(made)
    limit = spec.layer("vllm").get("max_model_len")
    good = [
        (len(prompt), requests.sampling_of(sampling).get("max_tokens"))
        for prompt, error, sampling in zip(
            prompts, errors, made["sampling"].to_pylist(), strict=True
        )
        if error is None
    ]
    fits = [(length, most) for length, most in good if limit is None or length < limit]
    tight = [length for length, most in fits if limit and most and length + most > limit]
    return [float(length) for length, _ in good], {
        "refused": len(some) - len(good),
        "too_long": len(good) - len(fits),
        "may_not_end": len(tight),
        "limit": limit or 0,
    }


def _runs(
    task: Task,
    rows: list[Row],
    spec: ProcessorSpec,
    total: int,
    seconds: float,
    shown: dict[str, Any],
) -> tuple[list[Run], float]:
    """(the runs, seconds until the engine was up). A first, small one tells how many rows there is
    time for."""
    most = min(total, len(rows))
    first = measure(task, rows, spec, rows=min(spec.rows_in_flight, most), runs=1, **shown)
    number, repeats = _size(first.rows_per_s[0] * seconds, spec.rows_in_flight, most)
    runs: list[Run] = []
    began = time.monotonic()

    def unsure() -> bool:
        took = time.monotonic() - began
        late = took + took / len(runs) > LONGEST * seconds
        return not late and job_estimate.job_seconds(total, runs).width > planning.WIDE

    while len(runs) < repeats or (len(runs) < MOST and unsure()):
        skip = first.rows + len(runs) * number
        one = measure(task, rows, spec, rows=number, runs=1, skip=skip, **shown)
        runs.append(_run(one))
    return runs, first.start_s


def _size(affordable: float, rows_in_flight: int, most: int) -> tuple[int, int]:
    """(rows of a run, runs). affordable: rows of all runs for which there is time; where these are
    too few, the runs take longer, as a run must fill the engine."""
    number = min(most, max(LEAST * rows_in_flight, round(affordable / MOST)))
    return number, max(FEWEST, min(MOST, round(affordable / number)))


def _run(one: Measurement) -> Run:
    """A run in its parts. One that is hardly more than a tail is steady as a whole."""
    m = one.metrics
    tail_s, steady = m.tail_s, float(one.rows)
    if m.output_tokens and tail_s < m.engine_span_s / 2:
        before_tail = m.steady_output_tokens_per_s * (m.engine_span_s - tail_s)
        steady *= before_tail / m.output_tokens
    else:
        tail_s = 0.0
    once_s = m.startup_s + tail_s + m.shutdown_s
    return Run(one.rows, m.wall_s, once_s, steady, m.output_tokens, m.cut)
