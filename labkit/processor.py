"""From a machine, a model and a few words to a real Ray Data LLM processor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from labkit import cluster, pipeline
from labkit import machine as machines
from labkit import model as models
from labkit.errors import LabError
from labkit.tasks import Task
from labkit.views import short_path

if TYPE_CHECKING:
    from ray.data.llm import vLLMEngineProcessorConfig

    RowFunction = Callable[[dict[str, Any]], dict[str, Any]]

#: CPUs that Ray reserves for a light stage (chat template, tokenize, detokenize, finish): each
#: is idle most of the time, and a whole CPU for each would leave none for the engine.
STAGE_CPUS = 0.1


@dataclass(frozen=True)
class Setting:
    """One argument: the layer it belongs to ('ray', 'vllm', 'environment'), value and reason."""

    layer: str
    name: str
    value: Any
    reason: str


class Spec(Protocol):
    """What `labkit.run` needs to know of a job: a ProcessorSpec, or an EndpointSpec."""

    @property
    def machine(self) -> machines.Machine: ...
    @property
    def model(self) -> models.Model: ...
    @property
    def replicas(self) -> int: ...
    @property
    def rows_in_flight(self) -> int: ...
    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""

    def __getitem__(self, name: str) -> Any: ...
    def describe(self) -> pd.DataFrame: ...
    def processor(self, task: Task) -> Any:
        """From a packed Dataset to one with the columns that `pipeline.Finish` reads."""


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

    def __post_init__(self) -> None:
        counts = ("batch_size", "max_concurrent_batches", "max_pending_requests", "max_num_seqs")
        _check_counts({s.name: s.value for s in self.settings if s.name in counts})

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
        """The most rows the engines work on at once, over all replicas.

        min(batch_size × max_concurrent_batches, max_pending_requests) × replicas.
        """
        wanted = self["batch_size"] * self["max_concurrent_batches"]
        return min(wanted, self["max_pending_requests"]) * self.replicas

    def describe(self) -> pd.DataFrame:
        """Every Ray and vLLM argument with its value and the reason for it."""
        product = self["batch_size"] * self["max_concurrent_batches"]
        rows = [(s.layer, s.name, short_path(s.value), s.reason) for s in self.settings]
        rows += [("→", "batch_size × max_concurrent_batches", product, "rows handed to an engine")]
        rows += [
            ("→", "rows in flight", self.rows_in_flight, "the smaller of the two, × replicas"),
            ("→", "Ray resources", str(self.bundles()), "reserved for the engines"),
        ]
        return pd.DataFrame(rows, columns=["layer", "argument", "value", "reason"]).set_index(
            ["layer", "argument"]
        )

    def bundles(self) -> list[dict[str, float]]:
        """The Ray resources of all engines: one bundle for each GPU (or CPU engine)."""
        return self.replicas * self["placement_group_config"]["bundles"]

    def with_(self, **changes: Any) -> ProcessorSpec:
        """A copy with some arguments changed by their Ray or vLLM name, such as `batch_size=4`."""
        unknown = set(changes) - {s.name for s in self.settings}
        if unknown:
            raise LabError(f"Unknown arguments {sorted(unknown)}: use configure(engine={{…}}).")
        settings = tuple(
            replace(s, value=changes[s.name], reason="set by you") if s.name in changes else s
            for s in self.settings
        )
        return replace(self, settings=settings)

    def config(self, **changes: Any) -> vLLMEngineProcessorConfig:
        """The real Ray Data LLM configuration; `changes` override its fields."""
        from ray.data.llm import vLLMEngineProcessorConfig

        return vLLMEngineProcessorConfig(
            **{
                **self.layer("ray"),
                # Holds the limit also where Ray hands a short last batch over with another one.
                "max_pending_requests": self.rows_in_flight // self.replicas,
                "engine_kwargs": self.layer("vllm"),
                "runtime_env": {"env_vars": self.layer("environment")},
                **changes,
            }
        )

    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""
        engines = "the engine" if self.replicas == 1 else f"{self.replicas} engines"
        return f"starting {engines} for {self.model.name} (about half a minute on a CPU)"

    def processor(self, task: Task) -> Any:
        """The real Ray Data LLM processor of a task: a callable from packed Dataset to Dataset."""
        in_ray = bool(self["detokenize_stage"]) and "stop" not in task.sampling
        changes: dict[str, Any] = {} if in_ray else {"detokenize_stage": False}
        return self.build(pipeline.preprocess(task, ray_detokenizes=in_ray), **changes)

    def build(
        self, preprocess: RowFunction, postprocess: RowFunction | None = None, **changes: Any
    ) -> Any:
        """The real Ray Data LLM processor: a callable from Dataset to Dataset.

        Raises CannotSchedule at once when the cluster lacks what the engines need (Ray itself
        would wait for ever).
        """
        from ray.data.llm import build_processor

        cluster.require(self.bundles(), STAGE_CPUS * 5)
        light = {"num_cpus": STAGE_CPUS}
        return build_processor(
            self.config(**changes),
            preprocess=preprocess,
            postprocess=postprocess,
            preprocess_map_kwargs=light,
            postprocess_map_kwargs=light,
        )


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
) -> ProcessorSpec:
    """Decide every argument of a Ray Data LLM job on this machine.

    model: a Model, a name for `labkit.get_model`, or None for this machine's default.
    batch_size: rows Ray hands to the engine at once (delivery; vLLM batches continuously).
    max_concurrent_batches: batches at the engine at the same time.
    replicas: engines, each with its own copy of the weights.
    tensor_parallel: GPUs that share one copy of the weights.
    engine, ray, environment: override or add any vLLM argument, field of
    `vLLMEngineProcessorConfig`, or environment variable of the engine's process.

    Raises LabError for a value that can't work, before anything starts.
    """
    machine = machine or machines.detect()
    if not isinstance(model, models.Model):
        model = models.get(model) if model else models.choose(machine)
    _check_counts({"replicas": replicas, "tensor_parallel": tensor_parallel})
    _check_counts({"batch_size": batch_size, "max_concurrent_batches": max_concurrent_batches})
    on_gpu = machine.device == "gpu"
    found = _Chooser(dict(engine or {}), dict(ray or {}), dict(environment or {}))
    (_gpu_engine if on_gpu else _cpu_engine)(found, machine, model, replicas, tensor_parallel)
    _ray_fields(found, model, on_gpu, batch_size, max_concurrent_batches, replicas)
    found.add_the_rest()
    return ProcessorSpec(machine, model, tuple(found.settings), replicas, tensor_parallel)


def _check_counts(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is None:  # not given: chosen later
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise LabError(f"{name} must be a whole number from 1, not {value!r}.")


class _Chooser:
    """Collects settings; what the caller overrode wins and is marked so."""

    def __init__(self, vllm: dict[str, Any], ray: dict[str, Any], environment: dict[str, str]):
        self.overrides = {"vllm": vllm, "ray": ray, "environment": environment}
        self.settings: list[Setting] = []

    def __call__(self, layer: str, name: str, value: Any, reason: str) -> Any:
        if name in self.overrides[layer]:
            value, reason = self.overrides[layer].pop(name), "set by you"
        self.settings.append(Setting(layer, name, value, reason))
        return value

    def add_the_rest(self) -> None:
        for layer, left in self.overrides.items():
            for name, value in left.items():
                self.settings.append(Setting(layer, name, value, "set by you"))


def _cpu_engine(
    choose: _Chooser, machine: machines.Machine, model: models.Model, replicas: int, parallel: int
) -> None:
    engines = replicas * parallel
    threads = max(1, machine.cores // engines)
    kv_gib = int(min(4, max(1, machine.available_gib / 8)))
    choose("vllm", "dtype", "bfloat16", "half the memory of float32; every CPU build has it")
    choose("vllm", "enforce_eager", True, "no compilation: it costs minutes on a CPU")
    seqs = 64 if machine.cores <= 8 else 256
    choose("vllm", "max_num_seqs", seqs, "rows decoded at once; beyond it CPU cores gain nothing")
    choose("vllm", "max_num_batched_tokens", 2048, "tokens a step: short steps keep decoding going")
    length = min(model.context or 2048, 2048)
    choose("vllm", "max_model_len", length, "prompt + answer; longer rows need more KV cache")
    choose("vllm", "tensor_parallel_size", parallel, "engine processes that share the weights")
    choose("environment", "VLLM_CPU_KVCACHE_SPACE", str(kv_gib), "GiB of memory for the KV cache")
    choose("environment", "VLLM_CPU_OMP_THREADS_BIND", "nobind", "replicas share the cores freely")
    choose("environment", "OMP_NUM_THREADS", str(threads), f"{machine.cores} cores / engines")
    choose(
        "environment", "VLLM_ENABLE_V1_MULTIPROCESSING", "0", "one process fewer to start (10 s)"
    )
    _quiet_environment(choose, model)
    # Two CPUs of Ray's count stay free for reading and the light stages.
    bundle = {"CPU": float(max(1, (machine.cores - 2) // engines))}
    choose(
        "ray",
        "placement_group_config",
        {"bundles": [bundle] * parallel},
        "no GPU: without this Ray waits for one for ever",
    )


def _gpu_engine(
    choose: _Chooser, machine: machines.Machine, model: models.Model, replicas: int, parallel: int
) -> None:
    gpu = machine.gpus[0]
    large = gpu.memory_gib >= 70
    modern = gpu.compute_capability >= (8, 0)
    why = f"{gpu.name}, compute capability {'.'.join(map(str, gpu.compute_capability))}"
    choose("vllm", "dtype", "bfloat16" if modern else "float16", why)
    seqs = 1024 if large else 256
    choose("vllm", "max_num_seqs", seqs, f"vLLM's own offline default for {gpu.memory_gib:.0f} GiB")
    tokens = 16384 if large else 8192
    choose("vllm", "max_num_batched_tokens", tokens, "vLLM's own offline default for such a card")
    length = min(model.context or 4096, 4096)
    choose("vllm", "max_model_len", length, "prompt + answer; longer rows need more KV cache")
    choose("vllm", "gpu_memory_utilization", 0.9, "share of the card for weights and KV cache")
    choose("vllm", "tensor_parallel_size", parallel, "GPUs that share one copy of the weights")
    _quiet_environment(choose, model)
    bundle = {"CPU": 1.0, "GPU": 1.0}
    choose(
        "ray", "placement_group_config", {"bundles": [bundle] * parallel}, "one bundle for each GPU"
    )


def _quiet_environment(choose: _Chooser, model: models.Model) -> None:
    choose("environment", "VLLM_NO_USAGE_STATS", "1", "no telemetry")
    if model.is_local:
        choose("environment", "HF_HUB_OFFLINE", "1", "local weights: no look-up in the hub")


def _ray_fields(
    choose: _Chooser,
    model: models.Model,
    on_gpu: bool,
    batch_size: int | None,
    max_concurrent_batches: int | None,
    replicas: int,
) -> None:
    seqs = next(s.value for s in choose.settings if s.name == "max_num_seqs")
    pending = choose(
        "ray",
        "max_pending_requests",
        math.ceil(1.1 * seqs),
        "Ray's own default, 1.1 × max_num_seqs: a short queue before the engine",
    )
    yours = "set by you"
    size = batch_size or (64 if on_gpu else 16)
    why = yours if batch_size else "small enough for a short tail"
    size = choose("ray", "batch_size", size, why)
    _check_counts({"batch_size": size})
    batches = max_concurrent_batches or math.ceil((pending if on_gpu else seqs) / size)
    choose(
        "ray",
        "max_concurrent_batches",
        batches,
        yours if max_concurrent_batches else "enough batches to fill max_num_seqs",
    )
    choose("ray", "concurrency", (replicas, replicas), "replicas, fixed: no autoscaling")
    choose("ray", "model_source", model.source, model.why)
    choose("ray", "should_continue_on_error", True, "a bad row comes back with its reason")
    template = {"num_cpus": STAGE_CPUS}
    if fixed := template_without_double_bos(model):
        template["chat_template"] = fixed  # type: ignore[assignment]
    choose("ray", "chat_template_stage", template, "messages → prompt, in a process of its own")
    text = {"num_cpus": STAGE_CPUS} if on_gpu else False
    why = (
        "keeps the engine's process free for the GPU"
        if on_gpu
        else "the engine does it: fewer processes for few cores"
    )
    choose("ray", "tokenize_stage", text, why)
    choose("ray", "detokenize_stage", text, why)
    choose("ray", "log_engine_metrics", False, "the lab computes its metrics from the rows")


def template_without_double_bos(model: models.Model) -> str | None:
    """The model's chat template without its BOS token, when tokenizing would add a second one.

    Ray's tokenize stage adds special tokens after the chat template, which already wrote BOS for
    Llama and others: https://github.com/vllm-project/vllm/issues/9519. None when nothing is to mend
    or the tokenizer can't be read here.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.source)
        text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    except Exception:  # the engine itself will say what is wrong with this model
        return None
    bos = tokenizer.bos_token_id
    if bos is None or tokenizer(text)["input_ids"][:2] != [bos, bos]:
        return None
    return "{%- set bos_token = '' -%}" + tokenizer.chat_template
