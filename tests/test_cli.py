"""The command line: what is parsed, printed and returned."""

from __future__ import annotations

import importlib
import importlib.metadata
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import labkit
from labkit.api.report import Check, Report
from labkit.cli import main
from labkit.weights import catalogue as models


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["nonsense"], "invalid choice"),
        (["doctor", "--device", "tpu"], "invalid choice"),
        (["doctor", "more"], "unrecognized"),
        (["fetch", "--model", "x"], "unrecognized"),
    ],
)
def test_a_wrong_command_is_explained(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert words in shown.err and "usage: labkit" in shown.err and shown.out == ""


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    names = [
        "doctor",
        "fetch",
        "tiny",
        "describe",
        "label",
        "sweep",
        "tune",
        "batch",
        "plan",
        "compare",
        "preflight",
        "handed-in",
        "bundle",
        "notebooks",
        "times",
    ]
    assert all(name in shown for name in names)


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("FAIL", 1)])
def test_doctor_prints_its_report(
    state: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def doctor(*arguments: Any) -> Report:
        asked.append(arguments)
        return Report((Check("disk", state, "found this"),))

    monkeypatch.setattr(importlib.import_module("labkit.api.checkup"), "doctor", doctor)
    assert main(["doctor", "--device", "gpu", "--model", "m"]) == code
    assert main(["doctor"]) == code
    assert asked == [("gpu", "m"), (None, None)]
    assert "found this" in capsys.readouterr().out


def test_describe_prints_every_argument(smollm2: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe"]) == 0
    shown = capsys.readouterr()
    spec = labkit.configure()
    assert all(setting.name in shown.out for setting in spec.settings)
    assert "rows in flight" in shown.out and shown.err == ""


def test_a_lab_error_is_one_message_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--model", "gpt-99"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("labkit describe: There is no model 'gpt-99'.")
    assert "Traceback" not in shown.err


def test_any_other_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(importlib.import_module("labkit.api.checkup"), "doctor", broken)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


@pytest.mark.parametrize(
    ("arguments", "expected"), [([], [models.DEFAULT]), (["a", "b"], ["a", "b"])]
)
def test_fetch_takes_the_default_model_or_those_named(
    arguments: list[str],
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "fetch", lambda name, tell: tell(f"why {name}"))
    found = {name: SimpleNamespace(source=f"at/{name}", note="") for name in expected}
    found[models.DEFAULT] = SimpleNamespace(source="at/default", note="a copy")
    monkeypatch.setattr(models, "get", found.__getitem__)
    datasets = importlib.import_module("labkit.datasets")
    monkeypatch.setattr(datasets, "fetch_posts", lambda: "the/posts")
    assert main(["fetch", *arguments]) == 0
    lines = [f"model {name}: at/{name}" for name in expected]
    if not arguments:
        lines = [f"why {models.DEFAULT}", f"model {models.DEFAULT}: at/default, a copy"]
    assert capsys.readouterr().out.splitlines() == [*lines, "posts: the/posts"]


@pytest.mark.parametrize(
    ("arguments", "names", "out"),
    [
        ([], None, Path("build/notebooks")),
        (["a.ipynb", "--out", "x"], [Path("a.ipynb")], Path("x")),
        (["--in-place"], None, None),
    ],
)
def test_notebooks_executes_all_lessons_or_those_named(
    arguments: list[str],
    names: list[Path] | None,
    out: Path | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from tools import execute_notebooks

    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(execute_notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(execute_notebooks, "first_picture", lambda path: path.name.encode())
    asked: list[Any] = []
    monkeypatch.setattr(execute_notebooks, "execute", lambda *given: asked.append(given))
    monkeypatch.setattr(execute_notebooks, "lessons", lambda: [Path("1.ipynb"), Path("2.ipynb")])
    assert main(["notebooks", *arguments]) == 0
    assert asked == [(names or [Path("1.ipynb"), Path("2.ipynb")], out)]
    pictures = list((tmp_path / "docs").iterdir())  # the page's picture is renewed in place only
    assert [picture.read_bytes() for picture in pictures] == [b"1.ipynb"] * (out is None)


def test_the_module_runs_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["labkit", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("labkit", run_name="__main__")
    assert stop.value.code == 0


def test_the_installed_command_is_this_one() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="labkit")
    assert script.value == "labkit.__main__:main"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"labkit {labkit.__version__}\n"


def test_lessons_are_copied_and_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lessons", str(tmp_path / "course")]) == 0
    assert "01_faq_answers.ipynb" in capsys.readouterr().out
    mine = tmp_path / "course" / "notebooks" / "01_faq_answers.ipynb"
    mine.write_text("mine")
    assert main(["lessons", str(tmp_path / "course")]) == 1
    assert "not empty" in capsys.readouterr().err and mine.read_text() == "mine"
    (tmp_path / "file").write_text("x")
    assert main(["lessons", str(tmp_path / "file")]) == 1
    assert "a file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["bundle", "notebooks", "times"])
def test_what_belongs_to_the_repository_says_so_elsewhere(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "tools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tools", None)
    assert main([command]) == 1
    assert "of the repository" in capsys.readouterr().err


def test_importing_labkit_starts_nothing_heavy() -> None:
    """A notebook's first cell should not wait for torch, vLLM or Ray."""
    check = (
        "import sys, labkit; print(*{'torch', 'vllm', 'ray', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "points", "chart"),
    [
        ([], [(1, 1), (1, 4), (4, 4), (8, 4), (16, 4)], "saturation"),
        (["--in-flight", "2", "8"], [(1, 2), (2, 4)], "saturation"),
        (["--batch-size", "1", "8", "--at", "8"], [(1, 8), (8, 1)], "batch_sizes"),
        (["--batch-size", "2", "--batches", "1", "4"], [(2, 1), (2, 4)], "heat_map"),
    ],
)
def test_sweep_measures_the_points_that_were_asked_for(
    arguments: list[str],
    points: list[Any],
    chart: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    from labkit.charts import style
    from tests.results.test_sweep_result import CURVE, measured

    asked: dict[str, Any] = {}

    def sweep(task: Any, rows: Any, given: Any, spec: Any, **options: Any) -> Any:
        asked.update(options, task=task, rows=rows, points=list(given), spec=spec)
        return measured(CURVE)

    def png(draw: Any, found: Any) -> bytes:
        return draw.__name__.encode()

    monkeypatch.setattr(labkit, "sweep", sweep)
    monkeypatch.setattr(style, "png", png)
    out, picture = tmp_path / "s.jsonl", tmp_path / "deep" / "s.png"
    more = ["--task", "creative", "--rows", "700", "--max-tokens", "9", "--repeats", "2"]
    code = main(["sweep", *more, *arguments, "--out", str(out), "--chart", str(picture)])
    assert code == 0 and asked["points"] == points and picture.read_text() == chart
    assert (asked["path"], asked["repeats"], asked["spec"].warm) == (out, 2, True)
    assert len(asked["rows"]) == 700  # more than there are: from the first again
    assert asked["task"].sampling_for(asked["rows"].iloc[0].to_dict())["max_tokens"] == 9
    assert measured(CURVE).sentence() in capsys.readouterr().out


@pytest.mark.parametrize("batch", [False, True])
def test_plan_takes_a_task_or_a_batch_file(
    batch: bool,
    tiny: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def plan(task: Any, rows: Any, spec: Any, **options: Any) -> Any:
        calls.append((task, rows, options))
        return "a plan"

    monkeypatch.setattr(labkit, "plan", plan)
    file = tmp_path / "in.jsonl"
    body = '{"messages": [{"role": "user", "content": "Why?"}]}'
    about = '"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"'
    file.write_text(f'{{{about}, "body": {body}}}\n')
    command = ["plan", "--model", tiny.source, "--seconds", "9", "--currency", "EUR"]
    command += ["--price", "0.4", "H100=2.5"]
    assert main([*command, "--batch", str(file)] if batch else [*command, "--rows", "5000"]) == 0
    ((task, rows, options),) = calls
    assert len(rows) == (1 if batch else 5000)
    assert task.messages(rows[0] if batch else rows.iloc[0].to_dict())
    assert options["price_per_hour"] == {"here": 0.4, "H100": 2.5}
    assert (options["seconds"], options["currency"]) == (9, "EUR")
    assert capsys.readouterr().out == "a plan\n"
    assert main([*command[:-1], "H100=much"]) == 1
    assert "--price must be a number" in capsys.readouterr().err


def test_tune_says_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from labkit.results.tuning import Trial, Tuning

    made, asked = Tuning((Trial({"batch_size": 16}, (3.0, 4.0), 20.0, 9),), "", 60.0), {}

    def tune(task: Any, rows: Any, spec: Any, **options: Any) -> Any:
        asked.update(options, task=task.name, rows=len(rows))
        return made

    monkeypatch.setattr(labkit, "tune", tune)
    assert main(["tune", "--rows", "5000", "--seconds", "9", "--out", str(tmp_path / "t")]) == 0
    assert asked == {
        "seconds": 9.0,
        "path": tmp_path / "t",
        "task": "sentiment, zero-shot",
        "rows": 5000,
    }
    assert made.sentence() in capsys.readouterr().out


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1), (30, 1)])
def test_a_sweep_with_failed_rows_says_so_and_fails(
    failed: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.results.test_sweep_result import CURVE, measured

    monkeypatch.setattr(labkit, "sweep", lambda *_, **__: measured(CURVE, failed=failed))
    assert main(["sweep"]) == code
    runs = sum(map(len, CURVE.values()))
    assert (f"{runs * failed} rows failed" in capsys.readouterr().out) == bool(failed)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (["positive", "negative"], 0),
        (["positive", "banana"], 1),
        (["positive", None], 1),
        ([None, None], 1),
    ],
)
def test_label_fails_where_a_row_failed_and_has_numbers_of_the_rest(
    says: list[str | None],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    errors = ["no answer" if label is None else None for label in says]
    frame = pd.DataFrame({"label": ["positive", "negative"], "says": says, "error": errors})
    out = SimpleNamespace(
        read=lambda: frame, computed=2, failed=frame["error"].notna().sum(), metrics=None
    )
    monkeypatch.setattr(labkit, "write", lambda *_, **__: out)
    monkeypatch.setattr(labkit, "load_posts", lambda rows: frame)
    assert main(["label"]) == code
    shown = capsys.readouterr()
    assert shown.err == "" and f"{out.failed} failed" in shown.out
    assert ("accuracy" in shown.out) == (says != [None, None])
    assert ("the first error: no answer" in shown.out) == (None in says)


@pytest.mark.parametrize("arguments", [["--at", "8"], ["--batches", "1"]])
def test_sweep_explains_what_goes_together(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *arguments]) == 1
    assert "need --batch-size" in capsys.readouterr().err
