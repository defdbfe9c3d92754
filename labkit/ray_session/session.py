"""Start or join Ray quietly, and leave it as it was."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from labkit.errors import LabError, lab_errors
from labkit.hardware.classroom_seat import has_ray, lent
from labkit.paths import PACKAGE, full_path, writable
from labkit.ray_session import restore
from labkit.ray_session.internals import RAY_SETTINGS

#: Seconds for a look at the address of a cluster.
JOIN_S = 5.0
#: How long a half-started Ray may take to be gone when it was killed.
END_S = 10.0
#: What a path of a socket may have (unix(7)); Ray refuses longer ones, or waits for them.
SOCKET_BYTES = 107
#: Called by `stop` while Ray is still up.
before_stop: list[Callable[[], None]] = []


@lab_errors("Ray could not be started")
def start(address: str | None = None, *, verbose: bool = False, num_cpus: int | None = None) -> Any:
    """Start a local Ray, or join the cluster at `address` or $RAY_ADDRESS ('auto': one here).

    Does nothing when Ray is up, nor where it is not installed and not needed: on a seat of a class,
    or where jobs are played back. `num_cpus` is logical;
    the default is at least 4, so that reading, the light stages and an engine fit on a small
    machine. Ray's and the workers' logs stay in
    files unless `verbose`. Returns Ray's context; raises LabError when the cluster can't be joined.
    What this changes in the process (environment variables, levels of loggers) `stop` puts back.
    """
    if lent() and not has_ray():
        return None  # the class's engine answers, or a recording
    import ray

    restore.begin()
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # for engines that others configure
        hush(verbose)
        if ray.is_initialized():
            return ray.get_runtime_context()
        return _start(address, verbose, num_cpus)
    except BaseException:
        restore.done()
        restore.put_back()
        raise
    finally:
        restore.done()


def _start(address: str | None, verbose: bool, num_cpus: int | None) -> Any:

    if threading.current_thread() is not threading.main_thread():
        raise LabError(  # Linux ends a process's children with the thread that started them
            "Ray must be started from the main thread: call labkit.start() in a cell of its own."
        )
    from labkit.hardware.machine import usable_cores

    address = address or os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {}
    if not address:
        local = {"num_cpus": num_cpus or max(usable_cores(), 4), "_temp_dir": str(_ray_folder())}
    else:
        _check_listens(address)
        # Workers on other machines get this package from here.
        local = {"runtime_env": {"py_modules": [str(PACKAGE)]}}
    options: dict[str, Any] = {
        "address": address or "local",
        "include_dashboard": False,
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.CRITICAL,
        **local,
    }
    with _settings_of_ray(verbose):
        try:
            return _init(options)
        except ConnectionError as problem:
            if not address:
                raise
            words = str(problem.__cause__ or problem).strip().splitlines()[-1]
            raise LabError(
                f"The Ray cluster at {address} can't be joined: {words}. Is "
                "it up, and reachable from here? If it asks for a token, set RAY_AUTH_MODE=token "
                "(and RAY_AUTH_TOKEN, or ~/.ray/auth_token) before Python starts."
            ) from problem


def temp_folder() -> tuple[Path, str]:
    """(where Ray and vLLM can keep their sockets and files, why it is not the folder that was
    named): $RAY_TMPDIR or $TMPDIR, and /tmp where that is too long for sockets or can't be written.

    Raises LabError when no folder will do.
    """
    named = next((n for n in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(n)), "")
    first = full_path(os.environ.get(named, "/tmp"))
    # As `ray/_private/node.py` makes them.
    session = f"ray/session_2000-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    why = ""
    for folder in dict.fromkeys((first, Path("/tmp"))):
        over = len(os.fsencode(folder / session)) - SOCKET_BYTES
        if over <= 0 and writable(folder / "ray"):
            return folder, why
        short = "can't be written" if over <= 0 else f"is {over} bytes too long for Ray's sockets"
        why = why or f"{named} ({folder}) {short}"
    raise LabError(
        f"There is no folder for Ray's session: {why.strip()}, and /tmp is no way out. Set "
        "RAY_TMPDIR to a folder that you may write to, with a short path."
    )


def _ray_folder() -> Path:
    folder, why = temp_folder()
    if why:
        text = f"{why}: its session is in {folder}. RAY_TMPDIR can name another folder."
        warnings.warn(text, stacklevel=4)
    return folder / "ray"


def _check_listens(address: str) -> None:
    """Raise LabError when nothing at `host:port` speaks as Ray does: it would try for minutes."""
    import grpc

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return  # 'auto', or a form that Ray knows better
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=JOIN_S).close()
        if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=JOIN_S)
    except grpc.FutureTimeoutError:
        raise LabError(
            f"The Ray cluster at {address} can't be joined: something listens there and says "
            f"nothing for {JOIN_S:g} s. Is it Ray's own port (6379), and is it up?"
        ) from None
    except (OSError, OverflowError) as problem:
        raise LabError(
            f"The Ray cluster at {address} can't be joined: {problem}. Is it up, and reachable "
            "from here?"
        ) from problem


def _init(options: dict[str, Any]) -> Any:
    """`ray.init`, once more where the machine was too busy for it.

    Ray gives its own node 30 s to start (`ray/_private/node.py`), which is little where other
    programs take the cores. Raises LabError when it is not enough twice. What it started by then
    is ended: Ray leaves it running.
    """
    import ray

    late = "timed out during startup"
    for _ in range(2):
        before = set(psutil.Process().children())
        try:
            return ray.init(**options)
        except BaseException as problem:  # Ctrl-C among them; a bare Exception where it is late
            ray.shutdown()
            _end_of_ray(set(psutil.Process().children()) - before)
            if late not in str(problem):
                raise
    raise LabError(
        "Ray did not start within 30 s, twice: other programs take the processor. End some of "
        "them (a kernel that still runs, another lesson), and try again."
    )


def _end_of_ray(started: set[psutil.Process]) -> None:
    """End those of these processes that are Ray's, and what is below them."""
    ending: set[psutil.Process] = set()
    for process in started:
        with contextlib.suppress(psutil.Error):
            if any(f"{os.sep}ray{os.sep}" in part for part in process.cmdline()):
                ending |= {process, *process.children(recursive=True)}
    for process in ending:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(ending, timeout=END_S)


