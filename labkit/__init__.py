"""labkit: configure, run, measure and explain batch inference with Ray Data LLM and vLLM."""

from typing import Any

from labkit.api.checkup import doctor
from labkit.api.run_job import run
from labkit.api.serve_model import serve
from labkit.api.sweep_jobs import sweep
from labkit.api.write_job import Written, write
from labkit.datasets import load_faq, load_posts, load_prompts
from labkit.engines.warm_engine import stop as stop_engine
from labkit.errors import Cancelled, CannotSchedule, JobFailed, LabError, ModelError, Stalled
from labkit.hardware.machine import detect as this_machine
from labkit.html_table import show
from labkit.metrics import compare
from labkit.ray_session.local_cluster import local_nodes
from labkit.ray_session.session import quiet, start, stop
from labkit.results.job import Job, partial
from labkit.results.recordings import recorded, recorded_timeline, recordings, replay
from labkit.results.sweep_result import Sweep, at_product, grid, in_flight
from labkit.settings.endpoint_spec import endpoint
from labkit.settings.processor_spec import configure
from labkit.tasks import Task
from labkit.weights.catalogue import cached as cached_model
from labkit.weights.catalogue import choose as choose_model
from labkit.weights.catalogue import get as get_model
from labkit.weights.catalogue import models


def __getattr__(name: str) -> Any:
    if name == "panel":  # workers import labkit, too, and need no widgets
        from labkit.widgets.panel import panel

        return panel
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")


__version__ = "0.1.0"
__all__ = [
    "Cancelled",
    "CannotSchedule",
    "Job",
    "JobFailed",
    "LabError",
    "ModelError",
    "Stalled",
    "Sweep",
    "Task",
    "Written",
    "at_product",
    "cached_model",
    "choose_model",
    "compare",
    "configure",
    "doctor",
    "endpoint",
    "get_model",
    "grid",
    "in_flight",
    "load_faq",
    "load_posts",
    "load_prompts",
    "local_nodes",
    "models",
    "panel",
    "partial",
    "quiet",
    "recorded",
    "recorded_timeline",
    "recordings",
    "replay",
    "run",
    "serve",
    "show",
    "start",
    "stop",
    "stop_engine",
    "sweep",
    "this_machine",
    "write",
]
