"""The tiny model: the same for a seed, with a tokenizer that writes back what it read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ModelError
from labkit.weights.model import Model
from labkit.weights.tiny import VOCABULARY, _shorten, tiny_model
from tests.conftest import HARD_TEXTS


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_it_repeats_and_another_seed_is_another_model(tmp_path: Path) -> None:
    one, two, three = (tiny_model(tmp_path / f"m{n}", seed=n // 2) for n in range(3))
    assert digests(one) == digests(two)
    assert digests(one).items() ^ digests(three).items()
    assert sum(file.stat().st_size for file in one.iterdir()) < 3e6
    assert {file.stat().st_mode & 0o777 for file in one.iterdir()} == {0o644}


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m")
    (folder / "mine").write_text("x")
    assert tiny_model(folder) == folder and (folder / "mine").exists()


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    for place in (tmp_path / "file" / "m", tmp_path / "full"):
        with pytest.raises(ModelError, match="can't be written"):
            tiny_model(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_it_is_a_model_as_any_other(tiny: Model) -> None:
    assert tiny.context == 8192 and tiny.shape.vocabulary == VOCABULARY
    names = {file.name for file in Path(tiny.source).iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}


@pytest.mark.slow
@given(st.text())
def test_its_tokenizer_reads_as_smollm2_s_with_more_tokens(
    tiny: Model, smollm2: Model, text: str
) -> None:
    from tokenizers import Tokenizer

    short, full = (Tokenizer.from_file(f"{m.source}/tokenizer.json") for m in (tiny, smollm2))
    for words in (text, *(words for words in HARD_TEXTS.values() if isinstance(words, str))):
        ids, all_ids = (t.encode(words, add_special_tokens=False).ids for t in (short, full))
        assert all(0 <= one < VOCABULARY for one in ids) and len(ids) >= len(all_ids)
        assert short.decode(ids) == full.decode(all_ids)


def test_every_merge_is_of_words_that_are_left(tiny: Model) -> None:
    model = json.loads(Path(tiny.source, "tokenizer.json").read_text())["model"]
    assert len(model["vocab"]) == VOCABULARY
    assert all({*pair, "".join(pair)} <= model["vocab"].keys() for pair in model["merges"])


def test_merges_may_be_written_in_either_way(smollm2: Model, tmp_path: Path) -> None:
    """As lists of two, as the packaged model has them, or as `a b`, as older files do."""
    from tokenizers import Tokenizer

    whole = json.loads(Path(smollm2.source, "tokenizer.json").read_text())
    pairs = [p.split(" ") if isinstance(p, str) else p for p in whole["model"]["merges"]]
    text = "What is the weather like today?"
    ids = []
    for merges in (pairs, [" ".join(pair) for pair in pairs]):
        whole["model"]["merges"] = merges
        file = tmp_path / "tokenizer.json"
        file.write_text(json.dumps(whole))
        _shorten(file)
        ids.append(Tokenizer.from_file(str(file)).encode(text).ids)
    assert ids[0] == ids[1] and len(ids[0]) < len(text) / 2
