"""A folder of Parquet parts that a killed job can't break: whole files, one schema. No Ray here."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from labkit.errors import LabError
from labkit.rows import file_place
from labkit.rows.arrow_types import fit

#: What the answers in a folder are answers to. Readers of Parquet pass over names with `_` or `.`.
ABOUT = file_place.ANSWERS
#: Seconds that processes which write for a job have to end with it, when it was killed.
WRITERS_S = 60.0
ANOTHER = "Use another folder, or delete this one to start anew."


class Parts:
    """The files `part-00000.parquet`, … of one folder.

    A part is written beside under another name, and then renamed: whatever is in the folder under
    its own name is whole. Only one job writes at a time (`open`); it may have several processes
    that do (`writing`).
    """

    def __init__(self, path: str | Path, id_column: str):
        self.path = Path(path).expanduser()
        self.id_column = id_column

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder, and hold it for this process until the block ends.

        Raises LabError when it can't be written to, or when another job holds it. The hold is the
        system's own lock: it ends with the process, however that ends.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as problem:
            raise LabError(f"The folder {self.path} can't be written to: {problem}.") from problem
        lock = FileLock(self.path / ".lock", blocking=False)
        try:
            lock.acquire()
            self._wait_for_writers()
            for left in self.path.glob(".part-*.tmp"):  # of a job that was killed
                left.unlink(missing_ok=True)
        except Timeout:
            raise LabError(
                f"Another job is writing to {self.path}. Wait for it or stop it (in a "
                "notebook: restart the other kernel), or use another folder."
            ) from None
        except (OSError, NotImplementedError) as problem:  # some network file systems
            warnings.warn(
                f"{self.path} can't be locked ({problem}): see to it that no other job writes to "
                "it meanwhile.",
                stacklevel=3,
            )
        try:
            yield
        finally:
            lock.release()

    def writing(self) -> FileLock:
        """Held by a process that writes parts for a job in another one, as long as it lives: a
        worker may be at its last part when its driver was killed. `written` lets go of it."""
        file = self.path / f".writer-{uuid.uuid4().hex}.lock"
        lock = FileLock(file, blocking=False, thread_local=False)
        with contextlib.suppress(OSError, NotImplementedError):  # as in `open`
            lock.acquire()
        return lock

    def written(self, lock: FileLock) -> None:
        """This process writes no more."""
        with contextlib.suppress(OSError, NotImplementedError):
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def _wait_for_writers(self) -> None:
        """Wait for the end of processes that write for a job which was killed. Raises Timeout."""
        for file in self.path.glob(".writer-*.lock"):
            with FileLock(file, timeout=WRITERS_S):
                file.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """The finished parts, oldest first."""
        files = self.path.glob("part-*.parquet")
        return sorted(files, key=lambda file: (len(file.name), file.name))  # 99999 before 100000

    def schema(self) -> pa.Schema | None:
        """The schema of all parts; None as long as there are none."""
        files = self.files()
        with self._reading():
            return pq.read_schema(files[0]) if files else None

    def rows(self) -> pa.Table:
        """All rows: `id`, and `failed` (whether it has an error)."""
        names = [self.id_column, "error"]
        with self._reading():
            tables = [pq.read_table(file, columns=names) for file in self.files()]
        if not tables:
            return pa.table({"id": pa.array([]), "failed": pa.array([], pa.bool_())})
        table = pa.concat_tables(tables)
        return pa.table({"id": table[self.id_column], "failed": table["error"].is_valid()})

    def count(self) -> int:
        """How many rows there are, by what each part says of itself."""
        with self._reading():
            return sum(pq.read_metadata(file).num_rows for file in self.files())

    def ids(self, file: Path) -> pa.Table:
        """The ids of one part, and its errors. Raises LabError for a damaged one."""
        with self._reading():
            return pq.read_table(file, columns=[self.id_column, "error"])

    def check(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Compare with what the folder was begun with, or note it in a new one; what is noted.

        Raises LabError when a value differs ('versions' may), or when the parts are not labkit's.
        """
        about = json.loads(json.dumps(about, default=str))
        file = self.path / ABOUT
        if not file.exists():
            if others := sorted(self.path.rglob("*.parquet")):
                raise LabError(
                    f"{self.path} holds other files, such as {others[0].name}. Name a "
                    "folder of its own for the answers."
                )
            self.note(about)
            return dict(about)
        try:
            noted: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise LabError(f"{file} can't be read. {ANOTHER}") from None
        differ = [
            f"{name} was {noted.get(name)!r} and is now {value!r}"
            for name, value in about.items()
            if name not in ("versions", "model_hash", "weights") and noted.get(name) != value
        ]
        now = about.get("model_hash")
        if not differ and noted.get("model_hash", now) != now:
            differ = [f"the model {about['model']!r} is another one of that name, or elsewhere"]
        if differ:
            raise LabError(f"{self.path} holds another job: {'; '.join(differ)}. {ANOTHER}")
        if now and "model_hash" not in noted:
            warnings.warn(
                f"{self.path} was begun by an older labkit, which noted the model by its name "
                f"alone: make sure that it was this {about['model']!r}.",
                stacklevel=2,
            )
            noted["model_hash"] = now
            self.note(noted)
        return noted

    def note(self, about: Mapping[str, Any]) -> None:
        """Write down what the answers in this folder are answers to."""
        text = json.dumps(about, indent=2, ensure_ascii=False)
        # The one character that UTF-8 lacks, half of a surrogate pair, is spelt as JSON spells it.
        data = text.encode("utf-8", "backslashreplace")
        self._replace(ABOUT, lambda new: new.write_bytes(data))

    def add(self, table: pa.Table) -> None:
        """Write one more part. Raises LabError (a full disk); the parts before are untouched, also
        where another job that no lock keeps out writes one at the same moment."""
        files = self.files()
        number = int(files[-1].stem.removeprefix("part-")) + 1 if files else 0
        with self._written(f"part-{number:05}.parquet", partial(pq.write_table, table)) as new:
            while True:
                target = self.path / f"part-{number:05}.parquet"
                try:
                    os.link(new, target)  # never over another file, as a rename would go
                    return
                except FileExistsError:
                    number += 1
                except OSError:  # a file system without links
                    if not target.exists():
                        os.replace(new, target)
                        return
                    number += 1

    def drop(self, ids: pa.Array) -> None:
        """Take these rows out of the parts, and the parts away that have no others."""
        for file in self.files():
            self.drop_from(file, lambda table: pc.is_in(table[self.id_column], ids))

    def drop_from(self, file: Path, which: Callable[[pa.Table], pa.Array]) -> None:
        """Take the rows for which `which` says true out of one part."""
        with self._reading():
            table = pq.read_table(file)
        kept = table.filter(pc.invert(which(table)))
        if kept.num_rows == 0:
            file.unlink()
        elif kept.num_rows < table.num_rows:
            self._replace(file.name, partial(pq.write_table, kept))

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """One column, part by part."""
        for file in self.files():
            with self._reading():
                column = pq.read_table(file, columns=[name])[name]
            yield column

    def retype(self, name: str, kind: pa.DataType, misfits: str = "") -> bool:
        """Give a column another type in all parts; False, and nothing is changed, where that would
        change a value. The oldest part is first: readers take the types of the folder from it.

        misfits="error": a row whose value can't be held gets the reason in `error` instead."""
        with self._reading():
            schemas = [(file, pq.read_schema(file)) for file in self.files()]
        files = [file for file, schema in schemas if schema.field(name).type != kind]
        for write in (False, True):
            for file in files:
                with self._reading():
                    table = pq.read_table(file)
                values, reasons = fit(table[name].to_pylist(), kind)
                if any(reasons) and not misfits:
                    return False
                if write:
                    at = table.column_names.index(name)
                    table = table.set_column(at, pa.field(name, kind), values)
                    if any(reasons):
                        at, reason = table.column_names.index("error"), pa.array(reasons)
                        errors = pc.coalesce(table["error"], reason.cast(pa.string()))
                        table = table.set_column(at, table.schema.field(at), errors)
                    self._replace(file.name, partial(pq.write_table, table))
        return True

    def row(self, id_: Any) -> dict[str, Any] | None:
        """The row with this id, if it is in a part."""
        return next(self.rows_of([id_]), None)

    def rows_of(self, ids: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The rows with these ids, as far as they are in a part."""
        schema, wanted = self.schema(), set(ids)
        if schema is None:
            return
        kind = schema.field(self.id_column).type
        for file in self.files():
            if not wanted:
                return
            among = pc.field(self.id_column).isin(pa.array(list(wanted), kind))
            with self._reading():
                rows = pq.read_table(file, filters=among).to_pylist()
            yield from rows
            wanted.difference_update(row[self.id_column] for row in rows)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """A damaged part in this block raises LabError."""
        try:
            yield
        except (OSError, pa.ArrowException) as problem:
            raise LabError(f"A part in {self.path} can't be read: {problem}. {ANOTHER}") from None

    def _replace(self, name: str, write: Callable[[Path], Any]) -> None:
        with self._written(name, write) as new:
            os.replace(new, self.path / name)

    @contextlib.contextmanager
    def _written(self, name: str, write: Callable[[Path], Any]) -> Iterator[Path]:
        """A new file under another name, whole, for the block to give its own."""
        new = self.path / f".part-{uuid.uuid4().hex}.tmp"
        try:
            write(new)
            with new.open("rb") as file:
                os.fsync(file.fileno())  # else a power cut could leave the name without the bytes
            yield new
        except OSError as problem:
            raise LabError(
                f"{self.path / name} could not be written: {problem}. The parts before it are "
                "kept. Make room, and call write again with the same folder to go on."
            ) from problem
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
