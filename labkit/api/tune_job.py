"""Find a good setting for some rows within a time: a search that measures as it climbs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from labkit.api.measure_job import RUNS, measure, of_engines
from labkit.engines import dispatch, warm_engine
from labkit.errors import Cancelled, LabError, lab_errors, reason
from labkit.progress import Named, View, view_of
from labkit.ray_session import job_lock
from labkit.results.sweep_file import about_sweep, append, resume
from labkit.results.tuning import (
    DELIVERY,
    OutOfTime,
    Setting,
    Trial,
    Tuning,
    as_run,
    doubled,
    search,
    trials_of,
)
from labkit.rows import requests, user_data
from labkit.settings.engines_on_card import MOST
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Row, Task

#: The part of the time that one run may take: with engines' starts, some ten settings fit.
RUN = 1 / 120
LEAST_RUN_S, MOST_RUN_S = 1.0, 20.0
#: A setting whose first run is slower than this part of the best gets no more runs.
HOPELESS = 0.9
#: Knobs of the engine, and where the search stays with each: (name, least, most).
ENGINE = (
    ("max_num_seqs", 4, 4096),
    ("max_num_batched_tokens", 512, 65536),
    ("block_size", 16, 128),
)
PER_GPU = "engines_per_gpu"
#: Seconds that a start is taken to need before one was seen (`ProcessorSpec.starting`).
START_S = {"cpu": 30.0, "gpu": 90.0}


@lab_errors("No setting could be found")
def tune(
    task: Task,
    data: pd.DataFrame | Sequence[Row],
    spec: ProcessorSpec | None = None,
    *,
    seconds: float = 420.0,
    path: str | Path | None = None,
    progress: bool | View = True,
    cancel: threading.Event | None = None,
    stall_s: float | None = None,
) -> Tuning:
    """Find how to run `task` over rows like `data` fast: the lab's own choice, then what is better.

    It turns one knob at a time and goes on where that gains: batch size and batches at the engine,
    which need no other engine; then engines a card, `max_num_seqs`, `max_num_batched_tokens` and
    `block_size`, each of which needs an engine that is started for it. What you set by hand in
    `spec` stays. Throughput is rows/s over the wall time of a warm job (`labkit.measure`).

    seconds: for all of it, starts included; no try begins that would not end in time, but for the
    first. path: a file, written try by try (JSON lines); called again with the same file, it goes
    on where it was cut off, with these `seconds` counted from the first call.
    The best engine is up afterwards only if it was the last one tried; `Tuning.spec` starts it.

    Raises LabError for data or a file that can't be used, and what `labkit.run` raises of the first
    setting; one that the engine does not take later is a trial with its error.
    """
    if not seconds > 0:
        raise LabError(f"seconds must be above 0, not {seconds!r}.")
    spec = of_engines(spec).with_(warm=True)
    rows = user_data.in_memory(data)
    about = about_sweep(task, rows, spec, 1, None, 0)
    with job_lock.one_job():
        view = view_of(progress)
        trials, spent = trials_of(path or "", resume(path, about, "search"))
        tuner = _Tuner(task, rows, spec, seconds, view, cancel, stall_s, trials, spent, path)
        unfinished = search(tuner.base(), tuner.steps, tuner.trial)
        found = Tuning(tuple(tuner.trials), unfinished, tuner.spent(), about)
        if view is not None:
            view.show(f"done: {found!r}", 1.0)
            view.close()
        return replace(found, spec=tuner.made(found.best.setting))


class _Tuner:
    """One search: its time, its trials and how they are measured."""

    def __init__(
        self,
        task: Task,
        rows: list[Row],
        spec: ProcessorSpec,
        seconds: float,
        view: View | None,
        cancel: threading.Event | None,
        stall_s: float | None,
        trials: list[Trial],
        spent: float,
        path: str | Path | None,
    ):
        self.task, self.rows, self.spec, self.seconds = task, rows, spec, seconds
        self.view, self.cancel, self.stall_s, self.path = view, cancel, stall_s, path
        self.trials = trials
        self.began = time.monotonic() - spent
        self.engine: dict[str, int] | None = None
        yours = {s.name for s in spec.settings if s.reason == "set by you"}
        there = {s.name for s in spec.settings} - yours
        self.knobs = [name for name in (*DELIVERY, *(n for n, *_ in ENGINE)) if name in there]
        if spec.remake is not None:
            self.knobs.append(PER_GPU)

    def spent(self) -> float:
        """Seconds since the search began, the time between two calls left out."""
        return time.monotonic() - self.began

    def base(self) -> Setting:
        """The lab's own choice for these rows."""
        if self.trials:
            return self.trials[0].setting
        if PER_GPU in self.knobs:
            warm_engine.stop()  # or its number of engines would stay
        parameter = dispatch.parameter_of(self.spec)
        asked = requests.Batches(self.task, self.rows, parameter, self.spec["batch_size"])
        settled = dispatch.settled(self.spec, self.task, asked)
        assert isinstance(settled, ProcessorSpec)
        number = {PER_GPU: int(settled.engines_per_gpu)} if PER_GPU in self.knobs else {}
        return {name: settled[name] for name in self.knobs if name != PER_GPU} | number

    def made(self, setting: Setting) -> ProcessorSpec:
        """The specification with a setting. Raises LabError where it can't be."""
        spec = self.spec.with_engines(setting[PER_GPU]) if PER_GPU in setting else self.spec
        changes = {name: value for name, value in setting.items() if name != PER_GPU}
        size, batches = (changes.get(name, spec[name]) for name in DELIVERY)
        return spec.with_(**changes, max_pending_requests=size * batches)

    def steps(self, setting: Setting) -> Iterator[tuple[str, Callable[[Setting], Setting | None]]]:
        """First what needs no other engine, then by what was worth most on GPUs."""
        ways: list[tuple[str, str, float, int, int]] = []
        for name in DELIVERY:
            if name in setting:
                words = "batches" if name == DELIVERY[1] else "rows a batch"
                ways += [
                    (f"more {words}", name, 2, 1, 4096),
                    (f"fewer {words}", name, 0.5, 1, 4096),
                ]
        if PER_GPU in setting:
            ways += [("more engines a card", PER_GPU, 2, 1, 2 * MOST)]
            ways += [("fewer engines a card", PER_GPU, 0.5, 1, 2 * MOST)]
        for name, least, most in ENGINE:
            if name in setting:
                ways += [(f"a larger {name}", name, 2, least, most)]
                ways += [(f"a smaller {name}", name, 0.5, least, most)]
        for words, name, factor, least, most in ways:
            step = doubled(name, factor, least, most)
            yield words, partial(_with_batches, step, factor) if name == "max_num_seqs" else step

    def trial(self, setting: Setting) -> Trial:
        """Measure a setting, unless that was done before. Raises OutOfTime."""
        for known in self.trials:
            if known.setting == setting:
                return known
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("The search was cancelled.")
        engine = {name: value for name, value in setting.items() if name not in DELIVERY}
        new = engine != self.engine
        if self.trials and self.spent() + self._estimate(new) > self.seconds:
            raise OutOfTime
        words = ", ".join(f"{name}={value}" for name, value in setting.items())
        shown = Named(self.view, f"try {len(self.trials) + 1}: {words}", self._share)
        best = max((trial.median for trial in self.trials), default=0.0)
        run_s = min(MOST_RUN_S, max(LEAST_RUN_S, RUN * self.seconds))
        try:
            done = measure(
                self.task,
                self.rows,
                self.made(setting),
                seconds=run_s,
                rows=self.trials[0].rows if self.trials else None,
                progress=shown if self.view is not None else False,
                cancel=self.cancel,
                stall_s=self.stall_s,
                enough=lambda rates: (
                    max(rates) < HOPELESS * best or bool(best and self.spent() > self.seconds)
                ),
            )
            self.engine = engine
            rates = tuple(round(rate, 2) for rate in done.rows_per_s)
            trial = Trial(setting, rates, round(done.start_s, 1), done.rows)
        except LabError as problem:
            if isinstance(problem, Cancelled) or not self.trials:
                raise
            self.engine = None
            trial = Trial(setting, error=reason(problem))
        self.trials.append(trial)
        append(self.path, as_run(trial, self.spent()))
        return trial

    def _share(self, _: float) -> float:
        """The part of the time that is gone."""
        return min(1.0, self.spent() / self.seconds)

    def _estimate(self, new: bool) -> float:
        """Seconds that a further try will take."""
        good = [trial for trial in self.trials if trial.rows_per_s]
        starts = [trial.start_s for trial in good if trial.start_s]
        start = max(starts, default=START_S[self.spec.machine.device]) if new else 0.0
        return start + (RUNS + new) * max(trial.rows / trial.median for trial in good)


def _with_batches(
    step: Callable[[Setting], Setting | None], factor: float, setting: Setting
) -> Setting | None:
    """As many rows in flight for each row that is decoded as before."""
    there = step(setting)
    if there is None or DELIVERY[1] not in there:
        return there
    return {**there, DELIVERY[1]: max(1, int(there[DELIVERY[1]] * factor))}
