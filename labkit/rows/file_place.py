"""Where files are: a path of this machine, or a URL, as a file system of pyarrow's and a path.

`s3://`, `gs://` and `abfs://` are pyarrow's own (https://arrow.apache.org/docs/python/filesystems
.html: keys, regions and servers come from the environment, as AWS_ENDPOINT_URL does); every other
scheme (`https://`, `hf://`, …) is fsspec's. Knows no format.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import pyarrow.fs as pafs

from labkit.errors import LabError, reason
from labkit.paths import full_path

#: What pyarrow itself reaches.
OF_ARROW = ("s3", "gs", "gcs", "abfs", "abfss")
#: Seconds that Google's storage is tried.
GOOGLE_S = 20
#: Files of these can be read alone.
READ_ONLY = ("http", "https")
#: The ending of a packed file, and pyarrow's name for how it is packed.
PACKED = {".gz": "gzip", ".zst": "zstd"}
#: The file by which a folder of answers is known.
ANSWERS = "_labkit.json"
#: What makes a path a pattern.
PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Place:
    """A file, or a folder, in a file system. shown: how it is named in words: without what follows
    the `?` of a URL, which may be a secret (a signed link). size: in bytes, where it is known."""

    shown: str
    path: str
    filesystem: pafs.FileSystem
    size: int | None = None

    def __str__(self) -> str:
        return self.shown

    @property
    def name(self) -> str:
        """The last part of its path."""
        return unquote(urlsplit(self.path).path if "://" in self.path else self.path).split("/")[-1]

    @property
    def packing(self) -> str | None:
        """How it is packed, by its ending: None for not at all."""
        return PACKED.get(Path(self.name).suffix.lower())

    @property
    def suffix(self) -> str:
        """The ending that names the format, in small letters: `.csv` of `posts.CSV.gz`."""
        name = self.name.lower()
        return Path(name.removesuffix(Path(name).suffix) if self.packing else name).suffix

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def open(self, mode: str = "r", encoding: str | None = None, newline: str | None = None) -> Any:
        """Open it for reading, unpacked: 'r' as text, 'rb' as bytes. OSError where it can't be."""
        try:
            file = self.filesystem.open_input_stream(self.path, compression=self.packing)
        except OSError as problem:
            if isinstance(problem, FileNotFoundError):
                if not self.is_local:
                    raise OSError("it is not there, or can't be reached from here") from problem
                raise FileNotFoundError(errno.ENOENT, "no such file", str(self)) from problem
            raise
        if "b" in mode:
            return io.BufferedReader(file)
        return io.TextIOWrapper(file, encoding=encoding, newline=newline)

    def whole(self) -> io.BytesIO:
        """All of it, where a reader must jump in it."""
        with self.open("rb") as file:
            return io.BytesIO(file.read())

    def below(self, name: str) -> Place:
        """A file in this folder."""
        return Place(f"{self}/{name}", f"{self.path}/{name}", self.filesystem)

    def create(self) -> IO[bytes]:
        """Open it for writing: its content is replaced when the file is closed."""
        if self.is_local:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        file: IO[bytes] = self.filesystem.open_output_stream(self.path, compression=self.packing)
        return file


