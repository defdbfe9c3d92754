"""Hostile input: whatever a table holds, its rows are refused with a place, answered, or failed."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle
import random
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

import labkit
from labkit.errors import LabError
from labkit.results.parquet_folder import Parts
from labkit.rows import arrow_types, data_checks, requests, responses, sampling_values, user_data
from labkit.rows.sampling_values import for_vllm
from labkit.tasks import Row, Task, ask

#: Names that Ray, vLLM, labkit and Parquet use, and names that are hardly any.
NAMES = [
    "prompt", "messages", "__inference_error__", "sampling_params", "row", "row_id", "error",
    "answer", "model", "__data", "__idx_in_batch", "batch_uuid", "metrics", "generated_text", "",
    " ", "id", "a.b", ".a", "[0]", "a/b", "é", "e\u0301", "x" * 300, "\n", "\ud83d", "\x00", "%s",
]  # fmt: skip
TEXTS = ["", " \n", "half a pair: \ud83d", "\x00\x1b[31m"]
TEXTS += ["🧑‍🚀", "\u202eabc", "x" * 5000, "nan", "日本"]
#: Unicode with lone surrogates, which `st.text` leaves out by itself.
text = st.sampled_from(TEXTS) | st.text(st.characters(codec=None, exclude_categories=()))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.binary(),
    st.decimals(allow_nan=False, places=3, max_value=10**20, min_value=0),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    st.timedeltas(),
    st.sampled_from(
        [np.int8(-3), np.uint64(2**63), np.float32(1.5), np.float16(2), np.bool_(True)]
        + [np.datetime64("2024-02-29"), np.str_("n"), np.array([[1, 2]]), np.array([]), pd.NaT]
        + [pd.Timestamp("2024-02-29 12:00:00.123456789"), pd.Interval(0, 1), uuid.UUID(int=7)]
        + [pd.NA, 3 + 4j, Ellipsis, range(3), frozenset("ab"), object, decimal.Decimal("NaN"), len]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(text | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)
names = st.sampled_from(NAMES) | text | st.sampled_from([7, 1.5, ("a", "b")])
rows = st.lists(st.dictionaries(names, values, max_size=4), min_size=1, max_size=4)
#: Columns of one type: most of what Parquet can hold.
typed = st.one_of(
    *(
        st.lists(st.none() | kind, min_size=3, max_size=3)
        for kind in (
            *(text, st.integers(), st.floats(), st.binary(), st.dates(), st.datetimes()),
            *(st.lists(text), st.dictionaries(st.sampled_from("ab"), st.integers(-9, 9))),
            *(st.booleans(), st.just(np.int16(3)), st.lists(st.lists(st.integers(-9, 9)))),
        )
    )
)
tables = st.dictionaries(names, typed, min_size=1, max_size=4)


def unlike(found: Any, given: Any) -> bool:
    """Whether something else came back (lists for tuples and sets are like, and so are nulls)."""
    if given is None or given is pd.NaT or given is pd.NA or (found is None and given != given):
        return not (found is None or found is pd.NaT or found is pd.NA or found != found)
    if isinstance(given, dict):
        return any(unlike(found.get(name), value) for name, value in given.items())
    if isinstance(given, set | frozenset):
        return set(found) != given
    if isinstance(given, list | tuple | np.ndarray):
        return len(found) != len(given) or any(map(unlike, found, given))
    return not (found == given or given != given)


# --- what the files can hold ----------------------------------------------------------------------


def kept(data: Any, folder: Path, id_column: str = "id") -> pd.DataFrame | str:
    """The rows as `write` would keep them and pandas reads them; or the words of a refusal."""
    try:
        source = user_data.source(data)
        data_checks.check(source.schema, id_column, "answer")
        ids = pa.chunked_array(list(source.ids(id_column)))
        data_checks.check_ids(ids, id_column)
        source.use(None)
    except LabError as refused:
        str(refused).encode()  # it can be printed
        return str(refused)
    assert source.table is not None
    pa.Table.from_pylist(source.table.to_pylist(), schema=source.schema)
    parts = Parts(folder, id_column)
    added: dict[str, pa.Array] = {"answer": pa.nulls(1, pa.string()), "error": pa.array(["bad"])}
    with parts.open():
        for file in parts.files():
            file.unlink()
        for at in range(source.table.num_rows):  # a part of each row: one schema all the same
            part = source.table.slice(at, 1)
            for name, column in added.items():
                part = part.append_column(name, column)
            parts.add(part)
        assert parts.rows()["id"].to_pylist() == ids.to_pylist()
        assert {pq.read_schema(file).remove_metadata() for file in parts.files()} == {
            pq.read_schema(parts.files()[0]).remove_metadata()
        }
        parts.drop(ids.combine_chunks().slice(0, 1))
        assert parts.rows()["id"].to_pylist() == ids.to_pylist()[1:]
        parts.add(
            source.table.slice(0, 1)
            .append_column("answer", added["answer"])
            .append_column("error", added["error"])
        )
    return pd.read_parquet(folder)


@given(rows)
def test_rows_are_kept_as_they_are_or_refused(tmp_path_factory: Any, some: list[Row]) -> None:
    some = [{**row, "id": number} for number, row in enumerate(some)]
    folder = tmp_path_factory.mktemp("rows")
    found = kept(some, folder)
    event("refused" if isinstance(found, str) else "kept")
    if isinstance(found, str):
        return
    back = pq.read_table(folder).sort_by("id").to_pylist()
    assert len(back) == len(found) == len(some)
    for row, given_row in zip(back, some, strict=True):
        assert not any(unlike(row[name], value) for name, value in given_row.items())


@given(tables)
def test_tables_are_kept_or_refused(tmp_path_factory: Any, some: dict[Any, Any]) -> None:
    some = {**some, "id": ["a", "b", "c"]}
    frame = pd.DataFrame({n: pd.Series(c, dtype=object) for n, c in enumerate(some.values())})
    frame.columns = pd.Index(list(some), dtype=object, tupleize_cols=False)
    folder = tmp_path_factory.mktemp("table")
    found = kept(frame, folder)
    event("refused" if isinstance(found, str) else "kept")
    if isinstance(found, str):
        return
    back = pq.read_table(folder).sort_by("id").to_pydict()
    for name, column in some.items():
        assert not any(map(unlike, back[name], column))


@given(typed.filter(lambda column: None not in column), st.sampled_from(NAMES))
def test_ids_of_any_name_are_kept_or_refused(
    tmp_path_factory: Any, ids: list[Any], name: str
) -> None:
    some = [{name: value, "text": "a"} for value in ids]
    folder = tmp_path_factory.mktemp("ids")
    try:
        source = user_data.source(some)
        data_checks.check(source.schema, name, "said")
        data_checks.check_ids(pa.chunked_array(list(source.ids(name))), name)
    except LabError:
        return
    source.use(None)
    parts = Parts(folder, name)
    assert source.table is not None
    with parts.open():
        parts.add(source.table.append_column("error", pa.nulls(3, pa.string())))
    assert parts.rows()["id"].to_pylist() == ids
    assert (parts.row(ids[1]) or {})["text"] == "a"


def test_what_a_folder_notes_is_unicode(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "id")
    about = {"task": "half a pair: \ud83d, a whole one: 🚀"}
    assert parts.check(about) == parts.check(about) == about
    assert next(tmp_path.glob("*.json")).read_text(encoding="utf-8")


def test_parts_beyond_99999_overwrite_none(tmp_path: Path) -> None:
    for number in (99_998, 99_999, 100_000):
        (tmp_path / f"part-{number:05}.parquet").touch()
    parts = Parts(tmp_path, "id")
    parts.add(pa.table({"id": [1]}))
    assert [file.stem[5:] for file in parts.files()] == ["99998", "99999", "100000", "100001"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"id": 1, "t": "a"}, {"id": 2, "t": "\ud83d"}], r"row 1, column 't'.*surrogates"),
        ([{"id": 1, "t": 2**70}], "row 0, column 't'.*too large"),
        (
            [{"id": 1, "t": "a"}, {"id": 2, "t": b"b"}],
            r"row 0, column 't'.*'a' would not come back",
        ),
        ([{"id": 1, 7: "a"}], "column 7 has int for a name.*map"),
        ([{"id": 1, None: "a"}], "column None has NoneType for a name"),
        ([{"id": 1, "a\x00b": "a"}], "no Unicode text for a name"),
        ([{"id": 1, "t": ["a", b"\xff"]}], "row 0, column 't'.*would not come back"),
        (pd.DataFrame({"id": [1], 7: ["a"]}), "column 7 has int for a name"),
        (pd.DataFrame({"id": [1, 2], "t": pd.Series(["a", "\ud83d"], dtype=object)}), "row 1, col"),
        (pd.DataFrame({"id": [1, 2], "t": pd.Series(["a", b"b"], dtype=object)}), "row 0, column"),
        (None, "can't be written"),
    ],
)
def test_what_no_file_can_hold_is_refused_with_its_place(data: Any, words: str) -> None:
    with pytest.raises(LabError, match=words):
        user_data.source(data)


def test_lists_that_are_empty_at_first_hold_text_later() -> None:
    kind = arrow_types.stored(arrow_types.open_type([[], [], {"a": []}][:2]))
    held, errors = arrow_types.fit([[], ["a"], None], kind)
    assert held.to_pylist() == [[], ["a"], None] and errors == [None] * 3


# --- the pipeline ---------------------------------------------------------------------------------

TASK = Task("t", ask("prompt"), {"max_tokens": 4}, {"seed": "seed"}, lambda text, row: row)
SAID: dict[str, Any] = {
    **{"text": "x", "finish_reason": "stop", "batch_uuid": "b", "counts": (1, 1)},
    "times": {name: 1.0 + at for at, name in enumerate(responses.TIMES)},
}


def through(task: Task, rows: list[Any]) -> labkit.Job:
    """Rows through all of labkit's own code, with a made-up answer to each that can be asked."""
    from labkit.results.job import collect

    batches = requests.Batches(task, rows, for_vllm, 2)
    told = [
        responses.table([responses.of_engine(at, None, **SAID) for at in b["row_id"].to_pylist()])
        for b in batches
    ]
    done = [
        responses.answered(task, table, rows, aligned=False) for table in (batches.refused, *told)
    ]
    return collect(done, rows, None, "answer", labkit.endpoint("http://x", "m"), 0.0, 9.0)


