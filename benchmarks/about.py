"""What a benchmark's file says of where its numbers come from."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

from labkit.settings.processor_spec import ProcessorSpec


def known(number: float, digits: int = 3) -> float | None:
    """A number as JSON has it, which has no NaN."""
    return None if math.isnan(number) else round(number, digits)


def about(name: str, spec: ProcessorSpec) -> dict[str, Any]:
    """Date, command, device, model and versions of a run of `python -m benchmarks.NAME`."""
    own = [f"{k}={os.environ[k]} " for k in ("LABKIT_LOAD_FORMAT",) if k in os.environ]
    return {
        "made": time.strftime("%Y-%m-%d"),
        "command": f"{''.join(own)}python -m benchmarks.{name} {' '.join(sys.argv[1:])}",
        "device": spec.machine.name,
        "model": spec.model.name,
        "weights": spec.model.note,
        "versions": dict(spec.machine.versions),
    }
