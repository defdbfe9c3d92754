"""Jobs that are played back: with LABKIT_REPLAY=1 no engine starts, and a job is answered with what
a real engine said to the same requests before.

For machines that are too small, for a class whose network fails, and for a second reading. What is
played back is the answers, the times and the token counts of every row, as they were recorded from
the lessons (`python -m tools.record_lessons`, which runs them with LABKIT_RECORD=FOLDER); each job
says so. A job that was not recorded can't be played back, and says that.

Knows no engine. The recording is one JSON file (machine, jobs) and one Parquet file (responses).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labkit.errors import Cancelled, LabError
from labkit.hardware.recorded_machine import FOLDER, RECORD, about, replaying
from labkit.metrics import EngineUse
from labkit.progress import view_here
from labkit.rows import responses
from labkit.rows.requests import Batches, every
from labkit.settings.endpoint_spec import EndpointSpec
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.seat_spec import SeatSpec

if TYPE_CHECKING:
    import ray.data

    from labkit.settings.setting import JobSpec

T = TypeVar("T")
#: A job is played back so much faster than it was, and within so many seconds.
FASTER, MOST_S = 10.0, 3.0
#: LABKIT_REPLAY=real-time plays back as slowly as it was.
REAL_TIME = "real-time"
_calls: Counter[str] = Counter()
_lock = threading.Lock()


def recording() -> Path | None:
    """Where jobs are recorded; None where they are not."""
    folder = os.environ.get(RECORD)
    return Path(folder) if folder else None


def in_one(asked: Batches | ray.data.Dataset) -> Batches | ray.data.Dataset:
    """Requests that are looked at twice: a Dataset is computed first where jobs are recorded or
    played back."""
    if isinstance(asked, Batches) or not (replaying() or recording()):
        return asked
    return asked.materialize()


def copied(asked: Batches | ray.data.Dataset) -> pa.Table | None:
    """All requests of a job that is to be recorded, before they are taken; else None."""
    return every(asked) if recording() else None


def note(
    requests: pa.Table | None,
    spec: JobSpec,
    answered: list[pa.Table],
    started: float,
    finished: float,
    use: EngineUse,
) -> None:
    """Record a job, where jobs are recorded: its requests' hashes and its responses."""
    folder = recording()
    if folder is None or requests is None or not answered:
        return
    hashes = _hashes(requests)
    table = pa.concat_tables([t.select(responses.RESPONSE.names) for t in answered])
    at = table["row_id"].to_pylist()
    asked = dict(zip(_places(requests), hashes, strict=True))
    own = hashes if None in at else [asked[place] for place in at]
    key = _keys(hashes, spec)[0]
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.json")))
    name = f"{number:04d}-{os.getpid()}"
    pq.write_table(table.append_column("request", pa.array(own)), folder / f"{name}.parquet")
    told: dict[str, Any] = {"key": key, "started": started, "finished": finished, "rows": len(own)}
    told |= {**use.as_json(), "command": _kind(spec), "weights": spec.model.note}
    (folder / f"{name}.json").write_text(json.dumps(told))


def replayed(name: str, run: Callable[[], T]) -> T:
    """What `run` gives; with LABKIT_REPLAY=1 what it gave when the lessons were recorded.

    For a cell that calls Ray by hand. name: of the recorded result, which is JSON.
    """
    if replaying():
        results: dict[str, Any] = about()["results"]
        if name not in results:
            raise LabError(f"{NOT_RECORDED} ({name!r})")
        found: T = results[name]
        view = view_here()
        view.show(f"replay: {name}, {replayed_words()}", 1.0)
        view.close()
        return found
    result = run()
    if folder := recording():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.result").write_text(json.dumps(result))
    return result


NOT_RECORDED = (
    "This job was not recorded: with LABKIT_REPLAY=1 only the lessons' own jobs can be played "
    "back, in the lessons' order. It runs for real without LABKIT_REPLAY: where the lab has an "
    "engine, or on a seat with the link of a class"
)


def answer(
    asked: Batches | ray.data.Dataset,
    spec: JobSpec,
    cancel: threading.Event | None,
    use: EngineUse | None,
) -> Iterator[pa.Table]:
    """The recorded responses of a job, in the order and the rhythm of their ends, but faster.

    use: is told when the job was recorded and on what. Raises LabError for a job that was not.
    """
    use = use or EngineUse()
    requests = every(asked)
    hashes = _hashes(requests)
    job, table = _find(_keys(hashes, spec), hashes, any_job=use.answers_only)
    use.clock = (job["started"], job["finished"])
    use.replayed = replayed_words()
    use.take(job)
    table = _in_order(table, requests, hashes)
    table = table.take(pc.sort_indices(table["last_token_ts"]))
    seconds = max(0.0, job["finished"] - job["started"])
    real = os.environ.get("LABKIT_REPLAY") == REAL_TIME
    pause = seconds if real else min(MOST_S, seconds / FASTER)
    size = max(1, min(int(spec["batch_size"]), 64))
    steps = list(range(0, len(table), size))
    for at in steps:
        deadline = time.monotonic() + pause / len(steps)
        while (left := deadline - time.monotonic()) > 0:
            if cancel is not None and cancel.is_set():
                raise Cancelled("The job was ended.")
            time.sleep(min(0.05, left))
        yield table.slice(at, size)


