"""A job on a seat of a class: the arguments are the class's, but for how rows are handed over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labkit.errors import LabError
from labkit.hardware import classroom_seat
from labkit.hardware.machine import detect
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.setting import NEED_NO_RELOAD, Setting
from labkit.weights.catalogue import choose

ANOTHER = (
    "it needs another engine, and a class has one for all. What it would change stands in the "
    "lesson's recorded outputs; on a machine of your own (without LABKIT_CLASS) it runs"
)


@dataclass(frozen=True)
class SeatSpec(ProcessorSpec):
    """A ProcessorSpec whose engine is the class's: it has its machine, model and settings.

    model_hash: as the class's machine tells it. most_rows: of one job, by the class's limits.
    """

    model_hash: str = ""
    most_rows: int = 0

    def with_(self, **changes: Any) -> ProcessorSpec:
        """A copy with other rows in flight (batch_size, max_concurrent_batches,
        max_pending_requests). Raises LabError for what needs another engine."""
        for name, value in changes.items():
            same = name in self.layer_names() and self[name] == value
            if name not in (*NEED_NO_RELOAD, "warm") and not same:
                raise LabError(f"{name}={value!r} can't be had on a seat: {ANOTHER}.")
        return super().with_(**{n: v for n, v in changes.items() if n != "warm"}, warm=True)

    def layer_names(self) -> set[str]:
        """The names of all arguments."""
        return {setting.name for setting in self.settings}

    @property
    def patience_s(self) -> float:
        """A seat waits for its turn as long as the class serves; the line says how long."""
        return math.inf

    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""
        return "the class's engine: asking for a turn"


def told(spec: ProcessorSpec, model_hash: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    """What a class server tells its seats of its engine, as JSON: no path and no secret."""
    model = asdict(spec.model) | {"source": spec.model.name, "why": "the class's model"}
    machine = asdict(spec.machine) | {"versions": dict(spec.machine.versions)}
    settings = [
        (s.layer, s.name, spec.model.name if s.name == "model_source" else s.shown, s.reason)
        for s in spec.settings
        if s.name != "chat_template_stage"
    ]
    return {
        "words": f"{spec.machine.name}, with {spec.model.name}",
        "machine": machine,
        "model": model,
        "settings": settings,
        "replicas": spec.replicas,
        "tensor_parallel": spec.tensor_parallel,
        "model_hash": model_hash,
        "limits": dict(limits),
    }


def seat_spec(batch_size: int | None, max_concurrent_batches: int | None) -> SeatSpec:
    """What `labkit.configure` gives on a seat. Raises LabError where there is no class."""
    about = classroom_seat.about()
    settings = tuple(Setting(*one) for one in about["settings"])
    spec = SeatSpec(
        detect(),
        choose(detect()),
        settings,
        about["replicas"],
        about["tensor_parallel"],
        warm=True,
        model_hash=about["model_hash"],
        most_rows=about["limits"]["rows"],
    )
    yours = {"batch_size": batch_size, "max_concurrent_batches": max_concurrent_batches}
    changed = spec.with_(**{name: value for name, value in yours.items() if value is not None})
    assert isinstance(changed, SeatSpec)
    return changed


def check_same(spec: SeatSpec, asked: Mapping[str, Any]) -> None:
    """Raise LabError for arguments of `configure` that need another engine than the class's."""
    for name, value in asked.items():
        there = spec[name] if name in spec.layer_names() else None
        if value != there and value != getattr(spec, name, None):
            raise LabError(f"{name}={value!r} can't be had on a seat: {ANOTHER}.")
