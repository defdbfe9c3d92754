"""The same rows through warm labkit jobs, in a process of its own (see `parity`)."""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import labkit
from benchmarks.parity import settings
from benchmarks.phases import engine_log
from labkit.ray_session import diagnosis
from labkit.settings.processor_spec import ProcessorSpec
from labkit.tasks import Task, ask

#: What a program does before its first job.
STEPS = ("labkit's imports", "labkit.configure", "Ray")


def allow(spec: ProcessorSpec, rows_in_flight: int) -> ProcessorSpec:
    """The spec with as many rows at the engine; the engine and the batch size stay as they are."""
    batches = -(-rows_in_flight // spec["batch_size"])
    return spec.with_(max_concurrent_batches=batches, max_pending_requests=rows_in_flight)


def main(request: Path, answer: Path) -> None:
    """Read {began, model, max_num_seqs, questions, sampling, warm_up, warm_up_rows, repeats,
    in_flight} from `request`.

    Write {runs, log, steps, engine}: `warm_up` jobs, of which the first starts the engine, then
    `repeats` of each number of rows in flight in turn; the seconds of the steps before the first
    job; the engine's arguments.
    """
    asked: dict[str, Any] = json.loads(request.read_text())
    times = [asked["began"], time.time()]
    engine = {"max_num_seqs": asked["max_num_seqs"]}
    spec = labkit.configure(asked["model"], warm=True, engine=engine, engines_per_gpu=1)
    times.append(time.time())
    task = Task("parity", ask("question"), asked["sampling"])
    rows = [{"question": question} for question in asked["questions"]]
    runs = []
    kinds = [spec, *(allow(spec, limit) for limit in asked["in_flight"])]
    jobs = [(spec, rows[: asked["warm_up_rows"]])] * asked["warm_up"]
    for one, these in jobs + [(kind, rows) for kind in kinds] * asked["repeats"]:
        job = labkit.run(task, these, one, progress=False)
        finished = job.started + job.metrics.wall_s
        table = json.loads(job.rows.to_json(orient="records", double_precision=9))
        limit = None if one is spec else one.rows_in_flight
        run = {"rows": table, "started": job.started, "finished": finished}
        runs.append({**run, "in_flight": limit})
    times.append(runs[0]["started"])
    took = [round(b - a, 1) for a, b in pairwise(times)]
    log = engine_log(diagnosis.log_folder() or "")
    labkit.stop()
    bound = job.bottleneck()
    found = {
        "runs": runs,
        "bound": bound.sentence if bound else "",
        "log": log,
        "steps": dict(zip(STEPS, took, strict=True)),
        "engine": settings(spec),
    }
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
