"""Tables come over the network as they were, or not at all."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.rows import responses, wire
from labkit.rows.responses import RESPONSE

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = {"string": TEXT, "int64": st.integers(-(2**63), 2**63 - 1)}
VALUES["double"] = st.floats(allow_nan=False, allow_infinity=False)
ROW = st.fixed_dictionaries({field.name: st.none() | VALUES[str(field.type)] for field in RESPONSE})


@given(st.lists(ROW, max_size=4))
def test_any_responses_come_back_bit_by_bit(rows: list[dict[str, Any]]) -> None:
    table = responses.table(rows)
    text = json.dumps(wire.to_columns(table, RESPONSE), allow_nan=False).encode()
    assert wire.from_columns(wire.loads(text), RESPONSE).equals(table)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_no_json(value: float) -> None:
    with pytest.raises(LabError, match="no JSON"):
        wire.loads(json.dumps([value]).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", 5), ("row_id", "5"), ("row_id", 1.5), ("queued_ts", "1"), ("row_id", 2**64)]
    + [("text", "\ud800"), ("text", ["a"]), ("queued_ts", True)],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    columns = {n: [None] for n in RESPONSE.names} | {name: [value]}
    with pytest.raises(LabError, match="holds what it can't"):
        wire.from_columns(columns, RESPONSE)
