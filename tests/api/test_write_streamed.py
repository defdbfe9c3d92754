"""`labkit.write` of rows that are streamed: several workers write, and all promises hold."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labkit
from labkit.api.job_stream import first_rows
from labkit.errors import Cancelled, JobFailed, LabError, Stalled
from labkit.paths import REPO
from labkit.ray_session.local_cluster import local_nodes
from labkit.results import part_workers
from labkit.results.agreement import Agreement
from labkit.results.parquet_folder import Parts
from labkit.results.part_workers import part_seconds
from labkit.rows import user_data, user_files
from labkit.tasks import Task, ask, faq
from tests.api.test_write_job import ADDED, frame, one_schema, part, spec, write  # noqa: F401


@pytest.fixture(autouse=True)
def no_file_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are streamed, as large ones are."""
    monkeypatch.setattr(user_files, "BYTES_HERE", 0)


def streamed(data: pd.DataFrame, folder: Path, files: int = 4) -> Path:
    """The rows as a folder of Parquet files."""
    folder.mkdir()
    for number in range(files):
        data.iloc[number::files].to_parquet(folder / f"{number}.parquet", index=False)
    return folder


def test_workers_write_the_rows_and_their_answers(tmp_path: Path, spec: Any) -> None:  # noqa: F811
    data = frame()
    given = streamed(data, tmp_path / "in")
    out = write(given, tmp_path / "out", spec)
    assert (out.rows, out.computed, out.skipped, out.failed) == (40, 40, 0, 2)
    assert (out.metrics.rows, out.metrics.failed) == (38, 2)
    assert (out.metrics.output_tokens, out.metrics.input_tokens) == (38 * 2, 38 * 3)
    back = out.read()
    assert list(back) == [*data, *ADDED]
    # Each file has its own order of categories.
    same = {"check_dtype": False, "check_categorical": False}
    pd.testing.assert_frame_equal(back[list(data)], data, **same)
    assert list(back["id"][back["error"].notna()]) == ["r003", "r017"]
    assert one_schema(out.path).field("answer").type == pa.string()
    assert '"prompt"' in (out.path / "_labkit.json").read_text()
    assert not list(out.path.glob(".writer-*")) and not list(out.path.glob(".part-*"))
    mended = streamed(frame(bad=(17,)), tmp_path / "mended")
    assert write(mended, tmp_path / "out", spec).computed == 0
    again = write(mended, tmp_path / "out", spec, retry_failed=True)
    assert (again.rows, again.computed, again.skipped, again.failed) == (40, 1 + 1, 38, 1)
    assert again.read()["answer"][3] == "What is 3?"
    other = replace(faq(), messages=ask("question", system="Rhyme!"))
    with pytest.raises(LabError, match="another prompt.*Rhyme"):
        write(mended, tmp_path / "out", spec, other)


def test_the_answers_of_all_workers_have_one_type(tmp_path: Path, spec: Any) -> None:  # noqa: F811
    """Whole numbers at most workers, halves at some, nothing at others; and one that fits none."""

    def odd(text: str, row: dict[str, Any]) -> Any:
        number = int(row["id"][1:])
        return "none" if number == 33 else None if number < 8 else number / (1 + (number == 25))

    def mixed(text: str, row: dict[str, Any]) -> Any:
        value = odd(text, row)
        return int(value) if isinstance(value, float) and value == int(value) else value

    given = streamed(frame(bad=()), tmp_path / "in")
    out = write(given, tmp_path / "out", spec, Task("odd", ask("question"), parse=mixed))
    kind, back = one_schema(out.path).field("answer").type, out.read()
    assert back["id"].is_unique and len(back) == 40
    if kind == pa.string():  # the odd one came first: the numbers are the ones that do not fit
        assert out.failed == 31  # of 8 to 39, all but the odd one
    else:
        assert kind == pa.float64() and list(back["id"][back["error"].notna()]) == ["r033"]
        assert back["answer"][25] == 12.5 and back["answer"][9] == 9


def test_a_part_that_a_type_came_too_late_for_gets_it_at_the_end(tmp_path: Path) -> None:
    """What the type can't hold is an error row then, with its reason."""
    parts = Parts(tmp_path, "id")
    agreed = Agreement(parts, "answer", {"prompt": None})
    assert agreed.held([pa.int64()]) == pa.int64()
    table = part("a", "b")
    at = table.column_names.index("answer")
    for number, values in enumerate(([1, 2], [1.0, 2.5])):
        more = table.set_column(at, "answer", pa.array(values))
        parts.add(more.set_column(0, "id", pa.array([f"a{number}", f"b{number}"])))
    agreed.settle()
    rows = pa.concat_tables([pq.read_table(file) for file in parts.files()]).to_pylist()
    assert [row["answer"] for row in rows] == [1, 2, 1, None]
    assert [row["error"] and row["error"][:18] for row in rows] == [None] * 3 + [
        "the answer 2.5 is "
    ]


