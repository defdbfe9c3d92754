"""Bare exceptions become errors of the lab, whoever raises them: the reason, and what to do."""

from __future__ import annotations

import errno
import importlib
import inspect
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import labkit
from labkit import arguments
from labkit.api.write_job import Written
from labkit.errors import Cancelled, JobFailed, LabError, lab_errors
from labkit.hardware.machine import Machine
from labkit.rows import responses
from labkit.tasks import Task, ask, faq
from labkit.weights.model import Model

DATA = pd.DataFrame({"id": [1, 2], "question": ["a?", "b?"]})


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its text")


#: What may come from below → what the error says to do.
KINDS = [
    (OSError(errno.ENOSPC, "No space left on device"), "The disk is full: make room"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full: make room"),
    (FileNotFoundError(2, "No such file", "x"), "Is the path right"),
    (PermissionError(13, "Permission denied", "x"), "choose another folder"),
    (ConnectionResetError("reset by peer"), "can it be reached"),
    (TimeoutError("timed out"), "can it be reached"),
    (OSError(5, "Input/output error"), "Look at the path, the disk"),
    (MemoryError(), "not enough memory"),
    (ModuleNotFoundError("No module named 'x'"), "make setup"),
    (pa.ArrowInvalid("cannot mix"), "values of one type"),
    (pa.ArrowNotImplementedError("no cast"), "values of one type"),
    (KeyError("x"), "report it"),
    (ValueError("first line\nsecond line"), "report it"),
    (RuntimeError(), "report it"),
    (Odd(), "report it"),
]


@pytest.mark.parametrize(("problem", "words"), KINDS, ids=lambda value: repr(value)[:30])
def test_every_exception_says_what_to_do(problem: Exception, words: str) -> None:
    @lab_errors("The thing could not be done")
    def do() -> None:
        raise problem

    with pytest.raises(LabError) as told:
        do()
    text = str(told.value)
    assert text.startswith(f"The thing could not be done: {type(problem).__name__}")
    assert words in text and "\n" not in text and told.value.__cause__ is problem


def test_a_call_that_does_not_fit_is_a_mistake_of_its_own() -> None:
    for call in (
        lambda: labkit.run(faq(), DATA, rows=3),  # type: ignore[call-arg]
        lambda: labkit.configure(batchsize=1),  # type: ignore[call-arg]
        lambda: labkit.write(faq()),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match="argument"):
            call()


@pytest.mark.parametrize(
    "problem", [JobFailed("x"), Cancelled("x"), KeyboardInterrupt(), SystemExit(1)]
)
def test_what_is_told_already_passes(problem: BaseException) -> None:
    with pytest.raises(type(problem)) as passed, lab_errors("No"):
        raise problem
    assert passed.value is problem


def spec() -> Any:
    return labkit.endpoint("http://127.0.0.1:9/v1", "small")


def answers() -> pa.Table:
    times = {name: 10.0 + at for at, name in enumerate(responses.TIMES)}
    about: dict[str, Any] = {"text": "x", "finish_reason": "stop", "batch_uuid": "b"}
    return responses.table(
        [
            responses.of_engine(n, None, times=times, counts=(1, 1), **about)
            for n in range(len(DATA))
        ]
    )


def batch_file(folder: Path) -> Path:
    asked = [
        {
            **{"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions"},
            "body": {"messages": [{"role": "user", "content": "Why?"}]},
        }
        for number in range(len(DATA))
    ]
    path = folder / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, asked)))
    return path


