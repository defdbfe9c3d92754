"""Show how far a job is: a bar in a notebook, one line in a terminal."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol, Self

from labkit.errors import Cancelled, reason


class View(Protocol):
    """Where progress is shown; called from a thread of its own, twice a second."""

    def show(self, text: str, share: float | None) -> None:
        """The line of words, and the share of the rows that is done (None: not known)."""

    def close(self) -> None:
        """The job has ended; the last line was shown."""


def view_of(progress: bool | View | None) -> View | None:
    """Where a verb's `progress` says: the usual place for True, none for False, or one's own."""
    view = view_here() if progress is True else progress or None
    return view and _Unharmed(view)


class _Unharmed:
    """A view whose failure (a closed terminal, a mistake in one of your own) harms no job: nothing
    more is shown then."""

    def __init__(self, view: View):
        self.view: View | None = view

    def show(self, text: str, share: float | None) -> None:
        self._call(lambda view: view.show(text, share))

    def close(self) -> None:
        self._call(lambda view: view.close())

    def _call(self, call: Callable[[View], None]) -> None:
        try:
            if self.view is not None:
                call(self.view)
        except Exception as problem:  # whatever it is: hours of a job's work are worth more
            self.view = None
            words = f"The progress can't be shown any more ({reason(problem)}); the job goes on."
            warnings.warn(words, stacklevel=4)


class Named:
    """A view with words before each line; `share` is from a job's share to that of the whole."""

    def __init__(self, view: View | None, name: str, share: Callable[[float], float]):
        self.view, self.name, self.share = view, name, share

    def show(self, text: str, share: float | None) -> None:
        """The line of one job."""
        if self.view is not None:
            self.view.show(f"{self.name} · {text}", self.share(share or 0.0))

    def close(self) -> None:
        """The next job goes on in the same place."""


class Progress:
    """Rows done, output tokens/s and time left, refreshed twice a second while it is open.

    Until the first rows come it counts the seconds of startup, so that a long engine start never
    looks like a hang. Ray Data's own bars need a terminal, which a notebook is not.
    """

    def __init__(
        self, total: int | None, *, startup: str, show: bool | View = True, label: str = ""
    ):
        self.total = total
        self.startup = startup
        self.label = label
        self.rows = self.tokens = self.failed = self.cut = 0
        self.kept = ""  # where the finished rows of a stopped job are
        self._began = time.monotonic()
        self._first: float | None = None
        self._rows_at_first = self._tokens_at_first = 0
        self._view = view_of(show)
        self._stop = threading.Event()
        # The thread writes to the output of the cell that opened it: it needs that cell's context.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._tick,), daemon=True)

    def say(self, words: str) -> None:
        """What is shown until the first rows come."""
        self.startup = words

    def advance(self, rows: int, tokens: int, cut: int = 0) -> None:
        """Count finished rows, their output tokens, and those that were cut at `max_tokens`."""
        self.rows += rows
        self.cut += cut
        self.tokens += tokens
        if self._first is None:
            self._first = time.monotonic()
            self._rows_at_first, self._tokens_at_first = self.rows, self.tokens

    def text(self, now: float | None = None) -> str:
        """The line to show. The rate counts from the first finished rows: startup is apart."""
        now = time.monotonic() if now is None else now
        if self._first is None:
            return f"{self.label}{self.startup} … {now - self._began:.0f} s"
        of = "" if self.total is None else f" of {self.total:,}"
        words = f"{self.label}{self.rows:,}{of} rows"
        since = now - self._first
        if self.rows > self._rows_at_first and since > 0:
            rate = (self.rows - self._rows_at_first) / since
            tokens = (self.tokens - self._tokens_at_first) / since
            # No token at all: a server that does not count them.
            words += f" · {tokens:,.0f} output tokens/s" if tokens else f" · {rate:,.1f} rows/s"
            if self.total is not None and self.rows < self.total:
                words += f" · {(self.total - self.rows) / rate:.0f} s left"
        return words

    def __enter__(self) -> Self:
        if self._view is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._view is None:
            return
        self._stop.set()
        self._thread.join(timeout=5)
        end = "done" if kind is None else "stopped"
        if kind is not None and issubclass(kind, KeyboardInterrupt | Cancelled):
            end = "cancelled"
        took = time.monotonic() - self._began
        of = f" of {self.total:,}" if self.total is not None and self.rows != self.total else ""
        words = f"{self.label}{end}: {self.rows:,}{of} rows in {took:.0f} s"
        words += f"; {self.failed:,} failed" if self.failed else ""
        words += f"; {self.cut:,} cut at max_tokens" if self.cut else ""
        words += f"; {self.kept}" if self.kept else ""
        # Of rows that were never counted (a Dataset) no share is known: a bar without one would
        # move for ever.
        share = self._share()
        self._view.show(words, (1.0 if kind is None else 0.0) if share is None else share)
        self._view.close()

    def _share(self) -> float | None:
        return self.rows / self.total if self.total else None

    def _tick(self) -> None:
        assert self._view is not None
        while not self._stop.wait(0.5):
            self._view.show(self.text(), self._share())


def view_here() -> View:
    """The place for progress here: the cell's output in a notebook, else a line on stderr."""
    try:
        from IPython import get_ipython

        shell: Any = get_ipython()
        if shell is not None and hasattr(shell, "kernel"):
            return _Notebook()
    except ImportError:
        pass
    return _Terminal()


class _Terminal:
    """One line that rewrites itself; where stderr is no terminal, a line every 10 seconds."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.last = time.monotonic()

    def show(self, text: str, share: float | None) -> None:
        if self.live:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.last > 10:
            self.last = time.monotonic()
            print(text, file=sys.stderr, flush=True)
        self.text = text

    def close(self) -> None:
        print("" if self.live else self.text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Line:
    """A bar and a line of text; as plain text, the line alone."""

    text: str
    share: float | None

    def _repr_html_(self) -> str:
        value = "" if self.share is None else f' value="{self.share:.3f}"'
        style = "width: 14em; margin-right: 1em; vertical-align: middle"
        return f'<div><progress max="1"{value} style="{style}"></progress>{escape(self.text)}</div>'

    def __repr__(self) -> str:
        return self.text


class _Notebook:
    """One output that is updated in place; its last state is kept in the saved notebook."""

    def __init__(self) -> None:
        from IPython.display import display

        self.handle = display(_Line("", None), display_id=True)

    def show(self, text: str, share: float | None) -> None:
        self.handle.update(_Line(text, share))

    def close(self) -> None:
        """Nothing to do: the last line stays."""