def is_url(path: Any) -> bool:
    """Whether this is text that names a place elsewhere."""
    return isinstance(path, str) and bool(re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", path))


def place(path: str | Path) -> Place:
    """The place that a path or a URL names. Raises LabError for a scheme that can't be used here,
    with what it needs."""
    if not is_url(path):
        here = full_path(path)
        return Place(str(here), str(here), _local())
    url = str(path).rstrip("/")
    scheme = url.partition("://")[0].lower()
    shown = re.split("[?#]", url)[0] if "=" in url else url
    if "@" in (before := shown.partition("://")[2].partition("/")[0]) and scheme not in (
        *("abfs", "abfss"),  # container@account is no secret
        "hf",  # @revision
    ):
        shown = shown.replace(before, before.rpartition("@")[2], 1)
    if scheme == "file":
        return place(unquote(urlsplit(url).path))
    try:
        if scheme in OF_ARROW:
            found, inside = pafs.FileSystem.from_uri(_with_options(url, scheme))
        else:
            found, inside = _of_fsspec(url)
    except ImportError as problem:
        raise LabError(
            f"{shown} needs a package that is not installed here: {reason(problem)}."
        ) from problem
    except Exception as problem:  # each of fsspec's file systems has errors of its own
        raise LabError(
            f"{shown} can't be used: {reason(problem)}. Known are paths of this machine and URLs "
            "that begin with s3://, gs://, abfs://, hf:// or https://; can it be reached from here?"
        ) from problem
    return Place(shown, inside, found)


def _with_options(url: str, scheme: str) -> str:
    """The URL with what pyarrow would not do by itself: look at AWS_ENDPOINT_URL (a server that is
    not Amazon's), and give Google's storage up before a quarter of an hour is over."""
    more: dict[str, Any] = {}
    if scheme in ("gs", "gcs"):
        more = {"retry_limit_seconds": GOOGLE_S}
    if scheme == "s3" and (
        server := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    ):
        parts = urlsplit(server)
        more = {"endpoint_override": parts.netloc + parts.path.rstrip("/"), "scheme": parts.scheme}
        more["region"] = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    names = {name for name, _ in parse_qsl(urlsplit(url).query)}
    query = urlencode({name: v for name, v in more.items() if v and name not in names})
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


@functools.cache
def _local() -> pafs.FileSystem:
    return pafs.LocalFileSystem()


def _of_fsspec(url: str) -> tuple[pafs.FileSystem, str]:
    import fsspec

    found, inside = fsspec.core.url_to_fs(url)
    return pafs.PyFileSystem(pafs.FSSpecHandler(found)), inside


def files(path: str | Path) -> list[Place]:
    """The files that a path, a folder or a pattern (`*`, `?`, `[ab]`, `**`) names, by their names;
    those in folders below, too. Names that begin with `_` or `.` are passed over, and so are
    folders of answers below: those of this data may be written there.

    Raises LabError where there is none, or where it can't be looked at.
    """
    whole = place(path)
    http = is_url(path) and str(path).lower().startswith(READ_ONLY)
    if http:  # no folder, no pattern: a `?` is the server's
        return [whole]
    try:
        info = whole.filesystem.get_file_info(whole.path)
        kind = info.type
        if kind == pafs.FileType.File:
            return [replace(whole, size=info.size)]
        if kind == pafs.FileType.Directory:
            return [one for one in _listed(whole, whole.path) if _seen(one, whole.path)]
        if PATTERN.search(whole.path):
            return _matching(whole)
    except Exception as problem:  # each of fsspec's file systems has errors of its own
        if isinstance(problem, LabError):
            raise
        raise LabError(
            f"{whole} can't be looked at: {reason(problem)}. Check the name, and the rights or the "
            "keys that it needs."
        ) from problem
    here = f", seen from {Path.cwd()}" if whole.is_local else ""
    raise LabError(f"{whole}: no such file or folder. Check the path{here}.")


def _matching(whole: Place) -> list[Place]:
    """The files of a pattern. Raises LabError for none."""
    from fsspec.utils import glob_translate

    head = whole.path[: PATTERN.search(whole.path).start()].rpartition("/")[0]  # type: ignore[union-attr]
    wanted = re.compile(glob_translate(whole.path))
    found = [one for one in _listed(whole, head or "/") if wanted.match(one.path)]
    if not found:
        raise LabError(f"{whole}: no file has such a name.")
    return found


def _listed(whole: Place, folder: str) -> list[Place]:
    """All files below a folder."""
    selector = pafs.FileSelector(folder, allow_not_found=True, recursive=True)
    start = str(whole).removesuffix(whole.path)
    infos = sorted(whole.filesystem.get_file_info(selector), key=lambda info: info.path)
    found = [info for info in infos if info.type == pafs.FileType.File]
    answers = {i.path.rpartition("/")[0] for i in found if i.path.endswith(f"/{ANSWERS}")}
    passed = tuple(f"{there}/" for there in answers - {folder.rstrip("/")})
    return [
        Place(f"{start}{info.path}", info.path, whole.filesystem, info.size)
        for info in found
        if not info.path.startswith(passed)
    ]


def _seen(file: Place, folder: str) -> bool:
    return not any(
        part[:1] in "._" for part in file.path.removeprefix(folder).strip("/").split("/")
    )
