"""The lessons' diagrams: as the code draws them, true, legible, each text where it belongs.

The last tests look at them in a real browser. Without Chromium and its driver they are skipped,
unless REQUIRE_BROWSER is set (the CI sets it).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from labkit import scheduling
from tests.browser import opened
from tools import draw
from tools.drawing import continuous_batching, funnel, palette, prefix_caching, text_width
from tools.drawing.canvas import MARGIN, RIGHT, WIDTH, Picture, TooWide
from tools.drawing.schedule import continuous, handed_on, static, steps

NAMES = list(draw.DRAW)
PICTURES = {name: make() for name, make in draw.DRAW.items()}
THEMES = {"light": palette.LIGHT, "dark": palette.DARK}
SVG = "{http://www.w3.org/2000/svg}"
#: The narrowest page that a picture is made for, and the smallest text there, in pixels.
PHONE, SMALLEST = 390, 12


# --- the files -----------------------------------------------------------------------------------


def test_the_committed_pictures_are_what_the_code_draws() -> None:
    assert draw.differing() == [], "run python -m tools.draw"
    assert sorted(file.stem for file in draw.FOLDER.glob("*.svg")) == sorted(NAMES)
    assert draw.main(["--check"]) == 0


def test_check_says_which_file_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(draw, "FOLDER", tmp_path / "pictures")
    assert draw.main(["--check"]) == 1
    assert draw.main([]) == 0
    assert draw.main(["--check"]) == 0
    capsys.readouterr()
    (tmp_path / "pictures" / "funnel.svg").write_text("another")
    assert draw.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("funnel.svg is not")


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_says_what_it_shows(name: str) -> None:
    root = ElementTree.fromstring((draw.FOLDER / f"{name}.svg").read_text(encoding="utf-8"))
    assert root.get("role") == "img"
    assert root.get("viewBox") == f"0 0 {WIDTH} {PICTURES[name].height}"
    named = [root.find(f"{SVG}{tag}") for tag in ("title", "desc")]
    assert all(node is not None for node in named)
    assert root.get("aria-labelledby") == " ".join(n.get("id", "") for n in named if n is not None)
    assert [n.text for n in named if n is not None] == [PICTURES[name].title, draw.ALT[name]]
    assert 100 < len(draw.ALT[name]) < 500
    assert not re.search(r"[\[\]\n]", draw.ALT[name]), "it stands in ![…](…) in a Markdown cell"
    assert "http" not in ElementTree.tostring(root, "unicode").replace(SVG[1:-1], "")


@pytest.mark.parametrize("name", NAMES)
def test_words_are_few_and_large(name: str) -> None:
    root = ElementTree.fromstring(PICTURES[name].svg())
    for text in root.iter(f"{SVG}text"):
        words = "".join(text.itertext())
        assert len(words.split()) <= 12, words
        assert float(text.get("font-size", 0)) * PHONE / WIDTH >= SMALLEST, words


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out(theme: str) -> None:
    colours = THEMES[theme]
    for name, picture in PICTURES.items():
        for ink, look in picture.pairs:
            below = palette.LOOKS[look][0]
            seen = palette.contrast(colours[ink], colours[below])
            assert seen >= 4.5, f"{name}: {ink} on {look}: {seen:.2f}"


@pytest.mark.parametrize("theme", THEMES)
def test_shapes_can_be_told_apart_in_black_and_white(theme: str) -> None:
    colours = THEMES[theme]
    for one, other in (("paper", "light"), ("light", "mid"), ("mid", "dark")):
        assert palette.contrast(colours[one], colours[other]) >= 1.3, (one, other)
    for look, (_, stroke) in palette.LOOKS.items():
        if look not in ("paper", "barrier-head", "head"):
            assert palette.contrast(colours[stroke], colours["paper"]) >= 3, look
    dashed = {look for look, rest in palette.EXTRA.items() if "dasharray" in rest}
    assert dashed == {"dashed", "open", "guide"}


# --- the canvas ----------------------------------------------------------------------------------


def test_text_that_does_not_fit_is_refused() -> None:
    picture = Picture("A title", "Words.", 400)
    with pytest.raises(TooWide, match="its room is 100"):
        picture.text(MARGIN, 200, "far too wide for this", room=100)
    with pytest.raises(TooWide):
        picture.text(RIGHT - 40, 200, "out of the picture")
    with pytest.raises(TooWide, match="too high"):
        picture.box(MARGIN, 200, 120, 40, ["these are more than two lines of text"])


def test_code_and_bold_words_are_measured_as_such() -> None:
    assert text_width.pieces("`a_b` = **c** d") == [
        *(("code", "a_b"), ("", " = "), ("bold", "c"), ("", " d"))
    ]
    assert text_width.width("`abcd`", 1000) == 4 * 602
    assert text_width.width("**word**", 24) == text_width.width("word", 24, bold=True)
    assert text_width.width("word", 24) < text_width.width("word", 24, bold=True)
    assert text_width.wrap("one two three", 24, text_width.width("one two", 24)) == [
        *("one two", "three")
    ]


# --- what they show ------------------------------------------------------------------------------


def test_the_schedules_lose_no_row_and_share_no_place() -> None:
    lengths = continuous_batching.LENGTHS
    for runs in (static(lengths, 4), continuous(lengths, 4)):
        assert [run.end - run.start for run in sorted(runs, key=lambda r: r.row)] == list(lengths)
        taken = [(run.place, step) for run in runs for step in range(run.start, run.end)]
        assert len(set(taken)) == len(taken) and {place for place, _ in taken} == set(range(4))
    assert (steps(static(lengths, 4)), steps(continuous(lengths, 4))) == (14, 9)
    assert handed_on(static(lengths, 4), 4) == [8, 14]
    assert handed_on(continuous(lengths, 4), 4) == [8, 9]
    assert "14 steps" in draw.ALT["continuous-batching"]


def test_blocks_are_shared_from_the_beginning_and_whole() -> None:
    shared = prefix_caching.shared
    assert shared(prefix_caching.ALIKE, prefix_caching.FIRST) == 2
    assert shared(prefix_caching.LATER, prefix_caching.FIRST) == 0
    assert shared("abcdefg", "abcdefg") == 1, "the incomplete block is not"
    assert shared("abcdefgh", "abcdefgh") == 2


def test_the_funnel_is_labkit_s_own() -> None:
    from labkit.settings.engine_defaults import QUEUE

    assert funnel.LIMIT == QUEUE * funnel.MAX_NUM_SEQS


def test_the_pipeline_is_that_of_the_installed_ray() -> None:
    """Read, not imported: the order in which Ray adds its stages, and which can be off."""
    ray = importlib.util.find_spec("ray")
    assert ray is not None and ray.submodule_search_locations
    folder = Path(ray.submodule_search_locations[0], "llm/_internal/batch/processor")
    built = (folder / "vllm_engine_proc.py").read_text()
    added = re.findall(r"stages\.append\(\s*(\w+)\(", built)
    assert added == [
        *("PrepareMultimodalStage", "ChatTemplateStage", "TokenizeStage", "vLLMEngineStage"),
        "DetokenizeStage",
    ]
    fields = re.findall(
        r"(\w+_stage): Any = Field\(\s*default=(\w+)", (folder / "base.py").read_text()
    )
    assert dict(fields) == {
        "chat_template_stage": "True",
        "tokenize_stage": "True",
        "detokenize_stage": "True",
        "prepare_multimodal_stage": "False",
    }


def test_the_drawn_schedules_are_those_of_labkit() -> None:
    """Two that were written apart."""
    lengths = [3, 8, 2, 5, 6, 2, 4, 3]
    assert steps(static(lengths, 4)) == scheduling.static(lengths, 4).steps
    assert steps(continuous(lengths, 4)) == scheduling.schedule(lengths, 4, 2, 4).steps


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened() as browser:
        yield browser


#: Every collision of a text: with another one, a line, the edge of a shape, or of the picture.
COLLISIONS = """
const box = e => { const b = e.getBBox(); return [b.x, b.y, b.x + b.width, b.y + b.height]; };
const apart = (a, b) => a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
const within = (a, b) => a[0] >= b[0] && a[1] >= b[1] && a[2] <= b[2] && a[3] <= b[3];
const texts = [...document.querySelectorAll('text')].map(e => [e.textContent, box(e)]);
const shapes = [...document.querySelectorAll('svg > rect')].map(box);
const paths = [...document.querySelectorAll('svg > path')];
const found = [];
texts.forEach(([words, a], at) => {
  texts.slice(at + 1).forEach(([other, b]) => {
    if (!apart(a, b)) found.push(`${words} / ${other}`);
  });
  shapes.forEach(b => { if (!apart(a, b) && !within(a, b)) found.push(`${words} / edge ${b}`); });
  if (!within(a, [arguments[0], 0, arguments[1], arguments[2]])) found.push(`${words} / margin`);
  paths.forEach(path => {
    const length = path.getTotalLength();
    for (let s = 0; s <= length; s += 1.5) {
      const p = path.getPointAtLength(s);
      if (p.x > a[0] && p.x < a[2] && p.y > a[1] && p.y < a[3]) {
        found.push(`${words} / line ${path.getAttribute('d')}`);
        break;
      }
    }
  });
});
return [texts.length, found];
"""


def show(browser: Any, name: str, theme: str) -> None:
    wish = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    browser.get((draw.FOLDER / f"{name}.svg").as_uri())


@pytest.mark.browser
@pytest.mark.parametrize("theme", THEMES)
def test_no_text_meets_another_or_a_line(browser: Any, theme: str) -> None:
    for name in NAMES:
        show(browser, name, theme)
        height = PICTURES[name].height
        texts, found = browser.execute_script(COLLISIONS, MARGIN - 1, RIGHT + 1, height - 12)
        assert texts > 5 and found == [], (name, found)


@pytest.mark.browser
def test_what_meets_is_found(browser: Any, tmp_path: Path) -> None:
    picture = Picture("A title", "Words.", 400)
    for y, words in ((200, "one text"), (210, "another"), (300, "a third"), (395, "the last")):
        picture.text(MARGIN, y, words)
    picture.line([(MARGIN - 10, 300), (RIGHT, 300)])
    picture.rect(MARGIN + 20, 180, 300, 80)
    (tmp_path / "bad.svg").write_text(picture.svg())
    browser.get((tmp_path / "bad.svg").as_uri())
    _, found = browser.execute_script(COLLISIONS, MARGIN - 1, RIGHT + 1, 388)
    assert [line.split(" / ")[0] for line in found] == [
        *("one text", "one text", "another", "a third", "the last", "the last")
    ]


@pytest.mark.browser
@pytest.mark.parametrize("theme", THEMES)
def test_each_theme_has_its_own_colours(browser: Any, theme: str) -> None:
    for name in NAMES:
        show(browser, name, theme)
        fills = browser.execute_script(
            "return ['rect.paper', 'text.ink'].map("
            "s => getComputedStyle(document.querySelector(s)).fill.match(/\\d+/g).map(Number))"
        )
        want = [THEMES[theme][colour] for colour in ("paper", "ink")]
        assert ["#" + "".join(f"{c:02x}" for c in fill) for fill in fills] == want


@pytest.mark.browser
def test_a_picture_is_as_wide_as_a_phone(browser: Any, tmp_path: Path) -> None:
    """By itself and in a page that keeps pictures within itself, as JupyterLab and GitHub do."""
    size = {"width": PHONE, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for name in NAMES:
            show(browser, name, "light")
            measure = "const b = document.documentElement.getBoundingClientRect();"
            wide = browser.execute_script(f"{measure} return [b.width, b.height]")
            assert wide == pytest.approx([PHONE, PICTURES[name].height * PHONE / WIDTH], abs=1)
            page = tmp_path / "page.html"
            source = (draw.FOLDER / f"{name}.svg").as_uri()
            style = "max-width:100%;height:auto"
            page.write_text(f'<body style="margin:0"><img style="{style}" src="{source}">')
            browser.get(page.as_uri())
            measure = "const b = document.images[0].getBoundingClientRect();"
            wide = browser.execute_script(f"{measure} return [b.width, b.height]")
            assert wide == pytest.approx([PHONE, PICTURES[name].height * PHONE / WIDTH], abs=1)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
