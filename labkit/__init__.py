"""labkit: configure, run, measure and explain batch inference with Ray Data LLM and vLLM.

The names load when they are first used (PEP 562): a worker of Ray that needs two modules does not
load fifty, and metrics, charts and panels work where Ray and vLLM are missing.
"""
# ruff: noqa: F401 (imported for readers and type checkers; at run time by _HOMES)

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.api.batch_job import Batch, run_batch
    from labkit.api.checkup import doctor
    from labkit.api.configure import configure, endpoint
    from labkit.api.demo_kill import demo_kill
    from labkit.api.measure_job import measure
    from labkit.api.plan_job import plan
    from labkit.api.ready import ready
    from labkit.api.run_job import run
    from labkit.api.serve_model import serve
    from labkit.api.sweep_jobs import sweep, sweep_engines
    from labkit.api.tune_job import tune
    from labkit.api.write_job import Written, write
    from labkit.charts.job_report import report
    from labkit.datasets import load_faq, load_posts, load_prompts
    from labkit.engines.recorded_jobs import replayed
    from labkit.engines.warm_engine import stop as stop_engine
    from labkit.errors import Cancelled, CannotSchedule, JobFailed, LabError, ModelError, Stalled
    from labkit.handed_in import hand_in
    from labkit.hardware.machine import detect as this_machine
    from labkit.metrics import compare
    from labkit.pages.html_table import show
    from labkit.pages.page import Page
    from labkit.preflight_check import preflight
    from labkit.ray_session.local_cluster import local_nodes
    from labkit.ray_session.session import quiet, start, stop
    from labkit.results.job import Job, partial
    from labkit.results.planning import Plan
    from labkit.results.recordings import (
        recorded,
        recorded_labels,
        recorded_limits,
        recorded_short_rows,
        recorded_timeline,
        recordings,
    )
    from labkit.results.sweep_point import at_product, grid, in_flight
    from labkit.results.sweep_result import Sweep
    from labkit.results.tuning import Tuning
    from labkit.sweep_comparison import compare_sweeps
    from labkit.tasks import Task
    from labkit.tasks.template import prompt
    from labkit.weights.catalogue import cached as cached_model
    from labkit.weights.catalogue import choose as choose_model
    from labkit.weights.catalogue import get as get_model
    from labkit.weights.catalogue import models
    from labkit.widgets.board_seat import share
    from labkit.widgets.panel import panel
    from labkit.widgets.replay import replay

#: Where each public name lives: module, then name (or "public name = its name there").
_HOMES = {
    "api.batch_job": "Batch run_batch",
    "api.checkup": "doctor",
    "api.configure": "configure endpoint",
    "api.demo_kill": "demo_kill",
    "api.measure_job": "measure",
    "api.plan_job": "plan",
    "api.ready": "ready",
    "api.run_job": "run",
    "api.serve_model": "serve",
    "api.sweep_jobs": "sweep sweep_engines",
    "api.tune_job": "tune",
    "api.write_job": "Written write",
    "charts.job_report": "report",
    "datasets": "load_faq load_posts load_prompts",
    "engines.recorded_jobs": "replayed",
    "engines.warm_engine": "stop_engine=stop",
    "errors": "Cancelled CannotSchedule JobFailed LabError ModelError Stalled",
    "handed_in": "hand_in",
    "hardware.machine": "this_machine=detect",
    "metrics": "compare",
    "pages.html_table": "show",
    "pages.page": "Page",
    "ray_session.local_cluster": "local_nodes",
    "ray_session.session": "quiet start stop",
    "results.job": "Job partial",
    "results.planning": "Plan",
    "results.recordings": "recorded recorded_labels recorded_limits recorded_short_rows "
    "recorded_timeline recordings",
    "results.sweep_point": "at_product grid in_flight",
    "results.sweep_result": "Sweep",
    "results.tuning": "Tuning",
    "preflight_check": "preflight",
    "sweep_comparison": "compare_sweeps",
    "tasks": "Task",
    "tasks.template": "prompt",
    "weights.catalogue": "cached_model=cached choose_model=choose get_model=get models",
    "widgets.board_seat": "share",
    "widgets.panel": "panel",
    "widgets.replay": "replay",
}
_NAMES = {
    public: (f"labkit.{module}", there or public)
    for module, names in _HOMES.items()
    for public, _, there in (name.partition("=") for name in names.split())
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    module, there = _NAMES[name]
    value = getattr(importlib.import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})


__version__ = "0.2.0"
__all__ = sorted(_NAMES)
