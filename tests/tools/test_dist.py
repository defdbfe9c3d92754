"""`make dist`: one version everywhere; what is installed from the wheel works without a clone."""

from __future__ import annotations

import functools
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import labkit
from labkit.errors import LabError
from tests.test_layers import INSTALLED
from tools import dist as module


def test_all_places_name_one_version() -> None:
    assert module.version() == labkit.__version__


@pytest.mark.parametrize("place", ["pyproject.toml", "CHANGELOG.md", "neither"])
def test_a_version_that_differs_anywhere_stops_the_build(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        text = (module.ROOT / name).read_text()
        if name == place:
            text = text.replace(labkit.__version__, "9.9.9", 1)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    if place == "neither":
        monkeypatch.setattr(labkit, "__version__", "9.9.9")
    with pytest.raises(LabError, match="9.9.9"):
        module.dist(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    module.dist(folder)
    return folder


@pytest.mark.endurance
def test_the_source_archive_is_the_repository(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("batch_inference_lab-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (lab,) = tmp_path.iterdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=module.ROOT, capture_output=True, text=True, check=True
    )
    tracked = {name for name in listed.stdout.split("\0") if name and (module.ROOT / name).exists()}
    packed_files = {p.relative_to(lab).as_posix() for p in lab.rglob("*") if p.is_file()}
    assert not tracked - packed_files
    done = subprocess.run(["make", "-n", "setup"], cwd=lab, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.endurance
def test_the_same_files_give_the_same_wheel(built: Path, tmp_path: Path) -> None:
    module.dist(tmp_path)
    for wheel in built.glob("*.whl"):
        assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
        names = zipfile.ZipFile(wheel).namelist()
        rooms = {name.split("/")[0] for name in names}
        assert rooms == {"labkit", f"{wheel.name.split('-py3')[0]}.dist-info"}


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel, beside the packages of the lab's own (but not its
    labkit: a folder in a .pth file comes after the environment's own, and its .pth files don't
    count, so an editable labkit there is not seen)."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home, with_pip=True)
    (wheel,) = built.glob("*.whl")
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    (packages,) = {path for path in map(Path, sys.path) if (path / "ray").is_dir()}
    (site / "packages_of_the_lab.pth").write_text(f"{packages}\n")
    return home / "bin"


def run(program: Path, *command: str | Path, env: Mapping[str, str], code: int = 0) -> str:
    """What a program of that environment prints, away from the clone."""
    env = {name: value for name, value in env.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [program, *command],
        cwd=program.parent.parent.parent,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.endurance
def test_the_installed_wheel_works_without_a_clone(
    installed: Path, with_tiny: dict[str, str]
) -> None:
    python, labkit_, home = installed / "python", installed / "labkit", installed.parent.parent
    said = functools.partial(run, env=with_tiny)
    where = said(python, "-c", "import labkit; print(labkit.__file__)")
    assert where.startswith(str(installed.parent))
    assert said(labkit_, "--version") == f"labkit {labkit.__version__}\n"
    said(python, "-c", INSTALLED)
    assert "max_num_seqs" in said(labkit_, "describe")
    said(labkit_, "lessons", "course")
    lessons = sorted((home / "course" / "notebooks").glob("*.ipynb"))
    assert len(lessons) == 3 and (home / "course" / "docs" / "glossary.md").is_file()
    pictures = {p.name for p in (home / "course" / "notebooks" / "pictures").iterdir()}
    assert len(pictures) >= 7 and all(name.endswith(".svg") for name in pictures)
    assert "is not empty" in said(labkit_, "lessons", "course", code=1)
    for command in ("bundle", "notebooks", "times"):
        assert "of the repository" in said(labkit_, command, code=1)


@pytest.mark.endurance
@pytest.mark.engine
def test_the_installed_wheel_measures(installed: Path, with_tiny: dict[str, str]) -> None:
    command = ["sweep", "--in-flight", "2", "4", "--rows", "8", "--repeats", "1"]
    command += ["--max-tokens", "4", "--chart", "chart.png"]
    assert "output tokens/s" in run(installed / "labkit", *command, env=with_tiny)
    assert (installed.parent.parent / "chart.png").stat().st_size > 5000
