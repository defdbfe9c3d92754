"""The process of vLLM's engine, forked instead of spawned: it starts some seconds sooner.

vLLM runs its engine in a process of its own. A worker of Ray has threads and must not fork, so vLLM
spawns that process there: a new Python, which imports PyTorch and vLLM a second time. A fork server
(https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods; vLLM's API
server has one, too) imports them while the worker does, and forks the engine's process when the
worker asks for it.

Ray calls `start_in_worker` in each worker of an engine on one device, before it has anything to do
there: cold jobs and warm engines start alike. The workers of tensor parallelism would inherit it;
there vLLM spawns, as ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import multiprocessing.forkserver
import os
import signal
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

#: What the fork server imports: a module that imports CORE, what vLLM itself has imported where it
#: forks, and nothing that would set up the GPU.
IMPORTS = ["labkit.engines.preloaded"]
CORE = "vllm.v1.engine.core"
#: What the engine needs of vLLM in its worker.
FRONT = "vllm.v1.engine.async_llm"
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Process(ForkServerProcess):
    """A forked process with its maker's environment of this moment, that lives no longer."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.environment = dict(os.environ)

    def run(self) -> None:
        """In the new process."""
        server: Any = multiprocessing.forkserver._forkserver
        # The server ends when nobody holds this pipe: its maker alone shall hold it. Then the
        # kernel ends this process with the server.
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # Only the others: setproctitle, which names this process, needs the first ones in place.
        now = dict(os.environ)
        os.environ.update({k: v for k, v in self.environment.items() if now.get(k) != v})
        super().run()


class Context(ForkServerContext):
    """Python's context of the fork server, with these processes."""

    Process = Process


def start_in_worker() -> None:
    """Start the fork server and import vLLM beside it; its engine's process will be forked.

    Where vLLM can't be imported nothing is prepared: the engine's own error says why.
    """
    context = Context()
    context.set_forkserver_preload(IMPORTS)
    multiprocessing.forkserver.ensure_running()
    with contextlib.suppress(Exception):
        _patch_vllm(context)


def import_for_good(name: str) -> None:
    """Import a large module that stays. Python's garbage collector would look at its objects 1,500
    times meanwhile, for a quarter of vLLM's import, and again at each of its rounds afterwards; now
    it does neither. A process that is forked then shares them
    (https://docs.python.org/3/library/gc.html#gc.freeze). To see it: time
    `python -c "import gc; gc.disable(); import vllm.v1.engine.core"`, and without the second step.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(name)
        gc.freeze()
    finally:
        if before:
            gc.enable()


def _patch_vllm(context: Context) -> None:
    """Let vLLM make its engine's process in `context`."""
    import_for_good(FRONT)
    from vllm.v1.engine import utils

    vllms = utils.get_mp_context

    def get_mp_context() -> Context:
        vllms()  # it also tells the engine's process where Ray is
        return context

    utils.get_mp_context = get_mp_context
