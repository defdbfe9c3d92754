"""The search: it climbs, it stops in time, and its words are borne out by its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.results.tuning import OutOfTime, Setting, Trial, Tuning, as_run, doubled, search


def steps(setting: Setting) -> Iterator[tuple[str, Any]]:
    for name in setting:
        yield f"more {name}", doubled(name, 2, 1, 64)
        yield f"less {name}", doubled(name, 0.5, 1, 64)


class Hill:
    """Rates that are highest at one setting and fall by a factor with each doubling away."""

    def __init__(self, peak: dict[str, int], tries: int = 1000):
        self.peak, self.tries, self.trials = peak, tries, list[Trial]()

    def __call__(self, setting: Setting) -> Trial:
        if len(self.trials) >= self.tries:
            raise OutOfTime
        away = sum(abs(setting[n].bit_length() - self.peak[n].bit_length()) for n in setting)
        rate = 1000 * 0.8**away
        self.trials.append(Trial(setting, (rate * 0.99, rate, rate * 1.01), 1.0, 100))
        return self.trials[-1]


powers = st.sampled_from([1, 2, 4, 8, 16, 32, 64])
settings = st.fixed_dictionaries({"a": powers, "b": powers})


@given(settings, settings)
def test_it_finds_the_top_of_a_hill(base: dict[str, int], peak: dict[str, int]) -> None:
    hill = Hill(peak)
    assert search(base, steps, hill) == ""
    assert Tuning(tuple(hill.trials)).best.setting == peak
    tried = [json.dumps(trial.setting) for trial in hill.trials]
    assert tried[0] == json.dumps(base) and len(tried) == len(set(tried)) <= 32


@given(settings, settings, st.integers(1, 12))
def test_it_stops_where_there_is_no_time(base: Any, peak: Any, tries: int) -> None:
    hill = Hill(peak, tries)
    left = search(base, steps, hill)
    assert len(hill.trials) <= tries
    assert not left or left.split()[0] in ("more", "less")
    if not left:
        assert Tuning(tuple(hill.trials)).best.setting == peak
    made = Tuning(tuple(hill.trials), left, 5.0)
    assert ("no time" in made.sentence()) == bool(left)


def test_a_setting_that_no_engine_takes_is_no_gain() -> None:
    def trial_of(setting: Setting) -> Trial:
        if setting["a"] > 4:
            return Trial(setting, error="no memory")
        return Trial(setting, (10.0 * setting["a"],), 0.0, 10)

    found = [trial_of({"a": 4}), trial_of({"a": 8}), trial_of({"a": 2})]
    made = Tuning(tuple(found), "", 3.0)
    assert search({"a": 4}, steps, trial_of) == ""
    assert made.best.setting == {"a": 4} and made.table["error"].tolist() == ["", "no memory", ""]
    assert "1 could not be used" in made.sentence()
    assert made.table["rows/s"].tolist() == [40, 0, 20]


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([(10, 11, 12)], "the one setting tried in 7 s: a=0, at 11.0 rows/s (10.0 to 12.0 in 3"),
        ([(10, 11, 12)], "the lab's own choice."),
        ([(10, 11, 12), (20, 22, 24)], "2.00 times the lab's own choice."),
        ([(10, 11, 12), (11, 13, 15)], "other runs could choose otherwise"),
        ([(30, 31, 32), (5, 6, 7), (31, 31, 31)], "The runs of one other setting overlap"),
        ([(5, 5, 5), (30, 31, 32), (31, 31, 31), (30, 30, 30)], "The runs of 2 others overlap"),
    ],
)
def test_it_says_how_sure_it_is(trials: list[tuple[float, ...]], words: str) -> None:
    made = Tuning(tuple(Trial({"a": n}, rates) for n, rates in enumerate(trials)), "", 7.0)
    assert words in made.sentence()
    surely = Tuning(tuple(Trial({"a": n}, (r, r, r)) for n, r in enumerate((1.0, 9.0))), "", 1.0)
    assert "overlap" not in surely.sentence()


def test_a_file_comes_back_also_one_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "search.jsonl"
    trials = [Trial({"a": 1}, (1.0, 2.0), 3.5, 10), Trial({"a": 2}, error="why")]
    text = json.dumps({"tuning": {"device": "x"}}) + "\n"
    text += "".join(json.dumps(as_run(*one)) + "\n" for one in zip(trials, (4.0, 9.0), strict=True))
    file.write_text(text)
    made = Tuning.load(file)
    assert (list(made.trials), made.seconds, made.provenance) == (trials, 9.0, {"device": "x"})
    file.write_text(text[:-20])
    assert list(Tuning.load(file).trials) == trials[:1]
    for wrong in ("", "{}\n", "no json\n", json.dumps({"tuning": {}}) + "\n"):
        file.write_text(wrong)
        with pytest.raises(LabError):
            Tuning.load(file)
