"""The icons that pages show stay; the others go."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def test_only_the_icons_that_are_named_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sphinx", "sphinx.application"):  # the lab's environment has no Sphinx
        module = ModuleType(name)
        module.Sphinx = object  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    from book.lighter import lighten

    script = (
        'var e={"bars":[448,512,["navicon"],"f0c9","M0 96"],moon:[384,512,[127769],"f186","M2"],'
        '"x-ray":[512,512,[],"f497",["M0","M1"]]};go({width:[1,2,3]})'
    )
    assert lighten(script, {"bars", "moon", "x-ray"}) == script
    assert lighten(script, {"moon"}) == (
        'var e={moon:[384,512,[127769],"f186","M2"],};go({width:[1,2,3]})'
    )
    assert lighten(script, set()) == "var e={};go({width:[1,2,3]})"