#: A public function → the places below it where its surroundings may break.
PUBLIC: list[tuple[Callable[[Path], Any], tuple[str, ...]]] = [
    (lambda _: labkit.configure(), ("api.configure.machines.detect", "api.configure.cpu_engine")),
    (lambda _: labkit.endpoint("http://h/v1", "m"), ("api.configure.EndpointSpec",)),
    (lambda _: labkit.get_model("smollm2-135m"), ("weights.catalogue.cache_dir",)),
    (lambda _: labkit.load_faq(), ("datasets.questions.read_table",)),
    (lambda _: labkit.load_prompts(), ("datasets.questions.read_table",)),
    (lambda _: labkit.load_posts(), ("datasets.posts.fetch_posts",)),
    (lambda _: labkit.start(), ("ray_session.restore.begin",)),
    (
        lambda _: labkit.recorded("h100-smollm2-135m-in-flight"),
        ("results.sweep_result.Sweep.load",),
    ),
    (
        lambda _: labkit.run(faq(), DATA, spec(), progress=False),
        (
            *("ray_session.session.start", "ray_session.capacity.clocks"),
            *("rows.user_data.in_memory", "rows.requests.make", "rows.requests.Batches"),
            *("api.run_job.stream", "api.run_job.answered", "results.job.collect"),
        ),
    ),
    (
        lambda at: labkit.write(faq(), DATA, at / "out", spec(), id_column="id", progress=False),
        (
            *("rows.user_data.source", "rows.data_checks.check_ids", "rows.requests.make"),
            *("results.parquet_folder.Parts.rows", "results.parquet_folder.Parts.add"),
            *("results.job_fingerprint.about", "api.write_job.stream", "results.part_writer.fit"),
            "results.parquet_folder.FileLock",
        ),
    ),
    (
        lambda at: labkit.run_batch(batch_file(at), at / "out", spec(), progress=False),
        (
            *("rows.batch_file.read", "rows.batch_file.answer", "api.batch_job.write"),
            *("api.batch_job.parameter_of", "api.batch_job.pq.read_table"),
        ),
    ),
    (
        lambda at: labkit.sweep(faq(), DATA, [(1, 1)], None, path=at / "s", progress=False),
        ("api.measure_job.configure", "results.sweep_file._asked", "api.sweep_jobs.run"),
    ),
    (
        lambda _: labkit.sweep_engines(faq(), DATA, [(1, 1)], {"a": spec()}, progress=False),
        ("api.sweep_jobs.sweep",),
    ),
    (
        lambda at: labkit.tune(faq(), DATA, path=at / "t", progress=False),
        ("api.measure_job.configure", "api.tune_job.about_sweep", "api.tune_job.measure"),
    ),
    (lambda _: labkit.measure(faq(), DATA), ("api.measure_job.configure", "api.measure_job.run")),
    (
        lambda _: labkit.plan(faq(), DATA, progress=False),
        ("api.measure_job.configure", "api.plan_job.Renderer", "api.plan_job.measure"),
    ),
    (lambda _: labkit.recorded_short_rows(), ("results.recordings.RecordedSystems",)),
    (lambda _: labkit.serve(), ("api.serve_model.configure",)),
    (
        lambda _: labkit.compare_sweeps("h100.jsonl"),
        ("results.sweep_result.Sweep.load", "sweep_comparison._name"),
    ),
    (lambda _: labkit.preflight(), ("preflight_check.doctor", "preflight_check.lesson_minutes")),
    (
        lambda at: labkit.hand_in(at / "h.html"),
        ("handed_in._machine", "handed_in.work.all_curves", "handed_in.write_whole"),
    ),
    (
        lambda _: labkit.share("a", link="http://127.0.0.1:9/01-a"),
        ("widgets.board_seat.classroom_seat.link", "widgets.board_seat.BoardSeat"),
    ),
    (lambda _: labkit.prompt("{a}", choices=["x"]), ("tasks.template._form",)),
]


