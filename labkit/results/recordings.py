"""Sweeps recorded on real GPUs, to lay beside your own (`widgets.replay` shows them in time)."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pandas as pd

from labkit.errors import LabError
from labkit.paths import DATASETS
from labkit.results.sweep_result import Sweep
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
