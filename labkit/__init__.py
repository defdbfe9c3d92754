"""labkit: configure, run, measure and explain batch inference with Ray Data LLM and vLLM."""

from typing import Any

from labkit.cluster import quiet, start, stop
from labkit.curves import Sweep, at_product, grid, in_flight
from labkit.datasets import load_faq, load_posts, load_prompts
from labkit.doctor import doctor
from labkit.endpoints import endpoint
from labkit.errors import Cancelled, CannotSchedule, JobFailed, LabError, ModelError, Stalled
from labkit.jobs import Job, partial
from labkit.localnodes import local_nodes
from labkit.machine import detect as this_machine
from labkit.metrics import compare
from labkit.model import cached as cached_model
from labkit.model import choose as choose_model
from labkit.model import get as get_model
from labkit.model import models
from labkit.processor import configure
from labkit.recordings import recorded, recorded_timeline, recordings, replay
from labkit.results import Written, write
from labkit.run import run
from labkit.server import serve
from labkit.sweep import sweep
from labkit.tasks import Task
from labkit.views import show
from labkit.warm import stop as stop_engine


def __getattr__(name: str) -> Any:
    if name == "panel":  # workers import labkit, too, and need no widgets
        from labkit.panels import panel

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
