"""Recordings: complete, marked as recordings everywhere, and replayed as they were."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit import tasks
from labkit.errors import Cancelled, LabError
from labkit.results.recordings import FOLDER, PROMPTS, recorded_limits
from labkit.results.sweep_file import _asked
from labkit.results.sweep_point import Point
from labkit.results.sweep_result import Sweep
from labkit.tasks import LABELS, Task, ask
from labkit.widgets.replay import _measure

NAMES = list(labkit.recordings().index)
ABOUT = FOLDER.parent / "README.md"


def test_there_are_recordings_of_a_gpu() -> None:
    table = labkit.recordings()
    assert len(table) >= 2 and table["device"].str.contains("H100").all()


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_says_where_it_comes_from(name: str) -> None:
    sweep = labkit.recorded(name)
    about = sweep.provenance
    assert {"made", "device", "model", "versions", "settings", "task", "rows"} <= set(about)
    assert {"ray", "vllm", "torch"} <= set(about["versions"])
    assert f"Recorded {about['made']} on {about['device']}" in sweep.caption()
    assert (sweep.table["failed"] == 0).all() and (sweep.table["engine_span_s"] > 0).all()
    rate = sweep.table["output_tokens"] / sweep.table["engine_span_s"]
    assert (rate / sweep.table["output_tokens_per_s"] - 1).abs().max() < 1e-6
    assert f"`{name}.jsonl`" in ABOUT.read_text(), "each recording is named with its command"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("h100-smollm2-135m-in-flight", "up to 71% of the rows (with 1,024 in flight)"),
        ("h100-llama-3.1-8b-shape-in-flight", "up to 41% of the rows (with 1,024 in flight)"),
        ("h100-smollm2-135m-batch-size", "up to 69% of the rows (with 256 in flight)"),
    ],
)
def test_a_recording_says_how_many_of_its_prompts_repeat(name: str, words: str) -> None:
    assert words in labkit.recorded(name).caption()
    assert "192 of the 256 rows repeat" in labkit.recorded_timeline("h100-smollm2-135m").caption


def test_the_prompts_of_recordings_are_those_of_the_lessons_in_turn() -> None:
    questions, prompts = labkit.load_faq(), labkit.load_prompts()
    assert {"equal lengths": len(questions), "creative": len(prompts)} == PROMPTS
    one = labkit.recorded("h100-smollm2-135m-in-flight")
    asked = [{"question": questions["question"][n % 1200]} for n in range(4096)]
    task = Task("t", ask("question"), one.provenance["sampling"])
    assert _asked(task, asked) == one.provenance["rows_sha256"]
    mixed = labkit.recorded("h100-smollm2-135m-batch-size").provenance
    rows = prompts.iloc[[n % 320 for n in range(1024)]].to_dict("records")
    assert _asked(tasks.creative(), rows) == mixed["rows_sha256"]
    other = labkit.recorded("h100-llama-3.1-8b-shape-in-flight").table  # by an older recorder
    pairs = [set(map(tuple, t[["rows", "input_tokens"]].to_numpy())) for t in (other, one.table)]
    assert pairs[0] <= pairs[1], "as many tokens in as many rows, of the same tokenizer"


@pytest.mark.parametrize(
    "file", sorted(f for f in FOLDER.iterdir() if f.is_file()), ids=lambda f: f.name
)
def test_a_recording_is_small_and_has_no_path_of_its_machine(file: Path) -> None:
    text = file.read_text()
    assert len(text) < 50_000
    assert not [word for word in ("/root", "/home", "/tmp", "/work") if word in text]


def test_a_sweep_of_one_s_own_is_no_recording() -> None:
    sweep = labkit.recorded(NAMES[0])
    own = Sweep(sweep.table, {k: v for k, v in sweep.provenance.items() if k != "recorded"})
    assert "Recorded" not in own.caption() and "Measured on" in own.caption()


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(LabError, match=NAMES[0]):
        labkit.recorded("a100")
    with pytest.raises(LabError, match="speed must be"):
        labkit.replay(NAMES[0], speed=0)


def test_recorded_labels_are_of_every_post_and_hold_none_of_its_text() -> None:
    posts, recorded = labkit.load_posts(), labkit.recorded_labels()
    assert set(recorded.labels) == set(posts["id"]) and set(recorded.labels.values()) <= set(LABELS)
    assert recorded.caption.startswith("Recorded 2026-") and "bits" in recorded.caption
    assert recorded.of([posts["id"].iloc[-1]]) == [recorded.labels[posts["id"].iloc[-1]]]
    with pytest.raises(LabError, match="no label for 1 of 2 posts"):
        recorded.of([posts["id"].iloc[0], -1])


def test_the_limits_of_the_card_are_there() -> None:
    limits = recorded_limits()
    assert "H100" in limits.device
    assert 2e12 < limits.bytes_per_s < 3.4e12 and 5e14 < limits.operations_per_s < 1e15


@pytest.mark.slow
def test_a_replay_gives_the_recorded_runs_and_says_what_it_is() -> None:
    panel = labkit.replay(NAMES[0], speed=math.inf, guess={1: 1, 16: 16})
    assert "nothing runs here" in panel.box.children[0].value
    assert "Replay of 1 × NVIDIA H100" in panel.box.children[0].value
    found, sweep = panel.result(), labkit.recorded(NAMES[0])
    assert len(found.table) == len(sweep.table)
    assert found.summary().equals(sweep.summary())
    assert panel.experiment.text.startswith("replay done")
    assert "Recorded" in found.caption()


@pytest.mark.slow
def test_a_replay_of_some_points_once() -> None:
    panel = labkit.replay(NAMES[0], speed=math.inf, repeats=1)
    for box in panel._chosen[2:]:
        box.value = False
    table = panel.result().table
    assert set(table["rows_in_flight"]) == {1, 4} and set(table["repeat"]) == {0}


def test_a_replay_takes_its_time_and_can_be_cancelled() -> None:
    seen: list[tuple[str, float | None]] = []

    class View:
        def show(self, text: str, share: float | None) -> None:
            seen.append((text, share))

        def close(self) -> None:
            pass

    sweep = labkit.recorded(NAMES[0])
    short = Sweep(sweep.table.head(1), sweep.provenance)
    points = [Point(*short.table.iloc[0][["batch_size", "max_concurrent_batches"]])]
    options: Any = {"repeats": 1, "progress": View(), "on_run": lambda found: None}
    began = time.monotonic()
    wall = float(short.table["wall_s"].iloc[0])
    _measure(short, wall / 1.2, points, cancel=threading.Event(), **options)
    assert time.monotonic() - began >= 1.2
    shares = [share for _, share in seen if share is not None]
    assert shares == sorted(shares) and len(shares) >= 3
    assert all(text.startswith("replay") for text, _ in seen)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        _measure(short, 1.0, points, cancel=stop, **options)


def test_the_recorded_rows_are_one_job_in_order() -> None:
    found = labkit.recorded_timeline("h100-smollm2-135m")
    rows = found.timeline()
    assert len(rows) == 256 and rows["queued_s"].min() == 0
    times = ["queued_s", "scheduled_s", "first_token_s", "last_token_s"]
    assert (rows[times].diff(axis=1).iloc[:, 1:] >= 0).all().all()
    assert rows["batch_uuid"].nunique() == 4 and rows["num_generated_tokens"].between(1, 400).all()
    assert found.caption.startswith("Recorded 2026") and "H100" in found.caption
    assert "h100-smollm2-135m-timeline.csv" in ABOUT.read_text()


def test_the_chart_of_recorded_rows_says_that_they_are_recorded() -> None:
    from labkit import charts

    figure = charts.timeline(labkit.recorded_timeline("h100-smollm2-135m"))
    assert any("Recorded 2026" in text.get_text() for text in figure.texts)
