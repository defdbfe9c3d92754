"""A real Ray cluster of several nodes on this one machine, to try what a larger cluster does."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from labkit.errors import LabError, lab_errors
from labkit.hardware.nvidia import find_gpus
from labkit.ray_session import internals, restore, session

#: Each node's share of memory for Ray objects: rows of text need little.
OBJECT_STORE_BYTES = 200 * 1024**2
#: Where the first node is, and what Ray says of a port that is taken.
HEAD, TAKEN = "127.0.0.2", "Failed to start the grpc server"
START_S = 120
STOP_S = 15


@lab_errors("The nodes could not be started")
@contextlib.contextmanager
def local_nodes(count: int = 2, cpus: int = 2) -> Iterator[str]:
    """Start `count` Ray nodes of `cpus` logical CPUs each; the address for `labkit.start`.

    The nodes have addresses 127.0.0.2, .3, … and folders of their own, so that other Ray sessions
    of this machine neither see them nor are stopped with them. Ray listens on all interfaces where
    the address is not 127.0.0.1 (which a second node can't join), so it asks for its token
    (~/.ray/auth_token, made if missing) unless RAY_AUTH_MODE says otherwise. Linux only.

    On exit the driver leaves the cluster, and every process of it has ended. Raises LabError with
    Ray's own words when a node doesn't start.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    environment = (
        internals.RAY_SETTINGS
        | os.environ
        | {"RAY_AUTH_MODE": mode, "RAY_USAGE_STATS_ENABLED": "0"}
    )
    environment.pop("RAY_ADDRESS", None)
    with _token() if mode == "token" else contextlib.nullcontext():
        yield from _nodes(count, cpus, environment)


def _nodes(count: int, cpus: int, environment: dict[str, str]) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="n-", dir=session.temp_folder()[0]))  # short, for sockets
    started: list[subprocess.Popen[bytes]] = []
    address = ""

    def start(*options: str) -> None:
        number = len(started)
        # What the script `ray` runs: on a host with a bundle there is no script beside Python.
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        command += [
            f"--node-ip-address=127.0.0.{number + 2}",
            f"--num-cpus={cpus}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={folder}",
            "--dashboard-agent-listen-port=0",
            "--disable-usage-stats",
            "--log-style=record",
        ]
        own = environment | _cards(number, count)
        with (folder / f"node-{number}.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))

    def start_head() -> str:
        port, client = (_free_port(HEAD) for _ in range(2))
        head = ("--head", "--include-dashboard=false", f"--ray-client-server-port={client}")
        start(*head, f"--port={port}")
        _wait(started[0], folder / "node-0.log")
        return f"{HEAD}:{port}"

    try:
        try:
            address = start_head()
        except LabError:
            if TAKEN not in (folder / "node-0.log").read_text(errors="replace"):
                raise
            _end([started.pop()])  # another program took a port that was free a moment before
            address = start_head()
        for _ in range(1, count):
            start(f"--address={address}")
        for number, node in enumerate(started):
            _wait(node, folder / f"node-{number}.log")
        yield address
    finally:
        _leave(address)
        _end(started)
        shutil.rmtree(folder, ignore_errors=True)


def _cards(number: int, count: int) -> dict[str, str]:
    """The GPUs of a node: cards of its own where there are enough, else all nodes share them."""
    cards = [gpu.visible_name for gpu in find_gpus()]
    if len(cards) < count:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(cards[number::count])}


@contextlib.contextmanager
def _token() -> Iterator[None]:
    """Make Ray's token if there is none, and have this process show it when it joins."""
    with restore.environment(RAY_AUTH_MODE="token"):
        internals.enable_token()
        yield


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def _wait(node: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "Ray runtime started" not in (words := log.read_text(errors="replace")):
        if node.poll() is not None or time.monotonic() > deadline:
            last = " ".join(words.strip().splitlines()[-3:])
            raise LabError(f"A Ray node did not start on this machine: {last or 'no reason given'}")
        time.sleep(0.1)


def _leave(address: str) -> None:
    import ray

    if ray.is_initialized() and ray.get_runtime_context().gcs_address == address:
        ray.shutdown()
        restore.put_back()


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """End the nodes (the head last) and everything they began."""
    mine: list[psutil.Process] = []
    for node in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(node.pid)
            mine += [parent, *parent.children(recursive=True)]
    for node in reversed(started):
        node.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(STOP_S)
    _, left = psutil.wait_procs(mine, timeout=3)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_S)
