"""Open a class: the engine, the line, the server and the seats' links, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from filelock import FileLock, Timeout

from labkit.classroom import board_http
from labkit.classroom import seats as class_seats
from labkit.classroom.board import Board
from labkit.classroom.server import Server
from labkit.classroom.turn_queue import Limits, TurnQueue
from labkit.classroom.turns import Turns, WarmEngine
from labkit.engines import warm_engine
from labkit.errors import LabError
from labkit.paths import full_path
from labkit.ray_session import session
from labkit.results.job_fingerprint import model_hash
from labkit.settings.processor_spec import ProcessorSpec
from labkit.settings.seat_spec import told

PORT = 8899
#: Seconds for the server to come up, and to end.
START_S, END_S = 20.0, 5.0


def open_class(
    spec: ProcessorSpec,
    *,
    seats: int,
    folder: str | Path,
    host: str = "127.0.0.1",
    port: int = PORT,
    limits: Limits | None = None,
    sheet: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a class on this machine's warm engine until Ctrl-C or SIGTERM.

    spec: of the engine, from `labkit.configure`. seats: how many tokens there are. folder: of the
    line and the key of the tokens: with the same one the same links hold, and jobs in line go on.
    host: 127.0.0.1 for this machine alone, 0.0.0.0 for the room. sheet: an HTML page to write, with
    the seats' links. say: is told the lines of the log.

    Call it from the main thread. Raises LabError for a folder that another class holds, or a port
    that is taken; JobFailed where the engine can't start.
    """
    spec = spec.with_(warm=True).with_engines(1)
    limits = limits or Limits()
    with held(folder) as own, _listening(host, port) as listener:
        tokens = class_seats.Seats(own, seats)
        url = f"http://{_address(host)}:{listener.getsockname()[1]}"
        session.start()
        with session.quiet():
            say(f"{spec.starting} …")
            warm_engine.started(spec, say)
            about = told(spec, model_hash(spec), asdict(limits))
            if sheet is not None:
                write_sheet(full_path(sheet), class_seats.sheet(tokens, url, about["words"]))
                say(f"The links of {seats} seats are in {sheet}.")
            for name in tokens.names() if sheet is None else ():
                say(f"seat {name}  {url}/{tokens.token(name)}")
            queue = TurnQueue(own / "line.sqlite", limits)
            board = Board(own / "board", tokens.names())
            say(f"The board, for the projector: {url}/board/{board_http.token(tokens)}")
            opened = (
                f"The class is open at {url}: {about['words']}. Ctrl-C ends it; jobs in line are "
                "kept."
            )
            try:
                turns = Turns(queue, WarmEngine(spec))
                serve(turns, tokens, about, listener, lambda: say(opened), board)
            finally:
                queue.close()
                session.stop()


def serve(
    turns: Turns,
    tokens: class_seats.Seats,
    about: dict[str, Any],
    listener: socket.socket,
    ready: Callable[[], None] = lambda: None,
    board: Board | None = None,
) -> None:
    """Take jobs over HTTP and run them in this thread, until `turns.stop`, Ctrl-C or SIGTERM."""
    app = Server(turns.queue, tokens, about, board).app
    settings = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1,
        server_header=False, h11_max_incomplete_event_size=16384, limit_concurrency=500,
    )  # no access log: it would hold the tokens  # fmt: skip
    server = uvicorn.Server(settings)
    http = threading.Thread(target=server.run, args=([listener],), daemon=True)
    http.start()
    deadline = time.monotonic() + START_S
    while not server.started and http.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    if not server.started:
        raise LabError("The class's server did not come up.")
    ready()
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: turns.stop()) if main else None
    try:
        turns.run()
    except KeyboardInterrupt:
        turns.stop()
    finally:
        if main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        server.should_exit = True
        http.join(END_S)


@contextlib.contextmanager
def held(folder: str | Path) -> Iterator[Path]:
    """The class's folder, for this program alone and no other user. Raises LabError where another
    class holds it, or it can't be made."""
    own = full_path(folder)
    try:
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        own.chmod(0o700)
        lock = FileLock(own / ".lock", blocking=False)
        lock.acquire()
    except Timeout:
        raise LabError(f"Another class is open in {own}: end it, or give another folder.") from None
    except OSError as problem:
        raise LabError(f"The class's folder {own} can't be used: {problem}.") from problem
    try:
        yield own
    finally:
        lock.release()


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises LabError where the port is taken."""
    try:
        listener = socket.create_server((host, port), backlog=256)
    except (OSError, OverflowError) as problem:
        raise LabError(
            f"Port {port} of {host} can't be used ({problem}): give another one with --port."
        ) from problem
    with listener:
        yield listener


def _address(host: str) -> str:
    """What the room calls this machine."""
    if host not in ("0.0.0.0", "::"):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # of no one (RFC 5737); nothing is sent
        return str(probe.getsockname()[0])
    return socket.gethostname()


def write_sheet(file: Path, page: str) -> None:
    """The sheet, for this user alone: it holds all tokens. Raises LabError where it can't be."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            opened.write(page)
    except OSError as problem:
        raise LabError(f"The sheet {file} can't be written: {problem}.") from problem