def error_of(task: Task, row: Row) -> str:
    """Why a row can't be asked; '' for a good one."""
    return requests.make(task, [row], for_vllm)["error"][0].as_py() or ""


def ids(frame: pd.DataFrame) -> list[Any]:
    return list(frame["id"]) if len(frame) else []


@given(rows)
def test_each_row_is_answered_or_fails_and_comes_back_unchanged(some: list[Row]) -> None:
    some = [{**row, "id": number, "seed": 1} for number, row in enumerate(some)]
    some = [{k: v for k, v in row.items() if k not in ("answer", "error")} for row in some]
    job = through(TASK, some)
    assert sorted(ids(job.answers) + ids(job.failed)) == list(range(len(some)))
    assert all(isinstance(reason, str) and reason for reason in job.failed.get("error", []))
    good = [row for row in some if error_of(TASK, row) == ""]
    assert ids(job.answers) == [row["id"] for row in good]
    assert all(same(back, row) for back, row in zip(job.answers["answer"], good, strict=True))
    for frame in (job.answers, job.failed):
        for back in frame.to_dict("records"):
            given_row = some[back["id"]]
            assert not any(unlike(back[name], value) for name, value in given_row.items())


def same(back: Any, value: Any) -> bool:
    return pickle.dumps(back) == pickle.dumps(value) or not unlike(back, value)


