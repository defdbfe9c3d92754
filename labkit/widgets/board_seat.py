"""A seat on the class's board: what a learner chose to show, sent whenever it changes.

Off until `share` is called. Sent from a thread of its own: no cell waits for it, and none fails
because of it.
"""

from __future__ import annotations

import threading
from typing import Any

from labkit.classroom.board import body
from labkit.errors import LabError, lab_errors
from labkit.hardware import classroom_seat
from labkit.hardware.classroom_seat import Link, Refused
from labkit.results.class_work import work
from labkit.results.lesson_outline import Place, place

#: Seconds between two tries of a server that is away, at first and at most; between two sendings.
PAUSE_S, LONGEST_S, APART_S = 1.0, 30.0, 0.5


class BoardSeat:
    """Shows this program's work on a board, until `stop`.

    name: '' for the seat's number. problem: why the last sending failed, '' where it did not.
    """

    def __init__(self, link: Link, name: str):
        self.link, self.name = link, name
        self.place: Place | None = None
        self.problem = ""
        self._news, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Send once, and then at each change. Raises LabError where the class does not take it."""
        try:
            self._send(timeout_s=10)
        except OSError as problem:
            raise LabError(
                f"The class at {self.link.url} does not answer ({problem}): nothing is shown. Ask "
                "your teacher, and run the cell again."
            ) from problem
        work.watchers.append(self._news.set)
        self._thread = threading.Thread(target=self._keep_sending, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take everything off the board. Raises LabError where the class can't be told."""
        self._ended.set()
        self._news.set()
        if self._news.set in work.watchers:
            work.watchers.remove(self._news.set)
        if self._thread is not None:
            self._thread.join(15)  # what is under way must not come after the end
        try:
            self.link.call("DELETE", "board", timeout_s=10)
        except OSError as problem:
            raise LabError(
                f"The class at {self.link.url} does not answer ({problem}): what it shows of you "
                "stays until you run this again, or for twelve hours."
            ) from problem

    def before_cell(self, info: Any) -> None:
        """A cell is about to run (IPython's event `pre_run_cell`)."""
        before = self.place
        self.place = place(info.raw_cell or "", getattr(info, "cell_id", None), before)
        if self.place != before:
            self._news.set()

    def _send(self, timeout_s: float = 5) -> None:
        at = self.place or Place(0, "")
        sent = body(self.name, at.lesson, at.section, work.all_curves())
        self.link.call("PUT", "board", sent, timeout_s=timeout_s)

    def _keep_sending(self) -> None:
        pause = PAUSE_S
        while not self._ended.is_set():
            self._news.wait()
            self._news.clear()
            if self._ended.wait(APART_S):
                return
            try:
                self._send()
                self.problem, pause = "", PAUSE_S
            except (OSError, LabError) as problem:
                self.problem = str(problem)
                again = not isinstance(problem, Refused) or problem.status in (429, 502, 503)
                if again:  # a server that is restarted
                    self._news.set()
                    self._ended.wait(pause)
                    pause = min(LONGEST_S, 2 * pause)

    def __repr__(self) -> str:
        name = f"as {self.name!r}" if self.name else "by your seat's number"
        bad = f" It could not be sent the last time: {self.problem}" if self.problem else ""
        return (
            f"Shown on the class's board {name}: the lesson and section that you are at, your "
            f"curves, and your guesses once they are measured; no answers. labkit.share(stop=True) "
            f"ends it.{bad}"
        )


_now: BoardSeat | None = None


@lab_errors("Nothing could be shown on the board")
def share(name: str = "", *, stop: bool = False, link: str | None = None) -> BoardSeat | None:
    """Show on the class's board where you are in the lessons, your curves and your guesses.

    Nothing is shown before this call, and never an answer, a prompt or code. name: what you want to
    be called there, '' for your seat's number. stop: take everything off again. link: of your seat,
    where this is none (LABKIT_CLASS is not set): a machine with an engine of its own shows its
    curves beside those of the others.

    Raises LabError where there is no class, or it does not answer.
    """
    global _now
    if stop:
        before, _now = _now, None
        if before is None:
            raise LabError("Nothing of this notebook is on a board.")
        _hook(before, False)
        before.stop()
        return None
    if link is None and not classroom_seat.seated():
        raise LabError(
            "This is no seat of a class, so there is no board: give your link of the class "
            "(link='http://…'), or hand your work in with labkit.hand_in()."
        )
    seat = BoardSeat(classroom_seat.link(link), name)
    for cell in getattr(_shell(), "user_ns", {}).get("In", ()):  # those that ran before this one
        seat.place = place(cell, None, seat.place)
    if _now is not None:
        _hook(_now, False)
        seat.place = _now.place or seat.place
        _now.stop()
    seat.start()
    _hook(seat, True)
    _now = seat
    return seat


def _hook(seat: BoardSeat, on: bool) -> None:
    """Hear of each cell, where there is a notebook."""
    shell = _shell()
    if shell is None:
        return
    if on:
        shell.events.register("pre_run_cell", seat.before_cell)
    elif seat.before_cell in shell.events.callbacks["pre_run_cell"]:
        shell.events.unregister("pre_run_cell", seat.before_cell)


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()
