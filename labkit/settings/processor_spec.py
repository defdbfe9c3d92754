"""Every argument of a job on engines of its own, as one object that can be shown and changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.errors import LabError
from labkit.hardware.machine import Machine
from labkit.paths import short_path
from labkit.settings.engine_defaults import WORKER_SETUP
from labkit.settings.setting import Setting, check_counts, value_of
from labkit.weights.model import Model

if TYPE_CHECKING:
    from ray.data.llm import vLLMEngineProcessorConfig


@dataclass(frozen=True)
class ProcessorSpec:
    """Everything decided for one processor; printable, and overridable by the caller.

    Build one with `labkit.configure`. `config` makes the real `vLLMEngineProcessorConfig`.
    """

    machine: Machine
    model: Model
    settings: tuple[Setting, ...]
    replicas: int = 1
    tensor_parallel: int = 1
    warm: bool = False
    #: Engines that share a card; "auto": settled when a job starts (`settings.engines_on_card`).
    engines_per_gpu: int | str = 1
    #: Makes this spec with another number of engines a card.
    remake: Callable[[int], ProcessorSpec] | None = field(default=None, compare=False, repr=False)
    #: The settings of the spec that this one was settled from.
    settled_from: tuple[Setting, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        counts = ("batch_size", "max_concurrent_batches", "max_pending_requests", "max_num_seqs")
        check_counts({s.name: s.value for s in self.settings if s.name in counts})

    def __getitem__(self, name: str) -> Any:
        """The value of one argument, by its Ray or vLLM name."""
        return value_of(self.settings, name)

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
        return WORKER_SETUP if self.tensor_parallel == 1 else {}

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
            Setting(s.layer, s.name, changes[s.name], "set by you") if s.name in changes else s
            for s in self.settings
        )
        remake = None
        if self.remake is not None:
            remake = partial(_changed, self.remake, {**changes, "warm": warm})
        return replace(self, settings=settings, warm=warm, remake=remake)

    def with_engines(self, number: int) -> ProcessorSpec:
        """This spec with so many engines on each card. Raises ModelError where they do not fit."""
        if self.remake is None or number == self.engines_per_gpu:
            return self
        made = self if number == 1 else self.remake(number)
        return replace(made, engines_per_gpu=number, remake=None, settled_from=self.settings)

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
    def patience_s(self) -> float:
        """Nothing an engine does has a limit of its own."""
        return 0.0

    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""
        engines = "the engine" if self.replicas == 1 else f"{self.replicas} engines"
        how_long = "half a minute" if self.machine.device == "cpu" else "one to three minutes"
        return f"starting {engines} for {self.model.name} (about {how_long})"


def _changed(
    remake: Callable[[int], ProcessorSpec], changes: dict[str, Any], number: int
) -> ProcessorSpec:
    return remake(number).with_(**changes)