@given(values, values)
def test_any_messages_and_sampling_are_asked_or_an_error(message: Any, drawn: Any) -> None:
    for messages in (message, [message], [{"role": message, "content": "a"}]):
        task = Task("t", lambda row, m=messages: m, sampling_columns={"top_p": "p"})  # type: ignore[misc]
        (request,) = requests.make(task, [{"p": drawn}], for_vllm).to_pylist()
        asked, parameters = requests.read(request)
        assert request["error"] or parameters.keys() == {"top_p"}
        assert all(type(m["role"]) is type(m["content"]) is str for m in asked)


class Bare(Exception):
    """An exception whose text fails."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [threading.Lock(), sys.stdout, (n for n in "ab")])
def test_rows_and_answers_in_memory_never_travel(value: Any) -> None:
    """What no other process could hold is answered like any other row, and comes back itself."""
    rows = [{"id": 0, "q": "a", "v": value}, {"id": 1, "q": "b", "v": 1}]
    job = through(Task("t", ask("q"), parse=lambda text, row: row["v"]), rows)
    assert ids(job.answers) == [0, 1]
    assert job.answers["v"].iloc[0] is value and job.answers["answer"].iloc[0] is value


def test_an_exception_without_words_is_a_reason() -> None:
    def failing(row: Row) -> Any:
        raise Bare

    job = through(Task("t", failing), [{"id": 0}])
    assert list(job.failed["error"]) == ["Bare:"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "sampling parameter 'top_p' is nan"),
        (np.float32("inf"), "sampling parameter 'top_p' is inf"),
        (2**70, "beyond 64 bits"),
    ],
)
def test_a_number_that_is_none_is_no_sampling_parameter(value: Any, words: str) -> None:
    """vLLM takes NaN as it is, and the row would never end."""
    task = Task("t", ask("q"), sampling_columns={"top_p": "p"})
    assert words in error_of(task, {"q": "a", "p": value})


@pytest.mark.slow
def test_every_parameter_of_vllm_has_a_type() -> None:
    """Those that vLLM itself reads with care are left to it; a new one must be looked at."""
    import msgspec
    from vllm import SamplingParams

    careful, dicts = {"structured_outputs", "output_kind"}, {"extra_args", "repetition_detection"}
    names = {f.name: str(f.type) for f in msgspec.structs.fields(SamplingParams)}
    public = {name for name in names if name[0] != "_"}
    assert (
        public
        == sampling_values.KINDS.keys()
        | sampling_values.LISTS.keys()
        | careful
        | dicts
        | {"logit_bias"}
    )
    optional = {name for name in public - careful if "None" in names[name]}
    assert optional == sampling_values.OPTIONAL | {"max_tokens"}
    for name, kind in sampling_values.KINDS.items():
        assert kind.__name__ in names[name]
    for name, kind in sampling_values.LISTS.items():
        assert f"list[{kind.__name__}]" in names[name]


DICTS = ["logit_bias", "extra_args", "repetition_detection"]


@pytest.mark.slow
@given(st.sampled_from([*sampling_values.KINDS, *sampling_values.LISTS, *DICTS]), values)
@example("extra_args", {"a": [1, None, {"b": (True, 0.5, "x")}]})
@example("extra_args", {1: 2})
@example("extra_args", {"a": b"x"})
@example("extra_args", {"a": {2**70}})
@example("extra_args", 5)
@example("repetition_detection", {"max_pattern_size": 3, "min_count": 2.0})
@example("repetition_detection", {"max_pattern_size": 3})
@example("repetition_detection", {"max_pattern_size": "3"})
@example("repetition_detection", [3, 0, 2])
def test_a_parameter_that_is_sent_can_be_read(name: str, value: Any) -> None:
    """As the engine's process reads it: a strict decoder of the same types."""
    import msgspec
    from vllm import SamplingParams

    task = Task("t", ask("q"), sampling_columns={name: "v"})
    (request,) = requests.make(task, [{"q": "a", "v": value}], for_vllm).to_pylist()
    if request["error"]:
        return
    sent = requests.read(request)[1]
    (kind,) = (f.type for f in msgspec.structs.fields(SamplingParams) if f.name == name)
    data = msgspec.msgpack.encode(sent[name])
    msgspec.msgpack.decode(data, type=kind)


