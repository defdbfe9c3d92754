"""ray_session.diagnosis: the engine's own reason, and where the logs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labkit.ray_session import diagnosis


def test_diagnosis_is_the_last_error_line_and_where_the_logs_are(local_ray: Any) -> None:
    error = RuntimeError(
        "ray::MapWorker\n  File 'x'\nValueError: too long\nThe above exception was …"
    )
    text = diagnosis.diagnose(error)
    assert text.startswith("The job stopped: ValueError: too long.")
    assert "labkit doctor" in text and "logs" in text
    assert "The job stopped: KeyError." in diagnosis.diagnose(KeyError())


def test_diagnosis_of_a_refused_argument_holds_the_reason(local_ray: Any) -> None:
    error = RuntimeError(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, max_model_len (999999) is greater than 8192\n"
        "    For further information visit …"
    )
    assert "1 validation error for ModelConfig Value error, max_model_len (999999) is greater" in (
        diagnosis.diagnose(error)
    )
    assert "further" not in diagnosis.diagnose(error)


def test_log_folder_holds_the_logs(local_ray: Any) -> None:
    folder = diagnosis.log_folder()
    assert folder is not None
    assert any(path.name.startswith("raylet") for path in Path(folder).iterdir())
