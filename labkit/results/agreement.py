"""What all parts of a folder have in common, whoever writes them: the type of their answers, and
the one prompt that the folder notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Protocol

import pyarrow as pa

from labkit.results.parquet_folder import Parts
from labkit.rows import arrow_types, json_schema


class Agreed(Protocol):
    """An agreement, here or in another process."""

    def held(self, types: list[pa.DataType]) -> pa.DataType: ...

    def widened(self, types: list[pa.DataType]) -> pa.DataType: ...

    def wrote(self, kind: pa.DataType) -> None: ...

    def note(self, prompt: dict[str, Any]) -> None: ...


class Agreement:
    """Of the folder of `parts`, with the answers in the column `into`. known: what it notes.
    schema: what the task declares of its answers (`Task.answer_schema`)."""

    def __init__(
        self,
        parts: Parts,
        into: str,
        known: dict[str, Any],
        schema: Mapping[str, Any] | None = None,
    ):
        self.parts, self.into, self.known = parts, into, known
        self.declared = json_schema.arrow_type(schema)
        self.type: pa.DataType | None = None
        self.first = pa.null()  # what a new folder begins with: parts of it may be on their way
        self.seen: pa.DataType | None = None  # null where no value was, also inside
        self.unfit: pa.DataType | None = None  # one that would have changed an answer

    def held(self, types: Sequence[pa.DataType]) -> pa.DataType:
        """The type of the answers; as long as there are none, the one that the task declares, else
        that of the first ones, whose types these are."""
        if self.type is None:
            if kept := self.parts.schema():
                self.type = kept.field(self.into).type
            else:
                self.first = self.declared or arrow_types.together(types)
                self.type = arrow_types.stored(self.first)
        return self.type

    def widened(self, types: Sequence[pa.DataType]) -> pa.DataType:
        """The type once answers of these types have come, not all of which it holds: a wider one,
        which the parts that are there get, where that changes no answer."""
        held = self.held(types)
        if self.seen is None:
            there = map(arrow_types.seen, self.parts.column(self.into))
            self.seen = reduce(arrow_types.wider, there, self.first)
        wanted = arrow_types.together(types, self.seen)
        wanted = arrow_types.stored(arrow_types.wider(wanted, held))
        if wanted not in (held, self.unfit):
            if self.parts.retype(self.into, wanted):
                self.type = wanted
            else:
                self.unfit = wanted
        return self.held(types)

    def wrote(self, kind: pa.DataType) -> None:
        """Answers that are seen to be of this type are in a part now."""
        if self.seen is not None:
            self.seen = arrow_types.wider(self.seen, kind)

    def note(self, prompt: dict[str, Any]) -> None:
        """Note the prompt of a row, if none is noted yet."""
        if "prompt" not in self.known:
            self.known["prompt"] = prompt
            self.parts.note(self.known)

    def settle(self) -> None:
        """Give every part the one type, when all are written: another process may have written one
        with the type of a moment before. What that can't hold is an error row then."""
        if self.type is not None and not self.parts.retype(self.into, self.type):
            self.parts.retype(self.into, self.type, misfits="error")


class Elsewhere:
    """An agreement that an actor of Ray keeps."""

    def __init__(self, actor: Any):
        self.actor = actor

    def held(self, types: list[pa.DataType]) -> pa.DataType:
        """As Agreement has it, like all here."""
        return self._asked("held", types)

    def widened(self, types: list[pa.DataType]) -> pa.DataType:
        return self._asked("widened", types)

    def wrote(self, kind: pa.DataType) -> None:
        self._asked("wrote", kind)

    def note(self, prompt: dict[str, Any]) -> None:
        self._asked("note", prompt)

    def _asked(self, name: str, value: Any) -> Any:
        import ray

        return ray.get(getattr(self.actor, name).remote(value))
