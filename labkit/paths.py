"""Where things are: this package, the checkout around it, the lessons' data, the user's cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
#: The checkout, for what belongs to the repository (notebooks, docs, locks); an installed package
#: has none.
REPO = PACKAGE.parent
_INSTALLED = PACKAGE / "data"
#: The lessons' tables and the recordings: `datasets/` of the checkout, `labkit/data` of a wheel;
#: or $LABKIT_DATASETS.
DATASETS = Path(
    os.environ.get("LABKIT_DATASETS") or (_INSTALLED if _INSTALLED.is_dir() else REPO / "datasets")
)


def cache_dir() -> Path:
    """Where models and data are kept: $LABKIT_CACHE, else $XDG_CACHE_HOME/labkit."""
    if given := os.environ.get("LABKIT_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labkit"


def short_path(value: Any) -> Any:
    """A path below the home folder as `~/…`; anything else unchanged."""
    home = str(Path.home())
    return value.replace(home, "~", 1) if isinstance(value, str) else value
