"""Sets of ids in Ray's object store: each id is found, no other one is, and what is there twice is
known, whatever the types and the sizes of the pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.rows import id_gatherer
from labkit.rows.id_gatherer import Gatherer, _merged
from labkit.rows.id_set import IdSet, _places, hashes

numbers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30)
texts = st.lists(st.text(max_size=8), max_size=30)


@given(numbers | texts)
def test_hashes_are_those_of_the_ids_alone(ids: list[Any]) -> None:
    column = pa.chunked_array(
        [ids[:3], ids[3:]], pa.string() if ids and ids[0] == str(ids[0]) else pa.int64()
    )
    every = hashes(column)
    assert every.shape == (2, len(ids)) and every.dtype == np.uint64
    assert len({tuple(one) for one in every.T}) == len(set(ids))
    assert (hashes(column.slice(2)) == every[:, 2:]).all()


def test_the_width_of_a_type_changes_no_hash() -> None:
    kinds = [pa.int8(), pa.uint64(), pa.int64()]
    one, *others = [hashes(pa.chunked_array([[7, 100]], kind)) for kind in kinds]
    assert all((one == other).all() for other in others)
    plain = pa.chunked_array([["a", "ü"]])
    assert (hashes(plain) == hashes(plain.cast(pa.large_string()))).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60))
def test_first_halves_that_are_the_same_are_told_apart(pairs: list[tuple[int, int]]) -> None:
    """As of two ids in some billions."""
    given_hashes = np.array(pairs, np.uint64).T.copy()
    kept, count = _merged(given_hashes)
    assert count == len(set(pairs))
    wanted = np.array([(a, b) for a in range(4) for b in range(10)], np.uint64).T
    found = _places(kept, wanted)
    for (a, b), at in zip(wanted.T.tolist(), found, strict=True):
        assert (at >= 0) == ((a, b) in set(pairs))
        assert at < 0 or kept[:, at].tolist() == [a, b]
    assert len(set(found[found >= 0])) == count


def test_nothing_is_in_an_empty_array() -> None:
    """As that of a bucket which no id fell into."""
    none = np.zeros((2, 0), np.uint64)
    assert _places(none, np.ones((2, 3), np.uint64)).tolist() == [-1] * 3
    assert _places(np.ones((2, 3), np.uint64), none).tolist() == []


def gathered(tables: list[pa.Table], kind: pa.DataType) -> tuple[Gatherer, IdSet]:
    gatherer = Gatherer("id", kind)
    for table in tables:
        gatherer.add(table, table.num_rows)
    return gatherer, [some for some in gatherer.finish() if some is not None][-1]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 50, 10**6])
def test_a_set_holds_its_ids_and_no_other(
    local_ray: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(id_gatherer, "ROWS_A_TASK", 30)
    monkeypatch.setattr(id_gatherer, "IDS_AN_ARRAY", size)
    tables = [pa.table({"id": range(at, at + 10), "x": pa.nulls(10)}) for at in range(0, 100, 10)]
    tables[3] = tables[3].set_column(1, "x", pa.array([1.5] * 10))
    gatherer, every = gathered(tables, pa.int64())
    assert (len(every), every.rows, every.twice, gatherer.nulls) == (100, 100, 0, 0)
    assert len(every.arrays) == {1: 16, 50: 2, 10**6: 1}[size]
    assert gatherer.types == {"x": pa.float64()}
    wanted = pa.chunked_array([range(-50, 150)], pa.int64())
    assert every.has(wanted).tolist() == [0 <= n < 100 for n in range(-50, 150)]
    places = every.places(hashes(wanted))
    assert sorted(places[places >= 0]) == list(range(100))
    _, some = gathered([pa.table({"id": [5, 7, 1000]})], pa.int64())
    assert every.common(some) == some.common(every) == 2
    assert every.common(IdSet()) == 0 and not IdSet().has(wanted).any()


@pytest.mark.slow
@pytest.mark.parametrize("here", [id_gatherer.ROWS_HERE, 0], ids=["in this process", "in tasks"])
def test_null_ids_and_those_that_are_there_twice_are_counted(
    local_ray: Any, monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    monkeypatch.setattr(id_gatherer, "ROWS_HERE", here)
    errors = pa.array([None, "e", None, "e"])
    tables = [pa.table({"id": ["a", None, "b", "a"], "error": errors})] * 2
    gatherer, every = gathered(tables, pa.string())
    assert (gatherer.nulls, every.rows, len(every), every.twice) == (2, 6, 2, 4)
    assert gatherer.marked == 4
    with pytest.raises(LabError, match="'id' mixes types"):
        gathered([pa.table({"id": ["a"]}), pa.table({"id": [1]})], pa.int64())
