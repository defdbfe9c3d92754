"""Ends a job that was cancelled or stands still, and says where it stood. No job hangs for ever."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from labkit.errors import Cancelled, LabError, Stalled
from labkit.progress import Progress
from labkit.ray_session import diagnosis

#: Seconds without a finished row after which a job is ended: enough for the first start of a large
#: model on a GPU, with its download.
STALL_S = 900.0


def limit(stall_s: float | None, least: float = 0.0) -> float:
    """The limit of a job in seconds: as given, else $LABKIT_STALL_S, else STALL_S or `least`.

    Raises LabError for what is no number above 0; `inf` is one, and means no limit.
    """
    given: Any = stall_s if stall_s is not None else os.environ.get("LABKIT_STALL_S")
    if given in (None, ""):
        return max(STALL_S, least)
    with contextlib.suppress(TypeError, ValueError):
        if (seconds := float(given)) > 0:
            return seconds
    name = "LABKIT_STALL_S" if stall_s is None else "stall_s"
    raise LabError(f"{name} must be a number of seconds above 0, not {given!r}.")


class Watch(threading.Event):
    """Set when a job is to end: by the user's `cancel`, or after `stall_s` without a finished row;
    and when it has ended in any other way.

    Stands where an Event that only says "end" is asked for; `check` raises with the reason, and so
    does the end of its `with` block, for those that can only say Cancelled.
    """

    def __init__(self, shown: Progress, cancel: threading.Event | None, stall_s: float):
        super().__init__()
        self.shown, self.cancel, self.stall_s = shown, cancel, stall_s
        self.cancelled = self.ended = False
        self.touch()

    def __enter__(self) -> Self:
        self.touch()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Cancelled:
            self.check()

    def touch(self) -> None:
        """Count from now: rows came, or the job itself was busy with them."""
        self.since = time.monotonic()

    def is_set(self) -> bool:
        """Whether the job is to end."""
        return self.ended or self._due()

    def _due(self) -> bool:
        self.cancelled = self.cancel is not None and self.cancel.is_set()
        return self.cancelled or time.monotonic() - self.since > self.stall_s

    def check(self, waiting_for: Callable[[], list[str]] = list) -> None:
        """Raise Cancelled or Stalled when the job is to end."""
        if self._due():
            if self.cancelled:
                raise Cancelled(f"Cancelled after {self.shown.rows:,} rows.")
            raise Stalled(self.diagnosis(waiting_for()))

    def diagnosis(self, waiting_for: list[str]) -> str:
        """How long nothing happened, in which phase, what is done, and what to look at."""
        shown = self.shown
        phase = f"since “{shown.startup}”" if not shown.rows else "in the middle of the job"
        of = "" if shown.total is None else f" of {shown.total:,}"
        words = (
            f"The job was ended: no row was finished for {self.stall_s:g} s, {phase}; "
            f"{shown.rows:,}{of} rows are done."
        )
        if waiting_for:
            words += f" Ray has not started {', '.join(waiting_for)}: no room, or no memory."
        if line := last_words():
            words += f" The engine's last words: {line}."
        return (
            f"{words} Run `python -m labkit doctor` to see what this machine lacks; the full logs "
            f"are in {diagnosis.log_folder()}. If it only needs longer (a large download, a slow "
            "machine), give a larger stall_s, or set LABKIT_STALL_S."
        )


def last_words() -> str:
    """The last line of an engine's log, of those with an error if there are any; '' for none.

    Ray keeps a file for what each worker of this node prints; the newest of vLLM is read.
    """
    newest, words = -math.inf, ""
    for file in Path(diagnosis.log_folder() or os.devnull).glob("worker-*"):
        with contextlib.suppress(OSError):
            if (when := file.stat().st_mtime) > newest:
                text = file.read_bytes()[-4000:].decode("utf-8", "replace")
                lines = [s for line in text.splitlines() if (s := line.strip()) and s[0] != ":"]
                if lines and "vllm" in text.lower():
                    errors = [line for line in lines if "Error" in line]
                    newest, words = when, (errors or lines)[-1][:300]
    return words