def test_arrow_can_not_take_parameters_apart() -> None:
    """As a struct they would be 1.0, nan and 2.0, and no engine could read one of them."""
    sent = [sampling_values.Opaque(seed=seed) for seed in (1, None, 2)]
    taken_apart = pa.array([dict(parameters) for parameters in sent]).to_numpy(zero_copy_only=False)
    assert isinstance(taken_apart[0]["seed"], float)
    with pytest.raises(pa.ArrowInvalid):
        pa.array(sent)
    assert pickle.loads(pickle.dumps(sent)) == sent == [{"seed": 1}, {"seed": None}, {"seed": 2}]


@pytest.mark.parametrize(
    ("sampling", "own"),
    [({"max_tokens": 3}, False), ({"stop": ["x"]}, True), ({"skip_special_tokens": False}, True)],
)
def test_which_parameters_need_the_engine_to_make_the_text(sampling: Row, own: bool) -> None:
    assert sampling_values.decoded_by_engine(sampling) == own


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("max_tokens", 8.0, 8),
        ("max_tokens", np.float64(8), 8),
        ("temperature", 1, 1.0),
        ("temperature", np.int8(0), 0.0),
        ("stop", "a", "a"),
        ("stop", np.array(["a"]), ["a"]),
        ("seed", None, None),
        ("ignore_eos", np.bool_(True), True),
        ("extra_args", {"a": (np.int8(1), None)}, {"a": [1, None]}),
        ("repetition_detection", {"min_count": 2.0}, {"min_count": 2}),
        ("repetition_detection", None, None),
        ("logit_bias", {"5": 1, 6: 2.0}, {5: 1.0, 6: 2.0}),
        ("unknown", {"a"}, {"a"}),
    ],
)
def test_parameters_are_sent_as_vllm_wants_them(name: str, value: Any, sent: Any) -> None:
    found = sampling_values.for_vllm(name, value)
    assert found == sent and type(found) is type(sent)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_tokens", True, "'max_tokens' must be a whole number, not True"),
        ("max_tokens", 8.5, "whole number, not 8.5"),
        ("max_tokens", "8", "whole number, not '8'"),
        ("temperature", "hot", "'temperature' must be a number, not 'hot'"),
        ("temperature", True, "must be a number, not True"),
        ("max_tokens", None, "'max_tokens' is missing"),
        ("ignore_eos", None, "'ignore_eos' is missing"),
        ("logit_bias", {"a": 1}, "must be a whole number, not 'a'"),
        ("ignore_eos", 1, "'ignore_eos' must be True or False, not 1"),
        ("stop", [5], "'stop' must be text, not 5"),
        ("stop", 5, "'stop' must be a list, not 5"),
        ("stop", "\ud83d", "surrogates"),
        ("stop_token_ids", [2**70], "beyond 64 bits"),
        ("stop_token_ids", "a", "must be a whole number, not 'a'"),
        ("extra_args", [1], "'extra_args' must be a dict, not"),
        ("extra_args", {1: 2}, "must be text, not 1"),
        ("extra_args", {"a": [{1}]}, "must hold plain JSON, not {1}"),
        ("extra_args", {"a": {"b": 2**70}}, "beyond 64 bits"),
        ("extra_args", {"a": "\ud83d"}, "surrogates"),
        ("repetition_detection", 5, "must be a dict, not 5"),
        ("repetition_detection", {"min_count": "2"}, "must be a whole number, not '2'"),
        ("repetition_detection", {"count": 2}, "no 'count'"),
        ("repetition_detection", {"max_pattern_size": 3}, "min_count >= 2"),
        ("repetition_detection", {"min_pattern_size": 1}, "<= max_pattern_size"),
    ],
)
def test_a_parameter_of_another_type_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampling_values.for_vllm(name, value)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "no message"),
        ([{"role": "user", "content": "\ud83d"}], "surrogates"),
        ([{"role": "user", "content": None}], "'content' of a message must be text, not NoneType"),
        ([{"content": "a"}], "'role' of a message must be text, not NoneType"),
        ([{"role": "user", "content": ["a"]}], "must be text, not list"),
        ("hello", "ValueError"),
        (None, "TypeError"),
    ],
)
def test_messages_that_no_template_takes_are_an_error(messages: Any, words: str) -> None:
    assert words in error_of(Task("t", lambda row: messages), {})