def place(path: str) -> tuple[Any, str]:
    """The object and the attribute that a dotted path in labkit names."""
    parts, rest = path.split("."), []
    while parts:
        try:
            owner: Any = importlib.import_module("labkit." + ".".join(parts))
        except ImportError:
            rest.insert(0, parts.pop())
            continue
        for name in rest[:-1]:
            owner = getattr(owner, name)
        return owner, rest[-1]
    raise AssertionError(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "below"),
    [
        pytest.param(call, path, id=f"{number}-{path}")
        for number, (call, paths) in enumerate(PUBLIC)
        for path in paths
    ],
)
@pytest.mark.parametrize("problem", [pa.ArrowInvalid("mixed"), OSError(5, "broken"), KeyError("x")])
def test_every_public_function_in_broken_surroundings(
    call: Callable[[Path], Any],
    below: str,
    problem: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray is not up, and a stand-in answers; what breaks is below."""
    owner, name = place(below)
    reached = []

    def broken(*_: Any, **__: Any) -> Any:
        reached.append(1)
        raise problem

    if below != "ray_session.restore.begin":
        monkeypatch.setattr("labkit.ray_session.session.start", lambda *_, **__: None)
    for module in ("run_job", "write_job"):
        monkeypatch.setattr(f"labkit.api.{module}.stream", lambda *_, **__: iter([answers()]))
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(LabError) as told:
        call(tmp_path)
    assert reached, f"{below} was not reached"
    assert "\n" not in str(told.value) and len(str(told.value)) > 40


#: Public functions whose arguments are not looked at: those that take anything, or numbers of pure
#: computations (ValueError), and a block.
ANYTHING = {"compare", "partial", "quiet", "replayed", "stop", "stop_engine", "this_machine"}
ANYTHING |= {"models", "recordings"}
FUNCTIONS = {
    name: getattr(labkit, name)
    for name in labkit.__all__
    if inspect.isfunction(getattr(labkit, name)) and name not in ANYTHING
}
#: Values of which at least one is wrong for each parameter; and the right ones, by type.
VALUES = [object(), None, True, 3, 2.5, "x", b"x", {"a": 1}, [1], faq(), faq, DATA, Path("x")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_argument_of_a_wrong_type_is_named(name: str) -> None:
    """Each, by what it should be, before anything is done: the function itself is not reached."""
    function, values = FUNCTIONS[name], [*VALUES, spec(), threading.Event()]
    values += [kind.__new__(kind) for kind in (Written, Machine, Model)]
    parameters = inspect.signature(function).parameters.values()
    checked = [p for p in parameters if arguments._types(p)]
    several = {p.name for p in checked if p.kind is p.VAR_POSITIONAL}
    required = {
        p.name: next(value for value in values if arguments._fits(value, p))
        for p in checked
        if p.default is p.empty and p.name not in several
    }
    for parameter in checked:
        wrong = [value for value in values if not arguments._fits(value, parameter)]
        assert len(wrong) > 5
        for value in wrong:
            one = {} if parameter.name in several else {parameter.name: value}
            with pytest.raises(LabError) as told:
                function(*([] if one else [value]), **(required | one))
            text = str(told.value)
            assert re.search(rf": {parameter.name} must be .{{4,}}, not \w+\.", text), text
            assert told.value.__cause__ is None and "\n" not in text


def test_every_public_function_looks_at_its_arguments() -> None:
    """Also at each of them: a type that `arguments` does not know would be passed over."""
    passed_over = {"schema", "options"}  # of prompt, which takes several forms; of sweep
    for name, function in FUNCTIONS.items():
        assert hasattr(function, "__wrapped__"), f"{name} has no lab_errors"
        for parameter in inspect.signature(function).parameters.values():
            known = arguments._types(parameter) or parameter.name in passed_over
            assert known, f"{name}: {parameter}"


def test_an_object_in_another_s_place_is_shown_its_own() -> None:
    for call in (labkit.serve, labkit.doctor):
        with pytest.raises(LabError, match="model must be .* not EndpointSpec"):
            call(model=spec())
    with pytest.raises(LabError, match=r"Is it meant as spec=…\?"):
        labkit.serve(spec())  # type: ignore[arg-type]
    with pytest.raises(LabError, match=r"Is it meant as machine=…\?"):
        labkit.configure(Machine.__new__(Machine))  # type: ignore[arg-type]


def test_a_task_or_a_spec_that_is_none_is_named() -> None:
    for task in (None, "faq", faq, {"name": "faq"}):
        with pytest.raises(LabError, match="labkit.Task"):
            labkit.run(task, DATA, spec(), progress=False)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_function_of_the_user_s_dataset_is_named_as_such(
    tmp_path: Path, local_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Advice that fits: nothing is wrong with this machine."""
    import ray.data

    monkeypatch.setattr("labkit.engines.endpoint_client.check_server", lambda spec: None)

    def mine(row: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("by me")

    def calls(data: Any) -> list[Callable[[], Any]]:
        task = Task("t", ask("question"))
        return [
            lambda: labkit.run(task, data, spec(), progress=False),
            lambda: labkit.write(
                task, data, tmp_path / "o", spec(), id_column="id", progress=False
            ),
        ]

    for call in calls(ray.data.from_pandas(DATA).map(mine)):
        with pytest.raises(LabError, match="a function of your Dataset.*take") as told:
            call()
        assert "ZeroDivisionError: by me" in str(told.value) and "doctor" not in str(told.value)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no parquet at all PAR1")
    with pytest.raises(LabError) as told:
        labkit.write(faq(), tmp_path / "a.parquet", tmp_path / "o", spec(), id_column="id")
    assert "doctor" not in str(told.value)
