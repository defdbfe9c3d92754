"""The engine's process comes from a fork server of its worker, and both end with it."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import labkit
from labkit import tasks
from labkit.engines import fork_server
from tests.programs import below

#: A worker whose vLLM is broken: what it prepares is of no use, and ends with it.
BROKEN = """
import multiprocessing.forkserver, sys
sys.modules["vllm"] = None
from labkit.engines import fork_server
fork_server.IMPORTS.clear()
fork_server.start_in_worker()
print(multiprocessing.forkserver._forkserver._forkserver_pid)
"""


@pytest.mark.slow
def test_a_worker_without_vllm_starts_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=60, check=True
    )
    server = int(done.stdout)
    psutil.wait_procs([psutil.Process(server)] if psutil.pid_exists(server) else [], timeout=20)
    assert not psutil.pid_exists(server)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("module", ["there", "broken"])
def test_the_garbage_collector_waits_for_a_large_import_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: bool, module: str
) -> None:
    code = "import gc\nseen = gc.isenabled()\n" + "1 / 0\n" * (module == "broken")
    (tmp_path / f"{module}_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    kept = gc.get_freeze_count()
    try:
        if not enabled:
            gc.disable()
        if module == "broken":
            with pytest.raises(ZeroDivisionError):
                fork_server.import_for_good(f"{module}_module")
        else:
            fork_server.import_for_good(f"{module}_module")
            assert not sys.modules[f"{module}_module"].seen and gc.get_freeze_count() > kept
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.engine
def test_the_engine_is_forked_by_a_server_of_its_worker(warm_spec: Any) -> None:
    labkit.run(tasks.faq(max_tokens=2), [{"question": "Hi?"}], warm_spec, progress=False)
    mine = below()
    (core,) = [p for p in mine if "EngineCore" in " ".join(p.cmdline())]
    server = core.parent()
    assert server is not None and "forkserver" in " ".join(server.cmdline())
    worker = server.parent()
    assert worker is not None and "ray::Engine" in " ".join(worker.cmdline())
