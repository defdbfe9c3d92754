"""What starting Ray changes in this process, and how it is put back."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

#: Loggers that are kept quiet while Ray is up.
LOGGERS = ("ray.data", "ray.llm", "ray", "vllm")


#: ("variable" or "level", its name) → its value; a variable that is not set is not there.
Settings = dict[tuple[str, str], Any]

_began: Settings = {}
_before: Settings = {}
_made: Settings = {}
#: What SIGTERM did before Ray was started, and what Ray made of it.
_sigterm: tuple[Any, Any] | None = None
_sigterm_began: Any = None


def _now() -> Settings:
    levels = {("level", name): logging.getLogger(name).level for name in LOGGERS}
    return {("variable", name): value for name, value in os.environ.items()} | levels


def begin() -> None:
    """Remember how things are: the environment, the levels of LOGGERS, what SIGTERM does."""
    global _began, _sigterm_began
    _began = _now()
    _sigterm_began = signal.getsignal(signal.SIGTERM)


def done() -> None:
    """Remember what has been changed since `begin`, beside what was before: not what the user sets
    between two calls."""
    global _sigterm
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not _sigterm_began:
        _sigterm = _sigterm_began, handler
    now = _now()
    for key in _began.keys() | now.keys():
        if _began.get(key) == now.get(key):
            continue
        if key not in _made or _made[key] != _began.get(key):  # else the first value counts
            _before[key] = _began.get(key)
        _made[key] = now.get(key)


def put_back() -> None:
    """Undo the changes between `begin` and `done`, but for what was changed once more since."""
    now = _now()
    for (kind, name), value in _made.items():
        before = _before[kind, name]
        if now.get((kind, name)) != value:
            continue
        if kind == "level":
            logging.getLogger(name).setLevel(before)
        elif before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    _made.clear()
    _before.clear()
    main = threading.current_thread() is threading.main_thread()
    if main and _sigterm and signal.getsignal(signal.SIGTERM) is _sigterm[1]:
        signal.signal(signal.SIGTERM, _sigterm[0] or signal.SIG_DFL)


@contextlib.contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Set variables for a block; what stands there already, or is changed in it, stays."""
    added = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in added.items():
            if os.environ.get(name) == value:
                del os.environ[name]
