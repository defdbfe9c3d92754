"""The engine's process comes from a fork server of its worker, and both end with it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
import pytest

import labkit
from labkit import tasks
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


@pytest.mark.engine
def test_the_engine_is_forked_by_a_server_of_its_worker(warm_spec: Any) -> None:
    labkit.run(tasks.faq(max_tokens=2), [{"question": "Hi?"}], warm_spec, progress=False)
    mine = below()
    (core,) = [p for p in mine if "EngineCore" in " ".join(p.cmdline())]
    server = core.parent()
    assert server is not None and "forkserver" in " ".join(server.cmdline())
    worker = server.parent()
    assert worker is not None and "ray::Engine" in " ".join(worker.cmdline())
