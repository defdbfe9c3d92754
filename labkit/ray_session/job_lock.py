"""One job at a time in this process, by a name that all jobs of a sweep have."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator

from labkit.errors import LabError

#: Called with the name of a job or sweep when it has ended.
after_job: list[Callable[[str], None]] = []

_jobs = threading.RLock()
_name = ""


@contextlib.contextmanager
def one_job() -> Iterator[None]:
    """Hold this process for one job or sweep. Raises LabError while another thread's is under way:
    two at once would share an engine, and both would measure nonsense."""
    if not _jobs.acquire(blocking=False):
        raise LabError(
            "Another job of this notebook is under way, such as the sweep of a panel: wait for it, "
            "or press Cancel."
        )
    global _name
    outermost = not _name
    _name = _name or uuid.uuid4().hex
    try:
        yield
    finally:
        if outermost:
            ended, _name = _name, ""
            for tell in after_job:
                tell(ended)
        _jobs.release()


def job_name() -> str:
    """A name for the job or sweep under way: all jobs of a sweep have the same."""
    return _name or uuid.uuid4().hex
