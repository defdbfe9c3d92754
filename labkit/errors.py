"""The errors of labkit, each with a message that says what is wrong and what to do; and how an
exception is told in one line."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from labkit.arguments import misplaced

F = TypeVar("F", bound=Callable[..., Any])


class LabError(Exception):
    """Base of all errors that labkit raises on purpose."""


class ModelError(LabError):
    """A model can't be found, fetched, trusted or loaded."""


class CannotSchedule(LabError):
    """The job asks for more than the Ray cluster has; it would wait for ever."""


class JobFailed(LabError):
    """A job stopped before its rows were done; the message holds the engine's own reason."""


class Stalled(JobFailed):
    """A job that made no progress for too long was ended; the message says where it stood."""


class Cancelled(LabError):
    """A job or sweep that was told to stop before its end."""


class lab_errors(contextlib.ContextDecorator):
    """Whatever a block raises, or a function that this decorates, as an error of the lab that says
    what to do; so an argument of a wrong type, before anything is done. A call that does not fit
    the function's parameters stays a TypeError.

    doing: what could not be done, such as "The job could not be run".
    """

    def __init__(self, doing: str):
        self.doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, problem: BaseException | None, __: Any) -> None:
        if isinstance(problem, Exception) and not isinstance(problem, LabError):
            words = f"{self.doing}: {reason(problem)}. {advice(problem)}"
            raise LabError(words) from problem

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def called(*given: Any, **named: Any) -> Any:
            try:
                call = inspect.signature(function).bind(*given, **named)
            except TypeError as problem:
                raise TypeError(f"{function.__name__}(): {problem}") from None
            if wrong := misplaced(call):
                raise LabError(f"{self.doing}: {wrong}")
            with self:
                return function(*given, **named)

        return cast(F, called)


def advice(problem: BaseException) -> str:
    """What to do about an exception of somebody else's, by its kind."""
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: make room."
    for kind, words in _ADVICE.items():
        if isinstance(problem, kind):
            return words
    package = type(problem).__module__.partition(".")[0]
    return _ADVICE_BY_PACKAGE.get(
        package,
        "If it does not come from a function or a value of yours, please report it with the "
        "traceback above.",
    )


_ADVICE: dict[type[BaseException], str] = {
    FileNotFoundError: "Is the path right?",
    PermissionError: "You may not do that there: choose another folder, or mend its rights.",
    ConnectionError: "Is it up, and can it be reached from here?",
    TimeoutError: "Is it up, and can it be reached from here?",
    ImportError: "A package is missing or broken: run `make setup`.",
    MemoryError: "There is not enough memory: give fewer rows, or files, which are streamed.",
    OSError: "Look at the path, the disk or the network that it names.",
}
_ADVICE_BY_PACKAGE = {
    "pyarrow": "Arrow can't hold it: a column has values of one type, or null.",
    "ray": "Begin anew with labkit.stop(); `python -m labkit doctor` looks at this machine.",
}


def reason(problem: BaseException) -> str:
    """An exception in one line that a file can hold: its type and message."""
    try:
        text = str(problem)
    except Exception:  # an exception of the user's own, whose text fails in its turn
        text = ""
    return printable(f"{type(problem).__name__}: {text}".strip().splitlines()[0][:500])


def printable(text: str) -> str:
    """The same text; halves of surrogate pairs, which no file could hold, are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()
