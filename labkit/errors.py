"""The errors of labkit. Each message says what is wrong and what to do."""


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
