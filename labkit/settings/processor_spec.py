"""From a machine, a model and a few words to a real Ray Data LLM processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.engines import fork_server
from labkit.engines.warm_engine import free_of_ours
from labkit.errors import LabError
from labkit.hardware import machine as machines
from labkit.paths import short_path
from labkit.ray_session import capacity
from labkit.rows import requests
from labkit.settings.engine_defaults import (
    STAGE_CPUS,
    Chooser,
    Setting,
    check_counts,
    cpu_engine,
    gpu_engine,
    ray_fields,
)
from labkit.tasks import Task
from labkit.weights import catalogue as models

if TYPE_CHECKING:
    from ray.data.llm import vLLMEngineProcessorConfig

    RowFunction = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class ProcessorSpec:
    """Everything decided for one processor; printable, and overridable by the caller.

    Build one with `configure`. `config` makes the real `vLLMEngineProcessorConfig`, `build` the
    real Ray Data LLM processor.
    """

    machine: machines.Machine
    model: models.Model
    settings: tuple[Setting, ...]
    replicas: int = 1
    tensor_parallel: int = 1
    warm: bool = False

    def __post_init__(self) -> None:
        counts = ("batch_size", "max_concurrent_batches", "max_pending_requests", "max_num_seqs")
        check_counts({s.name: s.value for s in self.settings if s.name in counts})

    def __getitem__(self, name: str) -> Any:
        """The value of one argument, by its Ray or vLLM name."""
        for setting in self.settings:
            if setting.name == name:
                return setting.value
        raise KeyError(f"{name!r} is not set here; set are {[s.name for s in self.settings]}")

    def layer(self, layer: str) -> dict[str, Any]:
        """The arguments of one layer as a dict."""
        return {s.name: s.value for s in self.settings if s.layer == layer}

    @property
    def rows_in_flight(self) -> int:
        """The most rows at the engines, decoding or waiting for a place, over all replicas.

        min(batch_size × max_concurrent_batches, max_pending_requests) × replicas.
        """
        wanted = self["batch_size"] * self["max_concurrent_batches"]
        return min(wanted, self["max_pending_requests"]) * self.replicas

    def describe(self) -> pd.DataFrame:
        """Every Ray and vLLM argument with its value and the reason for it."""
        product = self["batch_size"] * self["max_concurrent_batches"]
        rows = [(s.layer, s.name, short_path(s.shown), s.reason) for s in self.settings]
        rows += [("→", "batch_size × max_concurrent_batches", product, "rows handed to an engine")]
        rows += [
            ("→", "rows in flight", self.rows_in_flight, "the smaller of the two, × replicas"),
            ("→", "Ray resources", str(self.bundles()), "reserved for the engines"),
        ]
        if first := self._first:
            why = "vLLM's own process is forked, not spawned: it starts sooner"
            rows.append(("→", "first in the engine's worker", ", ".join(first.values()), why))
        return pd.DataFrame(rows, columns=["layer", "argument", "value", "reason"]).set_index(
            ["layer", "argument"]
        )

    @property
    def limit(self) -> int:
        """The most rows at one replica, decoding or waiting for a place."""
        return self.rows_in_flight // self.replicas

    @property
    def runtime_env(self) -> dict[str, dict[str, str]]:
        """Ray's `runtime_env` of an engine's worker: the environment, and what it does first."""
        return {"env_vars": {**self.layer("environment"), **self._first}}

    @property
    def _first(self) -> dict[str, str]:
        return fork_server.HOOK if self.tensor_parallel == 1 else {}

    def bundles(self) -> list[dict[str, float]]:
        """The Ray resources of all engines: one bundle for each GPU (or CPU engine)."""
        return self.replicas * self["placement_group_config"]["bundles"]

    def with_(self, **changes: Any) -> ProcessorSpec:
        """A copy with some arguments changed by their Ray or vLLM name, such as `batch_size=4`."""
        warm = bool(changes.pop("warm", self.warm))
        unknown = set(changes) - {s.name for s in self.settings}
        if unknown:
            raise LabError(f"Unknown arguments {sorted(unknown)}: use configure(engine={{…}}).")
        settings = tuple(
            replace(s, value=changes[s.name], reason="set by you") if s.name in changes else s
            for s in self.settings
        )
        return replace(self, settings=settings, warm=warm)

    def config(self, **changes: Any) -> vLLMEngineProcessorConfig:
        """The real Ray Data LLM configuration; `changes` override its fields."""
        from ray.data.llm import vLLMEngineProcessorConfig

        # Ray would give the engine's runtime_env to the light stages, too.
        plain = {"runtime_env": {"env_vars": self.layer("environment")}}
        light = {
            name: {**plain, **value}
            for name, value in self.layer("ray").items()
            if name.endswith("_stage") and isinstance(value, dict)
        }
        return vLLMEngineProcessorConfig(
            **{
                **self.layer("ray"),
                **light,
                # Holds the limit also where Ray hands a short last batch over with another one.
                "max_pending_requests": self.limit,
                "engine_kwargs": self.layer("vllm"),
                "runtime_env": self.runtime_env,
                **changes,
            }
        )

    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""
        engines = "the engine" if self.replicas == 1 else f"{self.replicas} engines"
        how_long = "half a minute" if self.machine.device == "cpu" else "one to three minutes"
        return f"starting {engines} for {self.model.name} (about {how_long})"

    def ray_decodes(self, task: Task) -> bool:
        """Whether a stage of Ray turns tokens into text; stop strings need the engine to do it, and
        only the engine keeps special tokens."""
        own = {"stop", "skip_special_tokens"} & {*task.sampling, *task.sampling_columns}
        return bool(self["detokenize_stage"]) and not own

    def processor(self, task: Task) -> Any:
        """The real Ray Data LLM processor of a task: a callable from packed Dataset to Dataset."""
        in_ray = self.ray_decodes(task)
        changes: dict[str, Any] = {} if in_ray else {"detokenize_stage": False}
        return self.build(requests.preprocess(task, ray_detokenizes=in_ray), **changes)

    def build(
        self, preprocess: RowFunction, postprocess: RowFunction | None = None, **changes: Any
    ) -> Any:
        """The real Ray Data LLM processor: a callable from Dataset to Dataset.

        Raises CannotSchedule at once when the cluster lacks what the engines need (Ray itself
        would wait for ever).
        """
        self.require_room()
        return self.unchecked(preprocess, postprocess, **changes)

    def require_room(self) -> None:
        """Raise CannotSchedule unless the cluster has what the engines and light stages need."""
        capacity.require(self.bundles(), STAGE_CPUS * 5)

    def unchecked(
        self, preprocess: RowFunction, postprocess: RowFunction | None = None, **changes: Any
    ) -> Any:
        """`build` without a look at the cluster."""
        from ray.data.llm import build_processor

        light = {"num_cpus": STAGE_CPUS}
        made: Any = build_processor(
            self.config(**changes),
            preprocess=preprocess,
            postprocess=postprocess,
            preprocess_map_kwargs=light,
            postprocess_map_kwargs=light,
        )
        for stage in made.stages.values():
            if stage.fn.__name__ == "ChatTemplateUDF":
                from labkit.engines.prompt_rendering import RowByRow

                stage.fn = RowByRow
        return made


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
    warm: bool = False,
) -> ProcessorSpec:
    """Decide every argument of a Ray Data LLM job on this machine.

    model: a Model, a name for `labkit.get_model`, or None for this machine's default.
    batch_size: rows Ray hands to the engine at once (delivery; vLLM batches continuously).
    max_concurrent_batches: batches at the engine at the same time.
    replicas: engines, each with its own copy of the weights.
    tensor_parallel: GPUs that share one copy of the weights.
    engine, ray, environment: override or add any vLLM argument, field of
    `vLLMEngineProcessorConfig`, or environment variable of the engine's process.
    gpu_share: the part of a card that a replica takes, such as 0.5 for two replicas on each.
    warm: keep the engine up after a job, for the next one (`labkit.stop_engine` ends it). Another
    batch size, number of batches or sampling needs no reload; any other argument does.

    Raises LabError for a value that can't work, before anything starts.
    """
    if machine is None:
        machine = free_of_ours(machines.detect())
    if not isinstance(model, models.Model):
        model = models.get(model) if model else models.choose(machine)
    check_counts({"replicas": replicas, "tensor_parallel": tensor_parallel})
    check_counts({"batch_size": batch_size, "max_concurrent_batches": max_concurrent_batches})
    on_gpu = machine.device == "gpu"
    found = Chooser(dict(engine or {}), dict(ray or {}), dict(environment or {}))
    if not 0 < gpu_share <= 1 or (gpu_share < 1 and tensor_parallel > 1):
        raise LabError(
            f"gpu_share must be above 0 and at most 1, and 1 with tensor_parallel, not {gpu_share}."
        )
    if on_gpu:
        gpu_engine(found, machine, model, tensor_parallel, gpu_share)
    else:
        cpu_engine(found, machine, model, replicas, tensor_parallel)
    ray_fields(found, model, on_gpu, batch_size, max_concurrent_batches, replicas)
    found.add_the_rest()
    return ProcessorSpec(machine, model, tuple(found.settings), replicas, tensor_parallel, warm)
