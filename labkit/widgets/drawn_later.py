"""Draw in a thread of its own, so that the next job does not wait for the picture of the last."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable


class DrawnLater:
    """Stands where `draw` is called: each call returns at once, and `draw` runs soon after it, in
    a thread, once for all calls that came meanwhile."""

    def __init__(self, draw: Callable[[], None]):
        self.draw = draw
        self._lock = threading.Lock()
        self._asked = self._busy = False

    def __call__(self) -> None:
        with self._lock:
            self._asked = True
            if self._busy:
                return
            self._busy = True
        # What is drawn goes to the cell of the caller: its thread needs that cell's context.
        work = contextvars.copy_context().run
        threading.Thread(target=work, args=(self._work,), daemon=True).start()

    def _work(self) -> None:
        while self._next():
            try:
                self.draw()
            except BaseException:
                with self._lock:
                    self._busy = False
                raise

    def _next(self) -> bool:
        with self._lock:
            self._busy, self._asked = self._asked, False
            return self._busy
