"""The errors of labkit, each with a message that says what is wrong and what to do; and how an
exception is told in one line."""


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
