"""What `labkit.run` needs to know of a job."""

from __future__ import annotations

from typing import Any, Protocol

import pandas as pd

from labkit.hardware.machine import Machine
from labkit.tasks import Task
from labkit.weights.catalogue import Model


class Spec(Protocol):
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

    def __getitem__(self, name: str) -> Any: ...
    def describe(self) -> pd.DataFrame: ...
    def processor(self, task: Task) -> Any:
        """From a packed Dataset to one with the columns that `pipeline.Finish` reads."""
