"""How long a card was at work: summed up while rows are there, and told by no card that can't."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.engines import card_use
from labkit.engines.card_use import CardUse, share_reader
from labkit.hardware.nvidia import VISIBLE


def watched(use: CardUse, seconds: float) -> float:
    """What it sums up where rows are there for so long, twice with a pause between."""

    async def job() -> None:
        for _ in range(2):
            there = True
            use.watch(lambda: there)  # noqa: B023
            use.watch(lambda: there)  # noqa: B023
            await asyncio.sleep(seconds)
            there = False
            await asyncio.sleep(5 * card_use.EVERY_S)

    asyncio.run(job())
    return use.busy_s()


def test_the_card_s_time_is_counted_once_and_only_while_rows_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(card_use, "EVERY_S", 0.02)
    assert watched(CardUse(lambda: 0.5), 0.2) == pytest.approx(0.2, rel=0.5)
    assert math.isnan(watched(CardUse(None), 0.0)), "no card tells"
    silent = CardUse(lambda: math.nan)
    assert math.isnan(watched(silent, 0.1)), "one that stopped telling"
    silent.begin()
    assert silent.busy_s() == 0, "the next job is told anew"


def test_what_is_asked_while_it_looks_has_the_moments_since_the_last_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(card_use, "EVERY_S", 60)
    use = CardUse(lambda: 1.0)

    async def job() -> float:
        use.watch(lambda: True)
        await asyncio.sleep(0.1)
        return use.busy_s()

    assert asyncio.run(job()) == pytest.approx(0.1, rel=0.5)


class Nvml:
    """NVIDIA's library with two cards, of which the second is a slice."""

    class NVMLError(Exception):
        pass

    def __init__(self, there: bool = True):
        self.there, self.broken = there, False

    def nvmlInit(self) -> None:
        if not self.there:
            raise self.NVMLError("Library Not Found")

    def nvmlDeviceGetHandleByIndex(self, at: int) -> str:
        return ["card", "slice"][at]

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        return {"GPU-1": "card", "MIG-1": "slice"}[name]

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        if handle == "slice" or self.broken:
            raise self.NVMLError("Not Supported")
        return type("Rates", (), {"gpu": 87, "memory": 3})()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """vLLM on CUDA, with this library."""
    made = Nvml()
    monkeypatch.setattr("vllm.utils.import_utils.import_pynvml", lambda: made)
    monkeypatch.setattr("vllm.platforms.current_platform", SimpleNamespace(is_cuda=lambda: True))
    return made


@pytest.mark.parametrize(
    ("visible", "tells"),
    [(None, True), ("0", True), ("0,1", True), ("GPU-1", True), ("1", False), ("MIG-1", False)],
)
def test_the_first_visible_card_is_asked(
    visible: str | None, tells: bool, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, visible)
    share = share_reader()
    assert (share is not None) == tells
    if share:
        assert share() == 0.87
        nvml.broken = True
        assert math.isnan(share())


def test_without_nvidia_s_library_no_card_tells(nvml: Nvml) -> None:
    nvml.there = False
    assert share_reader() is None


def test_a_build_for_cpus_asks_no_card(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray hides no card from an engine that has none, and another program may use it."""
    monkeypatch.setattr("vllm.platforms.current_platform", SimpleNamespace(is_cuda=lambda: False))
    assert share_reader() is None


@pytest.mark.canary
def test_vllm_brings_nvidia_s_library_as_it_is_asked_here() -> None:
    from vllm.platforms import current_platform
    from vllm.utils.import_utils import import_pynvml

    assert isinstance(current_platform.is_cuda(), bool)
    nvml = import_pynvml()
    for name in [name for name in dir(Nvml) if name.startswith("nvml")]:
        assert callable(getattr(nvml, name))
    assert issubclass(nvml.NVMLError, Exception)
    assert {"gpu", "memory"} == {name for name, _ in nvml.c_nvmlUtilization_t._fields_}
