"""The house: rooms import one way, lazy and type-checking imports included; private parts of Ray
and vLLM have one door each; what needs neither works without them."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from labkit.paths import PACKAGE, REPO
from tests.ray_session.test_internals import CANARIES
from tools import tree

#: A room may import those before it, and what is in itself.
ORDER = (
    {"arguments", "errors", "paths"},
    {
        "tasks",
        "metrics",
        "quality",
        "progress",
        "pages",
        "scheduling",
        "datasets",
    },
    {"hardware"},
    {"weights"},
    {"settings"},
    {"rows"},
    {"ray_session"},
    {"engines"},
    {"results"},
    {"api"},
    {
        "charts",
        "claims",
        "exercises",
        "hand_in_page",
        "handed_in",
        "sweep_comparison",
        "preflight_check",
        "preflight_room",
    },
    {"widgets", "classroom"},
    {"cli", "__main__", "__init__"},
)
FLOOR = {room: at for at, rooms in enumerate(ORDER) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))
#: The one door to each private part: a pattern of what is imported, and the files that may.
DOORS = {
    r"ray\..*_internal|ray\._private|ray\._raylet": {"ray_session/internals.py"},
    r"vllm\.v1|vllm\.entrypoints": {"engines/fork_server.py", "api/serve_model.py"},
}


def imports(path: Path) -> list[str]:
    """The modules that a file imports, wherever in it: those of labkit by their full names."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def test_every_room_has_its_floor() -> None:
    assert {name(path).split(".")[0] for path in MODULES} == FLOOR.keys()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_one_way(path: Path) -> None:
    room = name(path).split(".")[0]
    for module in imports(path):
        assert not module.startswith("tools.") or room == "cli", f"{module}: of the repository"
        if module.startswith("labkit."):
            other = module.split(".")[1]
            if other in FLOOR and other != room:
                assert FLOOR[other] <= FLOOR[room], f"{name(path)} imports {module}"


def test_there_are_no_circles() -> None:
    """Inside a room, and between those of one floor."""
    known = {name(path).removesuffix(".__init__") for path in MODULES}
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        targets = set()
        for module in imports(path):
            if module.startswith("labkit."):
                inside = module.removeprefix("labkit.")
                targets |= {inside, inside.rpartition(".")[0]} & known
        graph[name(path).removesuffix(".__init__")] = targets
    graph.pop("__init__", None)
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above[above.index(module) :], module))
        if module not in done:
            for target in sorted(graph.get(module, set()) - {module}):
                visit(target, (*above, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("pattern", DOORS)
def test_private_parts_have_one_door(pattern: str) -> None:
    """Also as text: a program that is run elsewhere, a name that a worker is told to import."""
    for folder in (PACKAGE, REPO / "tools", REPO / "benchmarks"):
        for path in folder.rglob("*.py"):
            lines = [
                line
                for line in path.read_text().splitlines()
                if re.search(rf"\b(from|import)\b.*({pattern})", line)
            ]
            inside = path.is_relative_to(PACKAGE) and str(path.relative_to(PACKAGE))
            assert not lines or inside in DOORS[pattern], f"{path}: {lines[0]}"


def private_names() -> set[str]:
    """Attributes of others with an underscore, and private modules, wherever labkit names them."""
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))]
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ours = {node.name for node in nodes if isinstance(node, defined)}
    ours |= {node.id for node in nodes if isinstance(node, ast.Name)}
    ours |= {"_asdict", "_replace"}  # of a NamedTuple, by its documentation
    used = set()
    for node in nodes:
        if isinstance(node, ast.Attribute):
            own = isinstance(node.ctx, ast.Store) and ast.unparse(node.value) in ("self", "cls")
            (ours if own else used).add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            used.add(str(getattr(node.args[1], "value", "")))
    module = r"\b(?:from|import) (ray\._private(?: import)?[. ]\w+|vllm\.v1\.\w+|vllm\.entrypoints)"
    modules = {name for path in MODULES for name in re.findall(module, path.read_text())}
    names = {name for name in used - ours if re.match("_[a-z]", name)}
    return names | {name.replace(" import ", ".") for name in modules}


def test_each_private_name_has_its_canary() -> None:
    assert private_names() == CANARIES.keys()
    assert len(CANARIES) <= 13, "look for a public way first"


WITHOUT = """
import sys
for name in ("ray", "vllm", "torch", "transformers", "fcntl"):
    sys.modules[name] = None
import pandas as pd
import labkit
from labkit import charts, exercises, metrics, quality, tasks
labkit.panel, labkit.replay, labkit.Sweep, labkit.compare, labkit.load_faq
labkit.share, labkit.hand_in, labkit.compare_sweeps, labkit.preflight
sweep = labkit.recorded("h100-smollm2-135m-in-flight")
assert len(charts.png(charts.saturation, sweep)) > 10_000
panel = labkit.replay("h100-smollm2-135m-in-flight")
charts.png(charts.timeline, labkit.recorded_timeline("h100-smollm2-135m"))
assert labkit.load_faq(3).shape[0] == 3
"""


@pytest.mark.slow
def test_charts_and_panels_work_without_ray_and_vllm() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, cwd=REPO)


def test_a_worker_loads_only_what_it_needs() -> None:
    """The stage of a cold job that reads responses needs neither widgets nor charts."""
    program = (
        "import sys, labkit.engines.ray_data_llm;"
        "print(*sorted(n for n in sys.modules if n.startswith('labkit')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO
    )
    loaded = said.stdout.split()
    assert not {n.split(".")[1] for n in loaded if "." in n} & {"api", "charts", "widgets", "cli"}
    assert not [n for n in ("labkit.results.job", "labkit.datasets.posts") if n in loaded]


def test_every_room_is_packed() -> None:
    packed = set(
        tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    rooms = {f"labkit.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
    data = {"labkit.data", "labkit.data.recordings", "labkit.data.recordings.lessons"}
    data |= {"labkit.data.notebooks", "labkit.data.notebooks.pictures", "labkit.data.docs"}
    assert packed == {"labkit"} | data | rooms


INSTALLED = """
import pathlib, labkit
assert "site" in labkit.__file__
assert len(labkit.load_faq()) > 1000 and len(labkit.load_prompts()) > 100
from labkit.widgets.scheduler_toy import scheduler_toy
assert "window.schedule" in scheduler_toy()._repr_html_()
from labkit.classroom import board_http
assert "{{nonce}}" in board_http.PAGE.read_text(encoding="utf-8")
from labkit.results import lesson_outline
from labkit.results.lesson_minutes import lesson_minutes
assert [one.minutes > 1 for one in lesson_minutes(labkit.this_machine(), 30, 50)] == [True] * 3
assert len(lesson_outline.lessons()) == 3 and len(lesson_outline.exercises()) > 10
from labkit.engines import recorded_jobs
assert len(recorded_jobs.about()["jobs"]) > 20 and recorded_jobs._responses().num_rows > 1000
assert len(labkit.recordings()) > 2 and labkit.recorded_timeline("h100-smollm2-135m").caption
"""


@pytest.mark.slow
def test_an_installed_wheel_has_its_data(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    copy = tmp_path / "copy"
    shutil.copytree(REPO, copy, ignore=shutil.ignore_patterns(".git", ".venv", "build", ".*"))
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(copy)], check=True)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-c", INSTALLED], check=True, cwd=tmp_path, env=env)


def test_the_page_has_the_tree() -> None:
    assert tree.page() == tree.PAGE.read_text(), "run `python -m tools.tree`"
