"""The process of vLLM's engine, forked instead of spawned: it starts some seconds sooner.

vLLM runs its engine in a process of its own. A worker of Ray has threads and must not fork, so vLLM
spawns that process there: a new Python, which imports PyTorch and vLLM a second time. A fork server
(https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods; vLLM's API
server has one, too) imports them while the worker does, and forks the engine's process when the
worker asks for it.
"""

from __future__ import annotations

import ctypes
import multiprocessing.forkserver
import os
import signal
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

#: What the fork server imports: what vLLM itself has imported where it forks, and nothing that
#: would set up the GPU.
IMPORTS = ["vllm.v1.engine.core"]
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Process(ForkServerProcess):
    """A forked process with its maker's environment of this moment, and no longer life."""

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


def begin() -> Context:
    """Start the fork server, which begins to import; before this process does so itself."""
    context = Context()
    context.set_forkserver_preload(IMPORTS)
    multiprocessing.forkserver.ensure_running()
    return context


def use(context: Context) -> None:
    """Let vLLM make its engine's process in `context`. It imports vLLM."""
    from vllm.v1.engine import utils

    vllms = utils.get_mp_context

    def get_mp_context() -> Context:
        vllms()  # it also tells the engine's process where Ray is
        return context

    utils.get_mp_context = get_mp_context
