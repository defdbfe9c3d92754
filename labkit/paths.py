"""Where things are: this package, the checkout around it, the lessons' data, the user's cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from labkit.errors import LabError

#: A URL, also one that pathlib has made a path of (`s3:/bucket`); C:/ is none.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def full_path(given: str | Path) -> Path:
    """A path from anywhere: `~` is the home, a relative one is below the current folder.

    Raises LabError where the home or the current folder can't be told, and for a URL.
    """
    if URL.match(str(given)):
        raise LabError(f"{given} is a URL, and a file or folder of this machine is wanted here.")
    try:
        return Path(given).expanduser().absolute()
    except (RuntimeError, OSError) as problem:
        raise LabError(
            f"{given} can't be found: {problem}. Set HOME, or give a whole path (LABKIT_CACHE=/…)."
        ) from problem


PACKAGE = Path(__file__).resolve().parent
#: The checkout, for what belongs to the repository (notebooks, docs, locks); an installed package
#: has none.
REPO = PACKAGE.parent
_INSTALLED = PACKAGE / "data"
#: The lessons' tables and the recordings: `datasets/` of the checkout, `labkit/data` of a wheel;
#: or $LABKIT_DATASETS.
DATASETS = full_path(
    os.environ.get("LABKIT_DATASETS") or (_INSTALLED if _INSTALLED.is_dir() else REPO / "datasets")
)


def lessons_folder(name: str) -> Path:
    """`notebooks` or `docs`: of the checkout, or as a wheel holds them."""
    return (_INSTALLED if _INSTALLED.is_dir() else REPO) / name


def cache_dir() -> Path:
    """Where models and data are kept: $LABKIT_CACHE, else $XDG_CACHE_HOME/labkit (where that is no
    whole path it does not count: https://specifications.freedesktop.org/basedir), else in the home.

    Raises LabError when there is no home to look in.
    """
    if given := os.environ.get("LABKIT_CACHE"):
        return full_path(given)
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else full_path("~/.cache")) / "labkit"


def existing(path: Path) -> Path:
    """The nearest folder of a path that is there, and that this process may look into."""
    return next((p for p in (path, *path.parents) if os.path.exists(p)), Path(path.anchor))


def writable(path: Path) -> bool:
    """Whether this process may make files in a folder, or make the folder."""
    there = existing(path)
    effective = os.access in os.supports_effective_ids  # Windows has none
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=effective)


def short_path(value: Any) -> Any:
    """A path below the home folder as `~/…`; anything else unchanged."""
    home = os.path.expanduser("~").rstrip("/")
    below = home and isinstance(value, str) and f"{value}/".startswith(f"{home}/")
    return f"~{value[len(home) :]}" if below else value
