"""Decide every argument of a job on this machine, or against a server."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from labkit.engines.warm_engine import free_of_ours
from labkit.errors import LabError, lab_errors
from labkit.hardware import machine as machines
from labkit.hardware.classroom_seat import lent
from labkit.settings.endpoint_spec import MAX_RETRIES, EndpointSpec
from labkit.settings.engine_defaults import (
    cpu_engine,
    gpu_engine,
    ray_fields,
)
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.seat_spec import SeatSpec, check_same, seat_spec
from labkit.settings.setting import SettingsBuilder, check_counts
from labkit.weights import catalogue as models


@lab_errors("The engine could not be configured")
def configure(
    model: models.Model | str | None = None,
    machine: machines.Machine | None = None,
    *,
    batch_size: int | None = None,
    max_concurrent_batches: int | None = None,
    replicas: int = 1,
    tensor_parallel: int = 1,
    engine: Mapping[str, Any] | None = None,
    ray: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    gpu_share: float = 1.0,
    engines_per_gpu: int | str = "auto",
    warm: bool = False,
) -> ProcessorSpec:
    """Decide every argument of a Ray Data LLM job on this machine.

    model: a Model, a name for `labkit.get_model`, or None for this machine's default.
    batch_size: rows Ray hands to the engine at once (delivery; vLLM batches continuously).
    max_concurrent_batches: batches at the engine at the same time.
    replicas: engines, each with its own copy of the weights and on cards of its own.
    tensor_parallel: GPUs that share one copy of the weights.
    engine, ray, environment: override or add any vLLM argument, field of
    `vLLMEngineProcessorConfig`, or environment variable of the engine's process.
    gpu_share: the part of a card that a replica takes, such as 0.5 for two replicas on each; with
    it, `replicas` counts all engines and none is added.
    engines_per_gpu: engines that share each card, for short answers of a small model, which are
    bound by what feeds an engine; `replicas` × these run. "auto": settled when a job starts, by
    its rows, the model, the card and the cores (the job's `spec.describe()` says why); long rows
    and large models get one.
    warm: keep the engine up after a job, for the next one (`labkit.stop_engine` ends it). Another
    batch size, number of batches or sampling needs no reload; any other argument does.

    Raises LabError for a value that can't work, before anything starts.
    """
    if lent():
        return _of_seat(
            {"engine": engine, "ray": ray, "environment": environment},
            {"replicas": replicas, "tensor_parallel": tensor_parallel, "gpu_share": gpu_share},
            *(model, engines_per_gpu, batch_size, max_concurrent_batches),
        )
    if machine is None:
        machine = free_of_ours(machines.detect())
    if not isinstance(model, models.Model):
        model = models.get(model) if model else models.choose(machine)
    check_counts({"replicas": replicas, "tensor_parallel": tensor_parallel})
    check_counts({"batch_size": batch_size, "max_concurrent_batches": max_concurrent_batches})
    on_gpu = machine.device == "gpu"
    settings = SettingsBuilder(dict(engine or {}), dict(ray or {}), dict(environment or {}))
    if not 0 < gpu_share <= 1 or (gpu_share < 1 and tensor_parallel > 1):
        raise LabError(
            f"gpu_share must be above 0 and at most 1, and 1 with tensor_parallel, not {gpu_share}."
        )
    if engines_per_gpu != "auto":
        check_counts({"engines_per_gpu": engines_per_gpu})
        if engines_per_gpu != 1 and (not on_gpu or gpu_share < 1 or tensor_parallel > 1):
            raise LabError(
                "engines_per_gpu shares a card among engines: it needs a GPU, no gpu_share beside "
                f"it and tensor_parallel=1, not {engines_per_gpu!r}."
            )
    if isinstance(engines_per_gpu, int) and engines_per_gpu > 1:
        replicas, gpu_share = replicas * engines_per_gpu, 1 / engines_per_gpu
    if on_gpu:
        gpu_engine(settings, machine, model, replicas, tensor_parallel, gpu_share)
    else:
        cpu_engine(settings, machine, model, replicas, tensor_parallel)
    ray_fields(settings, model, on_gpu, batch_size, max_concurrent_batches, replicas)
    settings.add_the_rest()
    per_card = engines_per_gpu if isinstance(engines_per_gpu, int) else 1
    made = tuple(settings.settings)
    spec = ProcessorSpec(machine, model, made, replicas, tensor_parallel, warm, per_card)
    if engines_per_gpu != "auto" or not on_gpu or gpu_share < 1 or tensor_parallel > 1:
        return spec
    given = {
        **{"batch_size": batch_size, "max_concurrent_batches": max_concurrent_batches},
        **{"replicas": replicas, "warm": warm},
        **{"engine": engine, "ray": ray, "environment": environment},
    }
    remake = partial(_with_engines, model, machine, given)
    return replace(spec, engines_per_gpu="auto", remake=remake)


def _of_seat(
    layers: Mapping[str, Mapping[str, Any] | None],
    numbers: Mapping[str, Any],
    model: models.Model | str | None,
    engines_per_gpu: int | str,
    batch_size: int | None,
    max_concurrent_batches: int | None,
) -> SeatSpec:
    """The class's specification; LabError for arguments that need another engine."""
    check_counts({"batch_size": batch_size, "max_concurrent_batches": max_concurrent_batches})
    given = dict(layers["ray"] or {})
    size = batch_size or given.pop("batch_size", None)
    batches = max_concurrent_batches or given.pop("max_concurrent_batches", None)
    spec = seat_spec(size, batches)
    asked = {**given, **(layers["engine"] or {}), **(layers["environment"] or {})}
    check_same(spec, asked | {n: v for n, v in numbers.items() if v != 1})
    if engines_per_gpu not in ("auto", 1):
        check_same(spec, {"engines_per_gpu": engines_per_gpu})
    name = model.name if isinstance(model, models.Model) else model
    if name is not None and name != spec.model.name:
        check_same(spec, {"model": name})
    return spec


def _with_engines(
    model: models.Model, machine: machines.Machine, given: dict[str, Any], number: int
) -> ProcessorSpec:
    return configure(model, machine, engines_per_gpu=number, **given)


@lab_errors("The endpoint could not be described")
def endpoint(
    url: str,
    model: str,
    *,
    api_key: str | None = None,
    rows_in_flight: int = 16,
    batch_size: int | None = None,
    max_retries: int = MAX_RETRIES,
    timeout_s: float = 120,
    rename: Mapping[str, str | None] | None = None,
    check: bool = True,
) -> EndpointSpec:
    """A server for `labkit.run`: its base URL (usually ends in /v1) and a model it serves.

    rows_in_flight: rows sent and not yet answered. batch_size: rows Ray hands over at once; None
    for half of them. max_retries: further tries of a row, with longer and longer pauses: by default
    they outlast a server's restart of a minute. A row that fails while others are answered gets
    fewer. timeout_s: seconds for each try.
    rename: sampling parameters that this server knows by another name, such as
    {"max_tokens": "max_completion_tokens"}; None for a name leaves the parameter out.
    check: look at the server when a job starts; False where it serves a name that it does not list.
    The server must be reachable from every node of the Ray cluster.

    Raises LabError for a value that can't work; warns when a key would be sent unencrypted to
    another computer.
    """
    url = url.strip().rstrip("/") if isinstance(url, str) else url
    if not isinstance(model, str) or not model.strip():
        raise LabError("Name the model as the server does; GET …/v1/models lists its names.")
    known = models.Model(name=model.strip(), source=str(url), why="named by you")
    key = (api_key.strip() if isinstance(api_key, str) else api_key) or None
    about = (rows_in_flight, batch_size, max_retries, timeout_s, key)
    spec = EndpointSpec(url, known, *about, {} if rename is None else rename, check)
    if key and spec.sends_in_clear:
        warnings.warn(
            "The key is sent unencrypted (http) to another computer: anybody between here and "
            "there can read it. Use an https URL, or a tunnel to this computer.",
            stacklevel=2,
        )
    return spec