def test_a_job_waits_for_the_last_part_of_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its driver is gone, and with it the lock of the folder: a worker may still write."""
    parts = Parts(tmp_path, "id")
    hold = parts.writing()
    monkeypatch.setattr("labkit.results.parquet_folder.WRITERS_S", 0.3)
    began = time.monotonic()
    with pytest.raises(LabError, match="Another job is writing"), parts.open():
        pass
    assert time.monotonic() - began >= 0.3
    hold.release()  # as the system does it when the process ends
    with parts.open():
        assert not list(tmp_path.glob(".writer-*"))
    parts.written(parts.writing())
    assert not list(tmp_path.glob(".writer-*"))


def test_many_workers_write_no_more_files_than_some() -> None:
    assert part_seconds(1, 5) == part_seconds(10, 5) == 5
    assert part_seconds(100, 5) == 50 and part_seconds(10_000, 5) == 60
    assert part_seconds(32, 0) == 0


def test_a_declared_type_is_that_of_all_parts_whatever_comes_first(tmp_path: Path) -> None:
    agreed = Agreement(Parts(tmp_path, "id"), "answer", {}, {"type": "number"})
    assert agreed.held([pa.int64()]) == pa.float64()
    assert agreed.widened([pa.string()]) == pa.float64()


def test_what_one_worker_was_told_holds_though_its_part_is_on_its_way(tmp_path: Path) -> None:
    """A wider type is everybody's; another one would make error rows of answers that fitted."""
    agreed = Agreement(Parts(tmp_path, "id"), "answer", {})
    assert agreed.held([pa.int64()]) == pa.int64()
    assert agreed.widened([pa.string()]) == pa.int64()
    assert agreed.widened([pa.float64()]) == pa.float64()


def test_workers_keep_the_declared_type_and_go_on_at_a_url(
    tmp_path: Path,
    spec: Any,  # noqa: F811
) -> None:
    """Answers that are whole numbers all, of a task that declares floats."""
    given, url = streamed(frame(bad=()), tmp_path / "in"), f"memory://{uuid.uuid4().hex}"
    number = Task(
        *("number", ask("question")),
        parse=lambda text, row: int(row["id"][1:]),
        columns=("question",),
        answer_schema={"type": "number"},
    )
    out = write(given, url, spec, number)
    assert (out.path, out.rows, out.computed, out.failed) == (url, 40, 40, 0)
    back = out.read()
    assert back["answer"].dtype == float and list(back["answer"]) == list(range(40))
    assert out.over_time is None and out.into == "answer"
    assert write(given, url, spec, number).computed == 0
    with pytest.raises(LabError, match="no column 'text'"):
        write(given, url, spec, replace(number, columns=("text",)))


