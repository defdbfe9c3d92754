"""One argument of a job with the reason for its value; and what every job's specification has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd

from labkit.errors import LabError
from labkit.hardware.machine import Machine
from labkit.settings import redaction
from labkit.weights.model import Model

#: Arguments that only say how rows are handed over: changing them needs no other engine.
NEED_NO_RELOAD = ("batch_size", "max_concurrent_batches", "max_pending_requests")


@dataclass(frozen=True)
class Setting:
    """One argument: its layer ('ray', 'vllm', 'environment', 'labkit'), value and reason.

    measured: it follows from the memory that was free at the moment, so that another value of it
    makes no other job.
    """

    layer: str
    name: str
    value: Any = field(repr=False)
    reason: str
    measured: bool = False
    shown: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", redaction.shown(self.name, self.value))


def value_of(settings: Sequence[Setting], name: str) -> Any:
    """The value of the argument of this name. Raises KeyError with the names that there are."""
    for setting in settings:
        if setting.name == name:
            return setting.value
    raise KeyError(f"{name!r} is not set here; set are {[s.name for s in settings]}")


def check_counts(values: Mapping[str, Any]) -> None:
    """Raise LabError unless each value is a whole number from 1 (None: not given)."""
    for name, value in values.items():
        if value is None:  # not given: chosen later
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise LabError(f"{name} must be a whole number from 1, not {value!r}.")


class SettingsBuilder:
    """Collects settings; what the caller overrode wins and is marked so."""

    def __init__(self, vllm: dict[str, Any], ray: dict[str, Any], environment: dict[str, str]):
        self.overrides = {"vllm": vllm, "ray": ray, "environment": environment}
        self.settings: list[Setting] = []

    def __call__(
        self, layer: str, name: str, value: Any, reason: str, measured: bool = False
    ) -> Any:
        if name in self.overrides[layer]:
            value, reason, measured = self.overrides[layer].pop(name), "set by you", False
        self.settings.append(Setting(layer, name, value, reason, measured))
        return value

    def add_the_rest(self) -> None:
        for layer, left in self.overrides.items():
            for name, value in left.items():
                self.settings.append(Setting(layer, name, value, "set by you"))


class JobSpec(Protocol):
    """A ProcessorSpec, or an EndpointSpec."""

    @property
    def machine(self) -> Machine: ...
    @property
    def model(self) -> Model: ...
    @property
    def replicas(self) -> int: ...
    @property
    def rows_in_flight(self) -> int: ...
    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""

    @property
    def patience_s(self) -> float:
        """Seconds that a batch may take by its own settings (all tries of a server); else 0."""

    def __getitem__(self, name: str) -> Any: ...
    def describe(self) -> pd.DataFrame: ...
