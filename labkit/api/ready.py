"""Is all here that a lesson needs? One line, with its tables folded below it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from labkit.api.checkup import doctor
from labkit.api.report import FAIL, WARN, Report
from labkit.engines.recorded_jobs import replayed_words
from labkit.errors import lab_errors
from labkit.hardware import classroom_seat
from labkit.hardware import machine as machines
from labkit.hardware.classroom_seat import seated
from labkit.hardware.machine import Machine
from labkit.hardware.recorded_machine import replaying
from labkit.pages.html_table import show
from labkit.weights import catalogue as models
from labkit.weights.model import Model


@dataclass(frozen=True)
class Ready:
    """What `ready` found. A notebook shows one line; the tables are folded below it.

    machine: this computer. model: the default model here. report: of `labkit.doctor`.
    """

    machine: Machine
    model: Model
    report: Report

    def __str__(self) -> str:
        found = [check for check in self.report.checks if check.state == FAIL]
        if found:
            return "Not ready. " + " ".join(f"{c.name}: {c.found}. {c.fix}." for c in found)
        warned = sum(check.state == WARN for check in self.report.checks)
        warnings = f" · {warned} warning{'s' if warned > 1 else ''}, see below" if warned else ""
        ready = "Ready"
        if replaying():
            ready = f"REPLAY, no engine runs here: jobs are {replayed_words()}. Ready"
        elif seated():
            ready = f"A seat of a class, no engine runs here: {classroom_seat.words()}. Ready"
        return (
            f"{ready}: {self.machine.described} · {self.machine.available_gib:.0f} GiB of memory "
            f"free · model {self.model.name} · {self.machine.profile} profile{warnings}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        model = f"{self.model.name}: {self.model.why}" + (
            f"; {self.model.note}" if self.model.note else ""
        )
        inside = show(self.machine.table())._repr_html_() + self.report._repr_html_()
        color = "#1a7f37" if self.report.healthy else "#b3261e"
        return (
            f'<details><summary style="font-weight: 600; color: {color}">{escape(str(self))}'
            f"</summary><p>{escape(model)}</p>{inside}</details>"
        )


@lab_errors("This machine could not be looked at")
def ready(model: str | None = None) -> Ready:
    """Look at this machine: one line that says whether a lesson can begin, and on what.

    model: a name for `labkit.get_model`; None for this machine's default. Starts no engine, and
    takes a second or two; a packaged model is converted on its first use.
    Raises ModelError where the model can't be had.
    """
    machine = machines.detect()
    found = models.get(model) if model else models.choose(machine)
    return Ready(machine, found, doctor(machine=machine, model=model))
