"""Counts the engines that the tests start, in whatever process, and holds a reason for each.

Each engine's process loads vLLM's plugins (https://docs.vllm.ai/en/latest/design/plugin_system),
so a plugin of the tests' own, on PYTHONPATH, notes its start in a file.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

#: The file that the plugin appends a line to for each engine.
FILE = "LABKIT_TEST_ENGINES"

PLUGIN = f"""
import multiprocessing, os

def note():
    if multiprocessing.current_process().name.startswith("EngineCore") and "{FILE}" in os.environ:
        with open(os.environ["{FILE}"], "a") as file:
            file.write("one\\n")
"""
#: What the engines of `make test` are started for: {test: (how many, why)}.
REASONS = {
    "test_docs.py::test_python_blocks_run": (
        1,
        "the blocks of README and recipes share the engine of the tests; the one that ends with "
        "labkit.stop() comes last, after a test that stopped that engine",
    ),
    "test_batch_job.py::test_on_the_warm_engine": (
        1,
        "the warm engine that all tests share; this one is the first to ask for it",
    ),
    "test_nbval.py::test_nbval": (
        10,
        "the lessons: 3 in the first (a cold job, one by hand, the warm engine), 1 in the second, "
        "6 in the third (warm, the job that is killed, two nodes, a server, rows of one's own)",
    ),
    "test_panel_browser.py::test_notebook_02_from_run_to_the_chart_and_its_errors": (
        1,
        "the panel's own kernel in JupyterLab",
    ),
    "test_run_job.py::test_every_row_comes_back_once": (1, "a cold job over hard rows, read by 16"),
    "test_serve_model.py::test_every_row_comes_back_once": (
        1,
        "vllm serve, with real weights: jobs over HTTP, keys, ports, checkable answers",
    ),
    "test_warm_engine.py::test_another_argument_replaces_the_engine_and_says_why": (
        1,
        "the one after; the one before is that which all tests share",
    ),
}

METADATA = "Metadata-Version: 2.1\nName: labkit-engine-counter\nVersion: 0\n"
ENTRY_POINT = "[vllm.general_plugins]\nlabkit_engine_counter = labkit_engine_counter:note\n"


def watch() -> None:
    """From now on the engines of this process and of all below it are counted."""
    folder = Path(tempfile.mkdtemp(prefix="engines-"))
    about = folder / "labkit_engine_counter-0.dist-info"
    about.mkdir()
    (folder / "labkit_engine_counter.py").write_text(PLUGIN)
    (about / "METADATA").write_text(METADATA)
    (about / "entry_points.txt").write_text(ENTRY_POINT)
    (folder / "starts").touch()
    os.environ[FILE] = str(folder / "starts")
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def count() -> int:
    """How many engines this process and those below it have started so far."""
    return len(Path(os.environ[FILE]).read_text().splitlines())


#: Engines by test, as they were started.
_started: Counter[str] = Counter()


def note(test: str, engines: int) -> None:
    """So many engines were started for this test, its fixtures included."""
    _started[test] += engines


def by_test() -> Counter[str]:
    """Engines by test (`file::name`), those of workers that have ended among them."""
    return +_started


def without_reason(started: Counter[str]) -> Counter[str]:
    """The engines of `make test` that are more than REASONS has."""
    return started - Counter({test: engines for test, (engines, _) in REASONS.items()})
