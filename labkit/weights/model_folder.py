"""A folder with a model's files: made once, whole or not at all, whoever asks for it first."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from labkit.errors import ModelError


def made_once(folder: Path, needs_gib: float, make: Callable[[Path], Path]) -> Path:
    """The folder of a model; made on first use, then reused.

    make: takes an empty folder beside it and returns the folder that it built in there.
    Safe against two processes at once (a file lock) and against a stop half-way (built beside,
    then renamed). Raises ModelError.
    """
    from filelock import FileLock

    with _disk_errors(folder):
        if (folder / "config.json").is_file():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if (folder / "config.json").is_file():
                return folder
            free = shutil.disk_usage(folder.parent).free / 1024**3
            if free < needs_gib:
                raise ModelError(
                    f"The disk is too full for this model: {needs_gib} GiB needed in "
                    f"{folder.parent}, {free:.1f} GiB free. Free some space, or set LABKIT_CACHE "
                    "to a folder on another disk."
                )
            for left in folder.parent.glob(f".{folder.name}-*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(
                dir=folder.parent, prefix=f".{folder.name}-"
            ) as scratch:
                make(Path(scratch)).replace(folder)
    return folder


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"The disk with {folder.parent} is full. Free some space, or set LABKIT_CACHE to "
                "a folder on another disk; nothing half-made is left behind."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR):
            raise ModelError(
                f"{folder.parent} can't be written. Set LABKIT_CACHE to a folder that you own."
            ) from error
        raise
