"""A folder of answers elsewhere (`s3://…`): a job writes here, and its whole parts follow it there.

A store of objects has neither renames nor locks: a part is sent when it is whole, under its own
name, and one job may write to a folder at a time (nobody else can be kept out).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs

from labkit.errors import LabError, reason
from labkit.results.parquet_folder import ABOUT
from labkit.rows import file_place
from labkit.rows.file_place import Place

#: How often parts are looked for that are to be sent.
EVERY_S = 3.0
OURS = ("part-*.parquet", ABOUT)


class _Copy:
    """Keeps the files of a folder there as they are here."""

    def __init__(self, here: Path, there: Place):
        self.here, self.there = here, there
        self.sent: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """What an earlier job left there."""
        selector = pafs.FileSelector(self.there.path, allow_not_found=True)
        for info in self.there.filesystem.get_file_info(selector):
            if info.type == pafs.FileType.File and any(map(Path(info.base_name).match, OURS)):
                with self.there.below(info.base_name).open("rb") as file:
                    (self.here / info.base_name).write_bytes(file.read())
                self.sent[info.base_name] = self._state(self.here / info.base_name)

    def send(self) -> None:
        """Files that are new or changed; those that are gone here are deleted there."""
        now = {file.name: file for pattern in OURS for file in sorted(self.here.glob(pattern))}
        for name, file in now.items():
            with contextlib.suppress(FileNotFoundError):  # replaced at this moment: next time
                state = self._state(file)
                if self.sent.get(name) != state:
                    data = file.read_bytes()
                    with self.there.below(name).create() as target:
                        target.write(data)
                    self.sent[name] = state
        for name in self.sent.keys() - now.keys():
            self.there.filesystem.delete_file(self.there.below(name).path)
            del self.sent[name]

    @staticmethod
    def _state(file: Path) -> tuple[int, int]:
        about = file.stat()
        return about.st_size, about.st_mtime_ns


@contextlib.contextmanager
def mirrored(url: str) -> Iterator[Path]:
    """A folder of this machine that holds what is at the URL; what is written to it is copied there
    while the block runs, and at its end, however it ends.

    Raises LabError where nothing can be written there, before the block; and where the last files
    could not be copied: then they are kept here, and it says where.
    """
    there = file_place.place(url)
    _try(there)
    here = Path(tempfile.mkdtemp(prefix="labkit-answers-"))
    copy, done = _Copy(here, there), threading.Event()
    try:
        copy.fetch()
    except Exception as problem:  # each of fsspec's file systems has errors of its own
        shutil.rmtree(here, ignore_errors=True)
        raise LabError(f"What is in {there} can't be read: {reason(problem)}.") from problem

    def follow() -> None:
        while not done.wait(EVERY_S):
            with contextlib.suppress(Exception):  # tried again, and told at the end
                copy.send()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield here
    finally:
        done.set()
        thread.join()
        try:
            copy.send()
        except Exception as problem:  # as above: whatever it is, it must say where they are
            raise LabError(
                f"Not all answers could be copied to {there}: {reason(problem)}. They are kept in "
                f"{here}: copy its files there, and call write again to go on."
            ) from problem
        shutil.rmtree(here, ignore_errors=True)


def _try(there: Place) -> None:
    """Raise LabError where no file can be made."""
    probe = there.below(".labkit-probe")
    try:
        with probe.create() as file:
            file.write(b"may be deleted")
        there.filesystem.delete_file(probe.path)
    except NotImplementedError:  # https:// and its like
        raise LabError(
            f"{there} can only be read: name a folder here, or one at s3://, gs:// or abfs://."
        ) from None
    except Exception as problem:  # as above
        raise LabError(
            f"{there} can't be written to: {reason(problem)}. Does the bucket exist, and do your "
            "keys allow it?"
        ) from problem
