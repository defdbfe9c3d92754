"""Headless Chromium for tests: skipped where there is none, unless REQUIRE_BROWSER is set (the CI
sets it)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tools import browser


@contextmanager
def opened(*flags: str) -> Iterator[Any]:
    """A browser with pixels of one size on every machine."""
    try:
        with browser.opened("--force-device-scale-factor=1", "--hide-scrollbars", *flags) as page:
            yield page
    except browser.NoBrowserError as problem:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(str(problem))
        pytest.skip(str(problem))
