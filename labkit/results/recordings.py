"""Sweeps recorded on real GPUs: to lay beside your own, and to replay where there is no GPU."""

from __future__ import annotations

import functools
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.errors import Cancelled, LabError
from labkit.paths import DATASETS
from labkit.progress import View
from labkit.results.sweep_result import Point, Sweep
from labkit.weights.roofline import Limits

FOLDER = DATASETS / "recordings"


def recordings() -> pd.DataFrame:
    """Every recorded sweep: name, device, model, date, and the points it holds."""
    found = [(file.stem, recorded(file.stem)) for file in sorted(FOLDER.glob("*.jsonl"))]
    rows = [
        {
            "name": name,
            "device": sweep.provenance["device"],
            "model": sweep.provenance["model"],
            "recorded": sweep.provenance["made"],
            "rows in flight": ", ".join(map(str, sorted(set(sweep.table["rows_in_flight"])))),
        }
        for name, sweep in found
    ]
    return pd.DataFrame(rows).set_index("name")


def recorded(name: str) -> Sweep:
    """One recorded sweep, marked as such in every caption. Raises LabError for another name."""
    file = FOLDER / f"{name}.jsonl"
    if not file.is_file():
        raise LabError(
            f"There is no recording {name!r}: {[f.stem for f in FOLDER.glob('*.jsonl')]}"
        )
    sweep = Sweep.load(file)
    return Sweep(sweep.table, {**sweep.provenance, "recorded": True})


@dataclass(frozen=True)
class RecordedRows:
    """The rows of one recorded job, for `charts.timeline`. caption: on what it was measured."""

    rows: pd.DataFrame
    caption: str

    def timeline(self) -> pd.DataFrame:
        """As `Job.timeline`, in seconds since the first row was queued."""
        return self.rows


def recorded_timeline(name: str) -> RecordedRows:
    """The job of NAME-timeline.csv: 256 creative prompts, as 4 batches of 64 at a time.

    Its machine is that of the sweep NAME-batch-size, whose engine it ran on.
    """
    about = recorded(f"{name}-batch-size").provenance
    rows = pd.read_csv(FOLDER / f"{name}-timeline.csv").rename(columns={"batch": "batch_uuid"})
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    where = f"Recorded {about['made']} on {about['device']} · {about['model']} · {versions}"
    tokens = f"mean {rows['num_generated_tokens'].mean():.0f} output tokens a row"
    return RecordedRows(rows, f"{where}\n{tokens}")


def recorded_limits(device: str = "h100") -> Limits:
    """What that device can do at most, measured on the same day by
    `python -m labkit.weights.roofline`."""
    return Limits(**json.loads((FOLDER / f"{device}-limits.json").read_text()))


def replay(
    name: str,
    *,
    speed: float = 10,
    guess: Mapping[int, float] | None = None,
    title: str = "",
) -> Any:
    """A panel over a recorded sweep: the knobs of `labkit.panel`, and the answers of that machine.

    speed: how many times faster than it was (1: as long as it took there; `math.inf`: at once).
    The panel, each progress line and each chart say that this is a recording.
    """
    from labkit.widgets.panel import Panel

    if not speed > 0:
        raise LabError(f"speed must be a number above 0, not {speed!r}.")
    sweep = recorded(name)
    about = sweep.provenance
    pairs = sweep.table[["batch_size", "max_concurrent_batches"]].drop_duplicates()
    points = sorted(
        (Point(*map(int, pair)) for pair in pairs.to_numpy()),
        key=lambda point: point.rows_in_flight,
    )
    note = (
        f"<b>A replay: nothing runs here.</b> Recorded on {about['device']}, {about['model']}, "
        f"{about['made']}; shown {'at once' if math.isinf(speed) else f'{speed:g}× as fast'}."
    )
    measure: Any = functools.partial(_measure, sweep, speed)
    title = title or f"Replay of {about['device']}"
    return Panel(measure, points, repeats=1, guess=guess, title=title, note=note)


def _measure(
    sweep: Sweep,
    speed: float,
    points: Sequence[Point],
    *,
    repeats: int,
    progress: View,
    cancel: threading.Event,
    on_run: Callable[[Sweep], None],
) -> Sweep:
    """`labkit.sweep` from a recording: its own runs, in its own order."""
    table = sweep.table
    keep = [
        Point(size, batches) in points and repeat < repeats
        for size, batches, repeat in zip(
            table["batch_size"], table["max_concurrent_batches"], table["repeat"], strict=True
        )
    ]
    runs = table[keep].sort_values("order").reset_index(drop=True)
    on_run(Sweep(runs.head(0), sweep.provenance))
    for at in range(len(runs)):
        run = runs.iloc[at]
        seconds = run["wall_s"] / speed
        steps = max(1, math.ceil(seconds / 0.5))
        for step in range(steps):
            share = (at + step / steps) / len(runs)
            words = f"replay, run {at + 1} of {len(runs)}: {run['rows_in_flight']:.0f} in flight"
            progress.show(f"{words} · {step / steps * run['rows']:.0f} rows", share)
            if cancel.wait(seconds / steps):
                raise Cancelled("The replay was cancelled.")
        on_run(Sweep(runs.head(at + 1), sweep.provenance))
    progress.show(f"replay done: {len(runs)} recorded runs", 1.0)
    return Sweep(runs, sweep.provenance)
