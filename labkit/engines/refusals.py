"""What a server refuses for a whole job, not for one row: it ends the job, and fails no rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pyarrow as pa
import pyarrow.compute as pc

from labkit.engines.endpoint_reply import QUOTA
from labkit.errors import JobFailed

#: So many rows end a job when they are its first and refused for one and the same reason.
FIRST_ROWS = 8


class Refusals:
    """Lets the client's tables pass as responses, without their column `refusal`.

    Raises JobFailed instead of giving on an error row for every row of a job:
    - when no row was answered and FIRST_ROWS of them, or all there are, were refused for one and
      the same reason that is not theirs;
    - when the quota is used up: after every row that was answered, whose batches are all there when
      as many have come without one as can be under way (`batches`).
    """

    node, blocks = "", 1  # as a station, see `station.Station`: one after the other

    def __init__(self, url: str, batches: int):
        self.url, self.batches = url, batches
        self.held: list[pa.Table] = []  # from the first refused row on, until one is answered
        self.counts: Counter[str] = Counter()
        self.answered, self.used_up, self.without = False, "", 0
        self.over = False  # no further table can change what becomes of the job

    def passed(self, table: pa.Table) -> list[pa.Table]:
        """One more table: those that pass now."""
        over = pc.fill_null(pc.equal(table["refusal"], QUOTA), False)
        if pc.any(over).as_py():
            self.used_up = self.used_up or table.filter(over)["error"][0].as_py()
            table = table.filter(pc.invert(over))
            self.without += not table.num_rows
        self.held.append(table)
        self.answered = self.answered or table["error"].null_count > 0
        self.counts.update(table["refusal"].drop_null().to_pylist())
        passing: list[pa.Table] = []
        if self.answered or not self.counts:
            passing, self.held = self.held, []
        elif max(self.counts.values()) >= FIRST_ROWS:
            self.over = True
        self.over = self.over or self.without >= self.batches
        return _responses(passing)

    def rest(self) -> list[pa.Table]:
        """Those that are held, when there are no more. Raises JobFailed."""
        rows = sum(table.num_rows for table in self.held)
        for why, count in self.counts.most_common(1 if rows else 0):
            if count >= min(FIRST_ROWS, rows):
                theirs = (table.filter(pc.equal(table["refusal"], why)) for table in self.held)
                error = next(error.as_py() for some in theirs for error in some["error"])
                raise JobFailed(
                    f"{self.url} refuses {why}, and none of the first rows ({count}) was "
                    f"answered: {error}. {_remedy(why)}"
                )
        held, self.held = self.held, []
        return _responses(held)

    def check(self) -> None:
        """Raise JobFailed when the quota is used up: after all that was answered."""
        if self.used_up:
            raise JobFailed(
                f"{self.url} answers no more rows: {self.used_up}. The quota or the credit of the "
                "account is used up. What was answered is kept; with more credit, run the rest."
            )

    async def answers(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """As a station: what passes of a block of the client's. Raises JobFailed."""
        if not self.over:
            for table in self.passed(block):
                yield table
            if self.over:
                for table in self.rest():
                    yield table
                self.check()


def _responses(tables: list[pa.Table]) -> list[pa.Table]:
    return [table.drop_columns(["refusal"]) for table in tables if table.num_rows]


def _remedy(refusal: str) -> str:
    if refusal.startswith("the parameter"):
        name = refusal.split()[-1]
        return (
            "Name it as this server does, or leave it out: labkit.endpoint(…, "
            f"rename={{{name}: '…'}}), with None for '…' to leave it out."
        )
    if refusal == "the key":
        return "Give the right one: api_key='…'."
    return "Give the URL and the model's name as the server's own documentation has them."
