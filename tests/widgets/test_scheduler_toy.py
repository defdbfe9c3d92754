"""The scheduler toy in a real browser: its numbers are Python's; it is walked by keyboard; it can
be read on a wall and on a phone, light and dark; it plays in a notebook's frame.

Screenshots go to build/screenshots. Without Chromium and its driver the tests of the page are
skipped, unless REQUIRE_BROWSER is set (the CI sets it).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from labkit.errors import LabError
from labkit.paths import REPO
from labkit.scheduling import MIXES, schedule, toy_lengths
from labkit.widgets.scheduler_toy import PAGE, SENTENCE, scheduler_toy
from tests.browser import opened

SHOTS = REPO / "build" / "screenshots"
#: (rows, mix, batch_size, max_concurrent_batches, max_num_seqs)
SETTINGS = (
    (96, "a few long ones", 4, 4, 16),
    (96, "a few long ones", 16, 1, 16),
    (96, "mixed", 8, 6, 24),
    (128, "mixed", 1, 32, 64),
    (128, "mixed", 32, 8, 64),
    (8, "mixed", 1, 1, 1),
    (8, "all alike", 32, 32, 1),
    (104, "all alike", 5, 3, 7),
    (40, "a few long ones", 7, 2, 64),
    (128, "a few long ones", 3, 9, 20),
    (64, "mixed", 6, 5, 29),
    (1000, "mixed", 16, 4, 64),
    (1000, "a few long ones", 1, 64, 48),
)
#: The least contrast of all text that is shown with the colour behind it, and where.
CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
const rgb = css => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css;
  canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05); };
const behind = node => { for (; node; node = node.parentElement) {
  const colour = rgb(getComputedStyle(node).backgroundColor);
  if (colour[3] === 255) return colour; } throw new Error("nothing is behind"); };
let worst = [99, "", 0];
const see = (value, what) => { worst[2]++; if (value < worst[0]) worst = [value, what, worst[2]]; };
for (const node of document.querySelectorAll("main *")) {
  const style = getComputedStyle(node);
  const text = [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!text || !node.getClientRects().length || node.tagName === "OPTION") continue;
  see(contrast(rgb(node.namespaceURI.endsWith("svg") ? style.fill : style.color), behind(node)),
    node.textContent.trim());
  const seat = node.closest(".seat");
  if (seat) see(contrast(rgb(style.color), rgb(getComputedStyle(seat.children[0]).backgroundColor)),
    "a seat's fill");
}
return worst;
"""


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not re.findall(r"https?:|//[a-z]|\bimport\b|@import|url\(|<link|src=", page)
    assert len(page.encode()) < 25_000


