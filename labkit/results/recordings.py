"""Sweeps recorded on real GPUs, to lay beside your own (`widgets.replay` shows them in time)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from labkit.errors import LabError, lab_errors
from labkit.paths import DATASETS
from labkit.results.sweep_result import Sweep
from labkit.weights.roofline import Limits

FOLDER = DATASETS / "recordings"
PLAIN = "vllm.LLM.chat"
#: The systems of `benchmarks.short_rows` that differ in their engines alone, and what they are
#: called in a chart.
ENGINES_ON_CARD = {
    PLAIN: PLAIN,
    "labkit, warm, 1 engine(s)": "labkit, 1 engine",
    "labkit, warm, 2 engine(s)": "labkit, 2 engines",
    "labkit, warm, 4 engine(s)": "labkit, 4 engines",
    "labkit, warm, 8 engine(s)": "labkit, 8 engines",
    "labkit, warm, auto engine(s)": "labkit's own choice",
}
#: How many prompts the rows of a recorded task take in turn (all of lesson 1, or of lesson 2).
PROMPTS = {"equal lengths": 1200, "creative": 320}


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


@lab_errors("The recording could not be read")
def recorded(name: str) -> Sweep:
    """One recorded sweep, marked as such in every caption. Raises LabError for another name."""
    file = FOLDER / f"{name}.jsonl"
    if not file.is_file():
        raise LabError(
            f"There is no recording {name!r}: {[f.stem for f in FOLDER.glob('*.jsonl')]}"
        )
    sweep = Sweep.load(file)
    table = sweep.table
    if "repeated_prompts" not in table:
        rows = table["rows"] + table["failed"]
        table["repeated_prompts"] = (rows - PROMPTS[sweep.provenance["task"]]).clip(lower=0)
    return Sweep(table, {**sweep.provenance, "recorded": True})


@dataclass(frozen=True)
class RecordedRows:
    """The rows of one recorded job, for `charts.timeline`. caption: on what it was measured."""

    rows: pd.DataFrame
    caption: str

    def timeline(self) -> pd.DataFrame:
        """As `Job.timeline`, in seconds since the first row was queued."""
        return self.rows


@lab_errors("The recording could not be read")
def recorded_timeline(name: str) -> RecordedRows:
    """The job of NAME-timeline.csv: 256 creative prompts, as 4 batches of 64 at a time.

    Its machine is that of the sweep NAME-batch-size, whose engine it ran on. They are rows 256 to
    511 of a job that takes its 320 prompts in turn: three in four repeat one.
    """
    about = recorded(f"{name}-batch-size").provenance
    rows = pd.read_csv(FOLDER / f"{name}-timeline.csv").rename(columns={"batch": "batch_uuid"})
    versions = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    where = f"Recorded {about['made']} on {about['device']} · {about['model']} · {versions}"
    tokens = f"mean {rows['num_generated_tokens'].mean():.0f} output tokens a row"
    tokens += f" · {2 * len(rows) - PROMPTS['creative']} of the {len(rows)} rows repeat a prompt"
    return RecordedRows(rows, f"{where}\n{tokens}")


@dataclass(frozen=True)
class RecordedSystems:
    """What several systems did with the same rows, for `charts.engines_on_card`.

    table: a row a system, the first is the one that all are compared with: `rows/s` (median of its
    jobs), `lowest`, `highest`, `ratio` (the median over the rounds of its own to that of the first
    in the same round) and `rounds`. caption: on what it was measured.
    """

    table: pd.DataFrame
    caption: str


@lab_errors("The recording could not be read")
def recorded_short_rows(name: str = "h100-smollm2-135m") -> RecordedSystems:
    """Thousands of posts, a label each (lesson 3's own job): `vllm.LLM.chat` and labkit with one
    and more engines on the card (`benchmarks.short_rows`)."""
    about = json.loads((FOLDER / f"{name}-short-rows.json").read_text())
    jobs: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    rounds = [one for one in about["rounds"] if len(one.keys() & ENGINES_ON_CARD.keys()) > 1]
    for one in rounds:
        for system, label in ENGINES_ON_CARD.items():
            if rates := one.get(system):
                jobs.setdefault(label, []).extend(rates)
                ratio = statistics.median(rates) / statistics.median(one[PLAIN])
                ratios.setdefault(label, []).append(ratio)
    table = pd.DataFrame(
        {
            "rows/s": {system: statistics.median(rates) for system, rates in jobs.items()},
            "lowest": {system: min(rates) for system, rates in jobs.items()},
            "highest": {system: max(rates) for system, rates in jobs.items()},
            "ratio": {system: statistics.median(some) for system, some in ratios.items()},
            "rounds": {system: len(some) for system, some in ratios.items()},
        }
    )
    table = table.loc[[label for label in ENGINES_ON_CARD.values() if label in table.index]]
    shown = {name: about["versions"][name] for name in ("ray", "vllm", "torch")}
    versions = ", ".join(f"{package} {number}" for package, number in shown.items())
    words = (
        f"Recorded {about['made']} on {about['device']} · {about['model']} · {versions}\n"
        f"{about['times']} × the 4,200 posts, a label each · warm engines · "
        f"rounds: {len(rounds)} · whiskers: slowest and fastest job"
    )
    return RecordedSystems(table, words)


@dataclass(frozen=True)
class RecordedLabels:
    """What another model said of the posts. labels: by the post's id. caption: what made them."""

    labels: Mapping[int, str]
    caption: str

    def of(self, ids: Iterable[int]) -> list[str]:
        """The labels of these posts, in their order. Raises LabError for a post it lacks."""
        ids = [int(post) for post in ids]
        if lacking := [post for post in ids if post not in self.labels]:
            raise LabError(f"The recording has no label for {len(lacking)} of {len(ids)} posts.")
        return [self.labels[post] for post in ids]


@lab_errors("The recording could not be read")
def recorded_labels(name: str = "cpu-qwen2.5-coder-0.5b") -> RecordedLabels:
    """Lesson 3's zero-shot labels of all posts by a larger model, recorded with `labkit.write`."""
    about = json.loads((FOLDER / f"{name}-labels.json").read_text())
    shown = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    words = f"Recorded {about['made']} on {about['device']} · {about['model']} · {shown}"
    labels = {post: label for label, posts in about["labels"].items() for post in posts}
    return RecordedLabels(labels, words)


@lab_errors("The recording could not be read")
def recorded_limits(device: str = "h100") -> Limits:
    """What that device can do at most, measured on the same day by
    `python -m labkit.weights.roofline`."""
    return Limits(**json.loads((FOLDER / f"{device}-limits.json").read_text()))
