"""A recorded sweep in a panel, as if it ran here: for those who have no GPU."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labkit.errors import Cancelled, LabError, lab_errors
from labkit.progress import View
from labkit.results.recordings import recorded
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep
from labkit.widgets.panel import Panel


@lab_errors("The recording could not be shown")
def replay(
    name: str,
    *,
    speed: float = 10,
    repeats: int | None = None,
    guess: Mapping[int, float | None] | None = None,
    title: str = "",
) -> Any:
    """A panel over a recorded sweep: the knobs of `labkit.panel`, and the answers of that machine.

    speed: how many times faster than it was (1: as long as it took there; `math.inf`: at once).
    repeats: how many runs of each point are played; None plays all that were recorded.
    The panel, each progress line and each chart say that this is a recording.
    """
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
    runs = int(sweep.table["repeat"].max()) + 1 if repeats is None else repeats
    return Panel(measure, points, repeats=runs, guess=guess, title=title, note=note)


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