def running() -> Any:
    """The module `ray` where this process has Ray up, else None; it is not imported for that."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def stop() -> None:
    """Stop the local Ray (or leave the cluster), and put back what `start` changed."""
    if ray := running():
        for end in before_stop:
            end()
        ray.shutdown()
    restore.put_back()


def hush(verbose: bool = False) -> None:
    """Keep Ray Data's own log lines off the screen (they stay in Ray's log folder)."""
    level = logging.INFO if verbose else logging.CRITICAL
    for name in restore.LOGGERS:
        logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def quiet(verbose: bool = False) -> Iterator[None]:
    """Silence every log line below ERROR inside the block: Ray resets its levels by itself."""
    before = logging.root.manager.disable
    if not verbose:
        logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _settings_of_ray(verbose: bool) -> Iterator[None]:
    """The variables that Ray's processes read when they start."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(restore.environment(**RAY_SETTINGS))
        if len(os.fsencode(tempfile.gettempdir())) > SOCKET_BYTES - 40:  # a slash and a UUID
            stack.enter_context(restore.environment(VLLM_RPC_BASE_PATH=str(temp_folder()[0])))
        name = "RAY_BACKEND_LOG_LEVEL"
        if not verbose and name not in os.environ:
            # Its C++ core writes harmless notes to stderr, and announces the new level there.
            stack.enter_context(restore.environment(**{name: "fatal"}))
            stderr, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            stack.callback(os.close, sink)
            stack.callback(os.close, stderr)
            stack.callback(os.dup2, stderr, 2)
        yield