def test_a_seat_of_a_class_is_told_to_give_rows(
    tmp_path: Path, smollm2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = labkit.configure(smollm2)
    monkeypatch.setenv("LABKIT_CLASS", "http://127.0.0.1:9/01-abc")
    with pytest.raises(LabError, match="no Ray to stream files that .*: give the rows"):
        write(streamed(frame(), tmp_path / "in"), tmp_path / "out", here)


@pytest.mark.slow
def test_a_folder_of_this_node_is_seen(local_ray: Any, tmp_path: Path) -> None:
    assert part_workers.all_see(Parts(tmp_path, "id")) and not list(tmp_path.iterdir())


@pytest.mark.engine
def test_a_warm_engine_is_asked_by_a_worker(warm_spec: Any, tmp_path: Path) -> None:
    """On the engine of the tests: the limit of rows in flight holds, and the numbers are there."""
    rows = pd.DataFrame({"id": range(600), "question": [f"What is {n}?" for n in range(600)]})
    rows.loc[[7, 300], "question"] = None
    given = streamed(rows, tmp_path / "in")
    task = replace(faq(max_tokens=2), allow_empty=True)
    tight = warm_spec.with_(batch_size=16, max_concurrent_batches=2)
    out = write(given, tmp_path / "out", tight, task)
    assert (out.rows, out.computed, out.failed) == (600, 600, 2)
    assert sorted(out.read()["id"]) == list(range(600))
    assert 16 <= out.metrics.peak_rows_in_flight <= 32
    assert out.metrics.output_tokens == out.read()["num_generated_tokens"].sum()
    assert out.metrics.preemptions == 0 and out.metrics.latency_p50_s > 0
    assert write(given, tmp_path / "out", tight, task).computed == 0


@pytest.mark.engine
@pytest.mark.endurance
@pytest.mark.parametrize("kind", [[], ["--cold"]], ids=["warm", "cold"])
def test_a_job_that_is_killed_twice_has_each_row_once(tmp_path: Path, kind: list[str]) -> None:
    command = [sys.executable, "-m", "benchmarks.scale", str(tmp_path), *kind]
    command += ["--rows", "20000", "--kills", "2", "--part-seconds", "0.3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed at") == 2
    assert "20,000 ids in" in done.stdout and "20,000 of them unique" in done.stdout


@pytest.mark.engine
@pytest.mark.endurance
def test_a_hundred_thousand_rows_take_no_more_of_the_driver_than_the_first(tmp_path: Path) -> None:
    """A tenth of the benchmark of docs/scale.md: two minutes on two quiet cores."""
    command = [sys.executable, "-m", "benchmarks.scale", str(tmp_path), "--rows", "100000"]
    command += ["--kills", "1", "--seconds", "1500"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed at" in done.stdout and "100,000 of them unique" in done.stdout
    ((first, most),) = re.findall(
        r"had (\d+) MiB of its own at the first rows, (\d+) at", done.stdout
    )
    assert int(most) - int(first) < 100, done.stdout


@pytest.fixture
def two_nodes(no_ray: None) -> Iterator[SimpleNamespace]:
    with local_nodes(count=2, cpus=5) as address:  # Ray Data's readers want a whole one each
        labkit.start(address)
        yield SimpleNamespace(address=address)


@pytest.fixture
def no_ray() -> Iterator[None]:
    labkit.stop()
    yield
    labkit.stop()


@pytest.mark.engine
@pytest.mark.endurance
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_two_nodes_write_at_the_same_time(
    two_nodes: SimpleNamespace, tiny: Any, tmp_path: Path, warm: bool
) -> None:
    """The answers are read, and so the parts written, on both."""

    def where(text: str, row: dict[str, Any]) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())

    rows = pd.DataFrame({"id": range(800), "question": [f"What is {n}?" for n in range(800)]})
    sizes = {"batch_size": 8, "max_concurrent_batches": 2, "replicas": 2, "warm": warm}
    # Ray Data puts two cold engines on one node where there is room for both.
    room = {} if warm else {"placement_group_config": {"bundles": [{"CPU": 3, "GPU": 0}]}}
    two = labkit.configure(tiny, ray=room, **sizes)
    task = replace(faq(max_tokens=2), allow_empty=True, parse=where)
    out = write(streamed(rows, tmp_path / "in"), tmp_path / "out", two, task)
    back = out.read()
    assert sorted(back["id"]) == list(range(800)) and out.failed == 0
    assert back["answer"].nunique() == 2 and back["answer"].value_counts().min() > 50


def test_the_first_rows_of_a_dataset_are_read_where_they_are_wanted(local_ray: Any) -> None:
    import ray.data

    rows = [{"text": f"row {number}", "id": number} for number in range(user_data.HEAD + 9)]
    source = user_data.source(ray.data.from_pandas(pd.DataFrame(rows)))
    assert source.dataset is not None and not source.head
    assert user_data.first(source.dataset) == rows[: user_data.HEAD]


@pytest.mark.slow
def test_the_first_rows_are_looked_at_as_a_job_is(local_ray: Any) -> None:
    """Cancelled, ended by the watchdog, and with the reason where they can't be made."""
    import ray.data

    def sleep(batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(60)
        return batch

    def fail(batch: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no such column")

    few = ray.data.range(3, override_num_blocks=1)
    assert first_rows(few, None, 60) == [{"id": number} for number in range(3)]
    assert first_rows(few.filter(lambda row: False, num_cpus=0.1), None, 60) == []
    for how, problem in ((sleep, Stalled), (fail, JobFailed)):
        with pytest.raises(problem):
            first_rows(few.map_batches(how, num_cpus=0.1), None, 3.0)
    cancel = threading.Event()
    threading.Timer(1, cancel.set).start()
    with pytest.raises(Cancelled):
        first_rows(few.map_batches(sleep, num_cpus=0.1), cancel, 60)