def test_in_a_notebook_it_is_a_frame_with_a_sentence() -> None:
    toy = scheduler_toy()
    html = toy._repr_html_()
    assert html.startswith("<iframe title=") and html.count("<iframe") == 1
    assert 'data-fit="content"' in html and SENTENCE in html and repr(toy) == SENTENCE
    assert html.count('"') == 2 * html.count('="'), "the page's own quotes are escaped"
    fixed = scheduler_toy(700)._repr_html_()
    assert "height: 700px" in fixed and 'data-fit="none"' in fixed
    for wrong in (0, -5, 20, 1.5, "900", True):
        with pytest.raises(LabError, match="pixels"):
            scheduler_toy(wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened() as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """The page, freshly opened at 1280 px in light; its console must stay empty."""
    look(browser, 1280, "light")
    browser.get(PAGE.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def look(browser: Any, width: int, scheme: str, height: int = 900) -> None:
    command = browser.execute_cdp_cmd
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    command("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    command("Emulation.setEmulatedMedia", {"features": media})


def until(done: Callable[[], Any], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def text(page: Any, css: str) -> str:
    return page.find_element("css selector", css).text


def set_to(page: Any, **values: Any) -> None:
    """Settings at once; by keyboard they are moved in the test of the keyboard."""
    script = (
        "for (const [id, value] of Object.entries(arguments[0])) {"
        "const node = document.getElementById(id); node.value = value;"
        "node.dispatchEvent(new Event('input')); }"
    )
    page.execute_script(script, values)


@pytest.mark.browser
def test_javascript_plays_the_schedule_of_python(page: Any) -> None:
    for rows, mix, *settings in SETTINGS:
        lengths = page.execute_script("return toyLengths(arguments[0], arguments[1])", rows, mix)
        assert lengths == toy_lengths(rows, mix)
        ours = schedule(lengths, *settings)
        js = page.execute_script("return window.schedule(...arguments)", lengths, *settings)
        assert js["steps"] == ours.steps
        for name in ("first_step", "last_step"):
            assert js[name] == ours.by_row[name].tolist()
        for name in ("handed_over_step", "delivered_step"):
            assert js[name] == ours.by_row.groupby("batch")[name].first().tolist()
        for name in ("decoding", "waiting", "time"):
            assert [step[name] for step in js["by_step"]] == ours.by_step[name].tolist()
        assert [step["open"] for step in js["by_step"]] == ours.by_step["batches_open"].tolist()
        for name in ("time", "tokens_per_unit", "mean_rows_decoding", "mean_rows_in_flight"):
            assert js[name] == pytest.approx(getattr(ours, name), rel=1e-12)


@pytest.mark.browser
def test_mixes_are_those_of_python(page: Any) -> None:
    options = page.find_elements("css selector", "#mix option")
    assert tuple(option.text for option in options) == MIXES


@pytest.mark.browser
def test_the_page_shows_the_schedule(page: Any) -> None:
    """At every seventh step: seats, tiles and words are those of Python's tables."""
    set_to(page, size=6, batches=5, seats=20, rows=64, mix="mixed")
    ours = schedule(toy_lengths(64, "mixed"), 6, 5, 20)
    seen = """
    go(arguments[0]);
    const all = css => [...document.querySelectorAll(css)];
    const tiles = name => all(`#slots .${name}`).length;
    return [all("#held span:not([hidden])").length, all(".slot:not(.empty)").length,
      tiles("waiting"), tiles("decoding"), tiles("done"),
      all(".seat.on b").map(node => +node.textContent),
      all(".seat.on small").map(node => node.textContent)]
    """
    rows = ours.by_row
    for step in range(1, ours.steps + 1, 7):
        held, slots, waiting, decoding, done, seats, small = page.execute_script(seen, step)
        line = ours.by_step.iloc[step - 1]
        assert (slots, waiting, decoding) == (
            line["batches_open"],
            line["waiting"],
            line["decoding"],
        )
        assert held == rows[rows["handed_over_step"] > step]["batch"].nunique()
        assert done == ((rows["last_step"] < step) & (rows["delivered_step"] >= step)).sum()
        at = rows[(rows["first_step"] <= step) & (rows["last_step"] >= step)]
        progress = {
            row + 1: f"{step - first + 1}/{length}"
            for row, first, length in zip(at["row"], at["first_step"], at["length"], strict=True)
        }
        assert dict(zip(seats, small, strict=True)) == progress
        assert f"Step {step} of {ours.steps}: {decoding + waiting} row" in text(page, "#say")
    cells = [cell.text for cell in page.find_elements("css selector", "#numbers td")]
    assert cells[6] == f"{ours.tokens_per_unit:.1f}"
    other = schedule(toy_lengths(64, "mixed"), 30, 1, 20)
    assert cells[7] == f"{other.tokens_per_unit:.1f}"
    ratio = ours.tokens_per_unit / other.tokens_per_unit
    words = f"{ratio:.2f}× as many tokens per unit of time as 1 batch of 30 rows"
    assert text(page, "#ratio") == words
    set_to(page, **{"with": "ones"})
    assert text(page, "#ratio").endswith("as 30 batches of 1 row")


@pytest.mark.browser
def test_it_is_played_by_keyboard(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        page.switch_to.active_element.send_keys(*keys)

    def focused() -> str:
        return page.switch_to.active_element.get_attribute("id")

    order = []
    for _ in range(12):
        press(Keys.TAB)
        order.append(focused())
    assert order == [
        "size", "batches", "seats", "rows", "mix", "with",
        "restart", "back", "play", "step", "at", "speed",
    ]  # fmt: skip
    for control in page.find_elements("css selector", "input, select, button"):
        assert control.accessible_name
    for picture in page.find_elements("css selector", "[role=img]"):
        assert picture.get_attribute("aria-label")

    page.find_element("id", "size").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert text(page, "output[for=size]") == "6"
    assert "limit 24 rows in flight" in text(page, "#n-slots")
    page.find_element("id", "rows").send_keys(Keys.HOME)
    assert text(page, "output[for=rows]") == "8"

    assert "Nothing is handed over yet" in text(page, "#say")
    page.find_element("id", "step").send_keys(Keys.ENTER)
    press(Keys.SPACE)
    assert text(page, "#say").startswith("Step 2 of")
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert text(page, "#say").startswith("Step 3 of")
    page.find_element("id", "back").send_keys(Keys.ENTER)
    assert text(page, "#say").startswith("Step 2 of")
    page.find_element("id", "at").send_keys(Keys.END)
    assert text(page, "#say").startswith("All 8 rows are delivered")
    page.find_element("id", "restart").send_keys(Keys.ENTER)
    assert "Nothing is handed over yet" in text(page, "#say")

    page.find_element("id", "speed").send_keys("fast")
    page.find_element("id", "play").send_keys(Keys.SPACE)
    assert text(page, "#play") == "Pause" and focused() == "play"
    until(lambda: "Step" in text(page, "#say"), "the first steps")
    press(Keys.SPACE)
    stopped = text(page, "#say")
    assert text(page, "#play") == "Play"
    time.sleep(0.2)
    assert text(page, "#say") == stopped
    press(Keys.SPACE)
    until(lambda: text(page, "#say").startswith("All 8 rows are delivered"), "the end")
    until(lambda: text(page, "#play") == "Play", "the end of playing")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "scheme"),
    [(1280, "light"), (1280, "dark"), (1000, "light"), (390, "light"), (390, "dark")],
)
def test_it_can_be_read(page: Any, width: int, scheme: str) -> None:
    look(page, width, scheme)
    for name, values in {
        "": {},
        "-wide": {"size": 1, "batches": 32, "seats": 64, "rows": 128, "with": "ones"},
        "-tall": {"size": 32, "batches": 8, "seats": 64, "rows": 128, "with": "one"},
        "-door": {"size": 6, "batches": 5, "seats": 14, "rows": 96, "mix": "mixed"},
    }.items():
        set_to(page, **values)
        page.execute_script("go(mine.steps >> 2)")
        root = "document.documentElement."
        assert page.execute_script(f"return {root}scrollWidth <= {root}clientWidth")
        worst, where, texts = page.execute_script(CONTRAST)
        assert worst >= 4.5 and texts > 60, where
        spills = """
        const boxes = "main section, .slot, .slot b, .tile, .seat, button, p";
        return [...document.querySelectorAll(boxes)]
          .filter(node => node.scrollWidth > node.clientWidth + 1 && node.clientWidth)
          .map(node => node.className + ": " + node.textContent)"""
        assert page.execute_script(spills) == []
        if name in ("", "-door"):
            look(page, width, scheme, page.execute_script(f"return {root}scrollHeight"))
            SHOTS.mkdir(parents=True, exist_ok=True)
            page.save_screenshot(str(SHOTS / f"toy-{width}-{scheme}{name}.png"))
            look(page, width, scheme)


@pytest.mark.browser
def test_nothing_jumps_while_it_is_played(page: Any) -> None:
    tops = """
    const tops = new Set();
    for (let step = 0; step <= mine.steps + 1; step += 3) {
      go(step); tops.add(document.getElementById("chart").getBoundingClientRect().top + scrollY); }
    return [...tops]"""
    for values in ({}, {"size": 1, "batches": 8}, {"size": 32, "batches": 2}):
        set_to(page, **values)
        assert len(page.execute_script(tops)) == 1


@pytest.mark.browser
def test_it_plays_in_an_exported_notebook(page: Any, tmp_path: Path) -> None:
    from nbconvert import HTMLExporter

    toys = (scheduler_toy(), scheduler_toy(300))
    cells = [
        new_code_cell(
            "toy",
            outputs=[
                new_output(
                    "display_data",
                    {"text/html": toy._repr_html_(), "text/plain": repr(toy)},
                )
            ],
        )
        for toy in toys
    ]
    exporter = HTMLExporter(require_js_url="", mathjax_url="", jquery_url="")
    file = tmp_path / "lesson.html"
    file.write_text(exporter.from_notebook_node(new_notebook(cells=cells))[0], encoding="utf-8")
    page.get(file.as_uri())
    whole, fixed = page.find_elements("css selector", "iframe")
    assert fixed.size["height"] == 300
    page.switch_to.frame(whole)
    page.find_element("id", "step").click()
    assert text(page, "#say").startswith("Step 1 of")
    inside = "return document.documentElement.scrollHeight - window.innerHeight"
    until(lambda: page.execute_script(inside) <= 0, "a frame as tall as its page")
    page.switch_to.default_content()
    # The page of nbconvert itself would load things from the network; the toy says nothing.
    assert not [line for line in page.get_log("browser") if "srcdoc" in line["message"]]
