"""A replica of a warm engine, as its program sees it: the actors that it is made of, what they are
asked, and the resources and arguments that they get."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.engines.engine_actor import Engine
from labkit.engines.prompt_rendering import Text, renderer_arguments
from labkit.metrics import TEXT, EngineUse
from labkit.rows import requests
from labkit.settings.engine_defaults import STAGE_CPUS

if TYPE_CHECKING:
    from labkit.settings.processor_spec import ProcessorSpec

#: Calls that an engine's actor takes at once: more than there can be batches (Ray's default, 1000,
#: would leave an abort waiting behind them).
CALLS = 100_000


class Replica:
    """The actors of one replica: an engine, and on a GPU one for texts beside it."""

    def __init__(self, spec: ProcessorSpec, number: int, session: str):
        import ray

        environment = {"env_vars": spec.layer("environment")}
        engine: Any = ray.remote(Engine)
        self.engine = engine.options(
            **resources(spec),
            # Small engines would fill one node while the cores of another one are idle.
            scheduling_strategy="SPREAD" if spec.replicas > 1 else "DEFAULT",
            runtime_env=spec.runtime_env,
            name=f"labkit engine {number}",
            namespace=session,
            max_concurrency=CALLS,
        ).remote()
        self.text: Any = None
        own = renderer_arguments(spec)
        if spec["tokenize_stage"]:
            text: Any = ray.remote(Text)
            self.text = text.options(
                num_cpus=STAGE_CPUS, runtime_env=environment, max_concurrency=CALLS
            ).remote(own, self.engine)
        self.loading = self.engine.load.remote(engine_arguments(spec), None if self.text else own)

    def actors(self) -> list[Any]:
        """Its actors."""
        return [self.engine, self.text] if self.text else [self.engine]

    def begin(self, job: int, rows_in_flight: int) -> list[Any]:
        """Tell it of a job: calls whose results `used` reads."""
        return [self.engine.begin.remote(job, rows_in_flight), *self._texts()]

    def use(self) -> list[Any]:
        """Ask what it has done until now: calls whose results `used` reads."""
        return [self.engine.use.remote(), *self._texts()]

    def _texts(self) -> list[Any]:
        return [self.text.cpu_s.remote()] if self.text else []

    def answer(self, job: int, batch: pa.Table) -> Any:
        """Ask a batch of requests: a reference to the table of responses."""
        asked = batch.select(requests.REQUEST.names)
        if self.text is None:
            return self.engine.answer.remote(job, asked, None)
        return self.text.answer.remote(job, asked)


def used(results: list[Any]) -> EngineUse:
    """What the calls of `Replica.begin` or `Replica.use` brought."""
    use: EngineUse = results[0]
    if len(results) > 1:
        use.cpu_s[TEXT] = results[1]
    return use


def resources(spec: ProcessorSpec) -> dict[str, Any]:
    """Ray's resources of a replica's engine: those of all its bundles, on one node."""
    total: dict[str, float] = {}
    for bundle in spec["placement_group_config"]["bundles"]:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0) + amount
    options: dict[str, Any] = {"num_cpus": total.pop("CPU", 0), "num_gpus": total.pop("GPU", 0)}
    if total:
        options["resources"] = total
    with contextlib.suppress(KeyError):
        options["accelerator_type"] = spec["accelerator_type"]
    return options


def engine_arguments(spec: ProcessorSpec) -> dict[str, Any]:
    """The arguments of `vllm.AsyncEngineArgs`, with those that Ray's own stage adds."""
    parallel = spec.tensor_parallel * spec.layer("vllm").get("pipeline_parallel_size", 1)
    return {
        "model": spec["model_source"],
        "runner": "generate",
        "enable_log_requests": False,
        "distributed_executor_backend": "uni" if parallel == 1 else "mp",
        **spec.layer("vllm"),
    }