def words(spec: JobSpec) -> dict[str, str]:
    """What the progress line says: before the first answer, and at the beginning of each line."""
    if replaying():
        return {"startup": "looking for the recorded job", "label": "replay: "}
    return {"startup": spec.starting}


def replayed_words() -> str:
    """On what the recording was made, for captions."""
    return f"played back, recorded {about()['made']} on {about()['machine_words']}"


# --- the recording -------------------------------------------------------------------------------


def _places(requests: pa.Table) -> list[int]:
    """The places of the rows that are asked; those of a Dataset count from the first."""
    places: list[int] = requests["row_id"].to_pylist()
    return list(range(len(places))) if None in places else places


def _hashes(requests: pa.Table) -> list[str]:
    """A name for each request: of its messages and its sampling parameters."""
    pairs = zip(requests["messages"].to_pylist(), requests["sampling"].to_pylist(), strict=True)
    return [hashlib.sha256(f"{m}\n{s}".encode()).hexdigest()[:16] for m, s in pairs]


def _kind(spec: JobSpec) -> str:
    if isinstance(spec, EndpointSpec):
        return "endpoint"
    return "warm" if isinstance(spec, ProcessorSpec) and spec.warm else "cold"


def _keys(hashes: list[str], spec: JobSpec) -> list[str]:
    """What a job is known by: its requests in their order, who answers, and the knobs. A seat asks
    for no cold engine, where the lesson that was recorded did."""
    kinds = ["warm", "cold"] if isinstance(spec, SeatSpec) else [_kind(spec)]
    knobs: list[Any] = [spec.replicas, spec.rows_in_flight, spec["batch_size"]]
    told = [json.dumps([kind, *knobs, *hashes]) for kind in kinds]
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in told]


@functools.cache
def _responses() -> pa.Table:
    return pq.read_table(FOLDER / "responses.parquet")


@functools.cache
def _by_request() -> Mapping[str, int]:
    """The first recorded response to each request."""
    found: dict[str, int] = {}
    for at, request in enumerate(_responses()["request"].to_pylist()):
        found.setdefault(request, at)
    return found


def _find(keys: list[str], hashes: list[str], any_job: bool) -> tuple[dict[str, Any], pa.Table]:
    """(what is known of the job, its responses). The same job again has its next recording, as far
    as there is one. any_job: answers of other jobs will do, where all requests have one."""
    for key in keys:
        jobs = [job for job in about()["jobs"] if job["key"] == key]
        if not jobs:
            continue
        with _lock:
            job = jobs[min(_calls[key], len(jobs) - 1)]
            _calls[key] += 1
        return job, _responses().slice(job["first"], job["rows"])
    known = _by_request()
    if any_job and all(request in known for request in hashes):
        table = _responses().take([known[request] for request in hashes])
        arrived, spent = (
            table["arrival_time"],
            pc.subtract(table["last_token_ts"], table["queued_ts"]),
        )
        ended = pc.max(pc.add(arrived, spent)).as_py()
        return {"started": pc.min(arrived).as_py(), "finished": ended}, table
    raise LabError(NOT_RECORDED + ".")


def _in_order(table: pa.Table, requests: pa.Table, hashes: list[str]) -> pa.Table:
    """The recorded responses with the places (or the rows) of the requests that they answer."""
    places: dict[str, list[int]] = {}
    for at, request in enumerate(hashes):
        places.setdefault(request, []).append(at)
    order = [places[request].pop(0) for request in table["request"].to_pylist()]
    places_of = _places(requests)
    ids = pa.array([places_of[at] for at in order], pa.int64())
    table = table.select(responses.RESPONSE.names).set_column(0, responses.RESPONSE.field(0), ids)
    if "row" not in requests.column_names:
        return table
    return table.append_column("row", requests["row"].take(order))


def merge(
    folder: Path,
    machine: Any,
    words: str,
    made: str,
    versions: Mapping[str, str],
    told: Mapping[str, Any],
) -> None:
    """What lies in a folder of LABKIT_RECORD → the two files of the recording. told: what this
    machine would tell the seats of a class (`seat_spec.told`)."""
    jobs, tables, first = [], [], 0
    for file in sorted(folder.glob("*.json")):
        job = json.loads(file.read_text())
        tables.append(pq.read_table(file.with_suffix(".parquet")))
        jobs.append({**job, "first": first})
        first += job["rows"]
    results = {f.stem: json.loads(f.read_text()) for f in sorted(folder.glob("*.result"))}
    known: dict[str, Any] = {"made": made, "machine_words": words, "versions": dict(versions)}
    known["weights"] = " and ".join(sorted({job.pop("weights", "") for job in jobs} - {""}))
    known |= {"machine": asdict(machine), "class": dict(told), "results": results, "jobs": jobs}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "about.json").write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    pq.write_table(pa.concat_tables(tables), FOLDER / "responses.parquet", compression="zstd")
