"""What a check-up found: a table of checks, each with a one-line fix."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from labkit.pages.html_table import show

OK, WARN, FAIL = "ok", "warning", "FAIL"


@dataclass(frozen=True)
class Check:
    """One finding: `state` is 'ok', 'warning' (a job runs, but …) or 'FAIL' (a job can't run)."""

    name: str
    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """All findings; `healthy` when a job could run."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """True when no check failed."""
        return all(check.state != FAIL for check in self.checks)

    def table(self) -> pd.DataFrame:
        """One row a check: state, what was found, what to do."""
        rows = [(c.name, c.state, c.found, c.fix) for c in self.checks]
        return pd.DataFrame(rows, columns=["check", "state", "found", "what to do"]).set_index(
            "check"
        )

    def _repr_html_(self) -> str:
        return show(self.table())._repr_html_()

    def __str__(self) -> str:
        marks = {OK: "ok     ", WARN: "warning", FAIL: "FAIL   "}
        lines = []
        for check in self.checks:
            lines.append(f"{marks[check.state]}  {check.name:<14} {check.found}")
            if check.fix:
                lines.append(f"{'':25}→ {check.fix}")
        bad = sum(check.state == FAIL for check in self.checks)
        lines.append("A job can run here." if not bad else f"A job can't run here: {bad} failed.")
        return "\n".join(lines)