# --- real engines ---------------------------------------------------------------------------------

QUESTIONS = [
    "What is 2 + 2?",
    "Name a colour.",
    "日本の首都は?",
    "<|im_end|>{text} %s \x00\x07\u202e",
]
BAD = [None, float("nan"), "", " \n", 42, b"bytes", ["a"], "half a pair: \ud83d", "word " * 3000]
ODD = [
    *(None, math.nan, math.inf, 2**80, -1, True, "text", "\ud83d\x00", b"\xff", 3 + 4j, {1: {2}}),
    *([], [1, "a"], np.float16(2), np.array([[1]]), pd.NaT, decimal.Decimal("1.1"), Ellipsis),
    *(datetime.date(1, 1, 1), datetime.datetime.max, uuid.UUID(int=7), range(3), "x" * 9999),
]
#: The engine's strict types, see labkit.rows.sampling_values.
NO_LIMIT = [None, True, "3", 2.5, math.nan, math.inf, -1, 0, 2**70, [3], {"a": 3}, b"3", object()]
ENGINE_TASK = Task(
    "hostile",
    ask("ask"),
    {"temperature": 0.0},
    {"max_tokens": "limit", "ignore_eos": "on"},
    lambda text, row: {"id": row["id"], "text": text},
)


def generated(count: int) -> tuple[list[Row], set[int]]:
    """Rows of all kinds, and the ids of those that nothing keeps from being answered."""
    chance = random.Random(7)
    some: list[Row] = []
    good = set()
    for number in range(count):
        row: Row = {chance.choice(NAMES): chance.choice(ODD) for _ in range(chance.randrange(6))}
        row = {name: value for name, value in row.items() if name not in ("answer", "error")}
        row |= {"ask": chance.choice(QUESTIONS), "limit": chance.choice([1, 2.0, np.int8(3)])}
        row |= {"on": chance.choice([True, False]), "id": number}
        match chance.randrange(8):
            case 0:
                row["ask"] = chance.choice(BAD)
            case 1:
                row["limit"] = chance.choice(NO_LIMIT)
            case 2:
                row["on"] = chance.choice([None, 1, "yes"])
            case 3:
                del row[chance.choice(["ask", "limit", "on"])]
            case 4:
                row["lock"] = threading.Lock()
                good.add(number)
            case _:
                good.add(number)
        some.append(row)
    return some, good


