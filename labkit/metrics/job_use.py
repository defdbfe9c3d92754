"""What a job's processes tell beside its rows: CPU time by kind of process, the card's time,
preemptions; of a job that is played back, on what it was recorded. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: The kinds of process of a job, as readers meet them.
DRIVER = "this program"
TEXT = "the process of prompts and texts"
FRONT_END = "the engine's front end"
CORE = "the engine's own process"


@dataclass
class EngineUse:
    """What a job's processes tell beside its rows; it is filled in when the job ends.

    preemptions: of all its engines; NaN where they do not tell. cpu_s: seconds of CPU time by kind
    of process; of several of one kind, those of the busiest. card_s: seconds that the busiest card
    ran kernels while it had rows; NaN where there is none that tells. replayed: on what a job that
    is played back was recorded, '' for a real one; clock: when that began and ended (Unix seconds).
    answers_only: what is wanted of a recording are answers: they may be of several jobs.
    """

    preemptions: float = math.nan
    cpu_s: dict[str, float] = field(default_factory=dict)
    card_s: float = math.nan
    replayed: str = ""
    clock: tuple[float, float] | None = None
    answers_only: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the engines told, without what they did not: JSON has no NaN."""
        told = {"preemptions": self.preemptions, "card_s": self.card_s}
        known = {name: value for name, value in told.items() if not math.isnan(value)}
        return {"cpu_s": self.cpu_s, **known}

    def take(self, told: Mapping[str, Any]) -> None:
        """What `as_json` gave somewhere else."""
        self.preemptions = told.get("preemptions", math.nan)
        self.card_s = told.get("card_s", math.nan)
        self.cpu_s = dict(told.get("cpu_s", {}))
