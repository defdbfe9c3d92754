"""What starting Ray changes in this process, and how it is put back."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: Loggers that are kept quiet while Ray is up.
LOGGERS = ("ray.data", "ray.llm", "ray", "vllm")


@dataclass(frozen=True)
class State:
    """The environment, the levels of LOGGERS and what SIGTERM does, at one moment."""

    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    levels: dict[str, int] = field(
        default_factory=lambda: {name: logging.getLogger(name).level for name in LOGGERS}
    )
    on_sigterm: Any = field(default_factory=lambda: signal.getsignal(signal.SIGTERM))


_before: State | None = None
_after: State | None = None


def begin() -> None:
    """Remember how things are, unless that was done since the last `put_back`."""
    global _before
    _before = _before or State()


def done() -> None:
    """Remember what has been changed since `begin`."""
    global _after
    _after = State()


def put_back() -> None:
    """Undo the changes between `begin` and `done`, but for what was changed once more since."""
    global _before, _after
    before, after, _before, _after = _before, _after, None, None
    if before is None or after is None:
        return
    _environment(before.environment, after.environment)
    now = State()
    for name, level in before.levels.items():
        if now.levels[name] == after.levels[name]:
            logging.getLogger(name).setLevel(level)
    main = threading.current_thread() is threading.main_thread()
    if main and getattr(now.on_sigterm, "__module__", "") == "ray._private.worker":
        signal.signal(signal.SIGTERM, before.on_sigterm or signal.SIG_DFL)


def _environment(before: dict[str, str], after: dict[str, str]) -> None:
    for name in before.keys() | after.keys():
        if before.get(name) == after.get(name) or os.environ.get(name) != after.get(name):
            continue
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]


@contextlib.contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Set variables for a block; what stands there already, or is changed in it, stays."""
    before = dict(os.environ)
    for name, value in changes.items():
        os.environ.setdefault(name, value)
    after = dict(os.environ)
    try:
        yield
    finally:
        _environment(before, after)
