"""What a search for a good setting tried, and how sure it is of the best. Pure: no engine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.errors import LabError
from labkit.results.sweep_lines import another, read_lines

#: A step is one for the better if the median of its runs is so much above that of the best.
GAIN = 0.03
#: A setting: the knobs that the search turns, by their Ray or vLLM name; and how many engines
#: share a card.
Setting = Mapping[str, int]
#: Knobs that need no other engine.
DELIVERY = ("batch_size", "max_concurrent_batches")


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    rows_per_s: of each run (answered rows over its wall time); empty where `error` says why the
    engine did not take it. start_s: seconds until the engine was warm (0: it was). rows: of a run.
    """

    setting: Setting
    rows_per_s: tuple[float, ...] = ()
    start_s: float = 0.0
    rows: int = 0
    error: str = ""

    @property
    def median(self) -> float:
        """Rows/s; 0 for a setting that the engine did not take."""
        return statistics.median(self.rows_per_s) if self.rows_per_s else 0.0


class OutOfTime(Exception):
    """There is no time for a further try."""


def search(
    base: Setting,
    steps: Callable[[Setting], Iterator[tuple[str, Callable[[Setting], Setting | None]]]],
    trial_of: Callable[[Setting], Trial],
) -> str:
    """Climb from `base`: one knob after the other, on in the same direction while it gains.

    steps: of a setting, its steps in the order to try them: (name, from a setting to the next;
    None where there is none). trial_of: measures a setting, once; raises OutOfTime.
    Returns the name of the step for which there was no time; '' when no step gains any more.
    """
    best, tried, trying = trial_of(base), {_key(base)}, ""
    try:
        gained = True
        while gained:
            gained = False
            for trying, step in steps(best.setting):  # noqa: B007
                while (there := step(best.setting)) is not None and _key(there) not in tried:
                    tried.add(_key(there))
                    trial = trial_of(there)
                    if trial.median <= (1 + GAIN) * best.median:
                        break
                    best, gained = trial, True
    except OutOfTime:
        return trying
    return ""


def doubled(name: str, factor: float, least: int, most: int) -> Callable[[Setting], Setting | None]:
    """The step that multiplies one knob, within limits."""

    def step(setting: Setting) -> Setting | None:
        value = int(setting[name] * factor)
        return {**setting, name: value} if least <= value <= most else None

    return step


def _key(setting: Setting) -> str:
    return json.dumps(dict(sorted(setting.items())))


@dataclass(frozen=True, repr=False)
class Tuning:
    """What `labkit.tune` found.

    trials: in the order in which they were tried; the first is the lab's own choice. best: the
    setting with the highest median. spec: the specification that has it (None for a file).
    unfinished: the step for which there was no time; '' when no step gained any more.
    seconds: what all trials took, engines' starts included. provenance: as of a sweep.
    """

    trials: tuple[Trial, ...]
    unfinished: str = ""
    seconds: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    spec: Any = None

    @property
    def best(self) -> Trial:
        """The trial with the highest median."""
        return max(self.trials, key=lambda trial: trial.median)

    @property
    def table(self) -> pd.DataFrame:
        """A row a trial: the setting, `rows/s` (median), `lowest`, `highest`, `start (s)`,
        `against the first` (a ratio) and `error`."""
        first = self.trials[0].median
        return pd.DataFrame(
            {
                **trial.setting,
                "rows/s": trial.median,
                "lowest": min(trial.rows_per_s, default=0.0),
                "highest": max(trial.rows_per_s, default=0.0),
                "start (s)": trial.start_s,
                "against the first": trial.median / first if first else float("nan"),
                "error": trial.error,
            }
            for trial in self.trials
        )

    def as_good(self) -> list[Trial]:
        """The other trials whose range of runs meets that of the best."""
        low = min(self.best.rows_per_s)
        others = (trial for trial in self.trials if trial is not self.best and trial.rows_per_s)
        return [trial for trial in others if max(trial.rows_per_s) >= low]

    def sentence(self) -> str:
        """The result in words: the setting, its gain, and how sure it is."""
        best, first = self.best, self.trials[0]
        low, high = min(best.rows_per_s), max(best.rows_per_s)
        words = ", ".join(f"{name}={value}" for name, value in best.setting.items())
        count = "the one setting" if len(self.trials) == 1 else f"{len(self.trials)} settings"
        said = (
            f"The best of {count} tried in {self.seconds:,.0f} s: {words}, at {best.median:,.1f} "
            f"rows/s ({low:,.1f} to {high:,.1f} in {len(best.rows_per_s)} runs)"
        )
        if best is first:
            said += ": the lab's own choice."
        else:
            said += f", {best.median / first.median:.2f} times the lab's own choice."
        if first in self.as_good():
            said += " The runs of the two overlap: other runs could choose otherwise."
        elif others := self.as_good():
            number = f"{len(others)} others" if len(others) > 1 else "one other setting"
            said += f" The runs of {number} overlap with those of the best."
        if failed := sum(1 for trial in self.trials if trial.error):
            said += f" {failed} could not be used (see the table)."
        if self.unfinished:
            said += f" There was no time left to try {self.unfinished}."
        return said

    def __repr__(self) -> str:
        return f"Tuning({len(self.trials)} trials in {self.seconds:.0f} s)"

    def _repr_html_(self) -> str:
        from labkit.pages.html_table import show

        return f"{show(self.table.round(2))._repr_html_()}<p>{self.sentence()}</p>"

    @staticmethod
    def load(path: str | Path) -> Tuning:
        """Read a file that `tune` wrote. Raises LabError when it is none, or holds no trial."""
        about, runs, _ = read_lines(path, "search")
        trials, seconds = trials_of(path, runs)
        if not trials:
            raise LabError(f"{path} is a search that was stopped before its first trial had ended.")
        return Tuning(tuple(trials), "", seconds, about)


def as_run(trial: Trial, seconds: float) -> dict[str, Any]:
    """A trial as a line of the file has it. seconds: of the search until its end."""
    return {**vars(trial), "setting": dict(trial.setting), "seconds": round(seconds, 1)}


def trials_of(path: str | Path, runs: Sequence[Mapping[str, Any]]) -> tuple[list[Trial], float]:
    """(the trials in the lines of a file, the seconds that they took). Raises LabError for lines of
    another file."""
    try:
        trials = [
            Trial(
                one["setting"], tuple(one["rows_per_s"]), one["start_s"], one["rows"], one["error"]
            )
            for one in runs
        ]
        return trials, float(runs[-1]["seconds"]) if runs else 0.0
    except (ValueError, KeyError, TypeError) as problem:
        raise another(path, "search", problem) from problem