@pytest.mark.engine
@pytest.mark.endurance
def test_hostile_rows_on_a_real_engine(local_ray: Any, tiny: Any) -> None:
    """300 rows between Ray's own stages, in Arrow: each is answered or fails, and none is lost."""
    some, good = generated(300)
    spec = labkit.configure(tiny, batch_size=16, max_concurrent_batches=4)
    job = labkit.run(ENGINE_TASK, some, spec, progress=False)
    assert sorted(ids(job.answers) + ids(job.failed)) == list(range(300))
    assert set(ids(job.answers)) == good and len(good) > 80
    assert all(isinstance(reason, str) and reason for reason in job.failed["error"])
    assert [answer["id"] for answer in job.answers["answer"]] == ids(job.answers)
    for frame in (job.answers, job.failed):
        for back in frame.to_dict("records"):
            given_row = some[back["id"]]
            assert not any(unlike(back[name], value) for name, value in given_row.items())


@pytest.mark.engine
def test_a_hostile_table_on_a_warm_engine(warm_spec: Any, tmp_path: Path) -> None:
    """300 rows to Parquet and back: one schema, the columns as they were, failed rows once more."""
    chance = random.Random(7)
    count, texts = 300, [*QUESTIONS, "", " \n", None]
    frame = pd.DataFrame({"id": [f"{n}\u202e🚀" for n in range(count)]})
    frame["ask"] = [chance.choice(texts) for _ in range(count)]
    frame["limit"] = [chance.choice([1, 2, 3, 0, -1, math.nan]) for _ in range(count)]
    frame["on"] = [chance.choice([True, False]) for _ in range(count)]
    frame["row"] = [bytes([n % 256]) for n in range(count)]
    frame["__inference_error__"] = [datetime.date(1970, 1, 1 + n % 28) for n in range(count)]
    frame["sampling_params"] = [{"max_tokens": n, "x": None} for n in range(count)]
    frame["prompt"] = [[str(n)] * (n % 3) for n in range(count)]
    frame["a.b"] = pd.Categorical(["x", None, "y"] * 100)
    frame[""] = pd.Series(range(count), dtype="uint16")
    frame[" "] = [decimal.Decimal(n) / 8 for n in range(count)]
    bad = ~frame["limit"].isin([1, 2, 3]) | frame["ask"].isin(["", " \n"]) | frame["ask"].isna()
    out = labkit.write(
        ENGINE_TASK, frame, tmp_path / "out", warm_spec, id_column="id", progress=False
    )
    assert (out.rows, out.computed, out.failed) == (count, count, bad.sum())
    back = pd.read_parquet(tmp_path / "out").set_index("id").loc[frame["id"]]
    assert list(back["error"].isna()) == list(~bad)
    assert [a and a["id"] for a in back["answer"]] == [
        None if b else i for i, b in zip(frame["id"], bad, strict=True)
    ]
    table = pq.read_table(tmp_path / "out").to_pylist()
    found = {row["id"]: row for row in table}
    for row in frame.to_dict("records"):
        assert not any(unlike(found[row["id"]][name], value) for name, value in row.items())
    again = labkit.write(
        *(ENGINE_TASK, frame, tmp_path / "out", warm_spec),
        **{"id_column": "id", "progress": False, "retry_failed": True},
    )
    assert (again.rows, again.computed, again.failed) == (count, bad.sum(), bad.sum())
    assert len({pq.read_schema(file) for file in (tmp_path / "out").glob("*.parquet")}) == 1
