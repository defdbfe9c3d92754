"""Why a job failed, in words for its user: the deepest error, and where the logs are."""

from __future__ import annotations

from pathlib import Path

from labkit.ray_session.session import running


def log_folder() -> str | None:
    """The folder with the logs of Ray and of every worker; None before Ray has started."""
    if (ray := running()) is None:
        return None
    context = ray.get_runtime_context()
    return str(Path(context.get_temp_dir(), context.get_session_name(), "logs"))


#: Where the code of an engine or of a stage of the lab is, in a traceback.
_ENGINE_CODE = ("/ray/llm/", "/vllm/", "/labkit/")


def diagnose(error: BaseException) -> str:
    """The engine's own reason (the last line of the deepest error), and where the logs are."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    at = max((number for number, line in enumerate(lines) if "Error" in line), default=-1)
    words = lines[at] if lines else ""
    if "UserCodeException" in str(error) and not any(code in str(error) for code in _ENGINE_CODE):
        return (
            f"The job stopped in a function of your Dataset: {words}. Try it on a few rows, such "
            "as with data.take(3)."
        )
    if "/ray/data/datasource/" in str(error) or "/ray/data/_internal/datasource/" in str(error):
        return f"The job stopped: the data can't be read: {words}. Look at the file that it names."
    if "validation error" in words:  # pydantic gives its reason in the next line
        words = " ".join(lines[at : at + 2])
    return (
        f"The job stopped: {words or type(error).__name__}. Run `python -m labkit doctor` to see "
        f"what this machine lacks; the full logs are in {log_folder()}."
    )
