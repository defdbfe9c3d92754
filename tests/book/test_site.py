"""The book as a reader opens it: built without a network, every link followed, in a browser at two
widths and in light and dark."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from book.stage import HTML, ROOT
from tests.browser import opened
from tests.programs import without_network

pytestmark = pytest.mark.endurance
AXE = "axe-core@4.14.1"
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
SHOTS = ROOT / "build" / "site-shots"


@pytest.fixture(scope="module")
def site() -> Path:
    subprocess.run([sys.executable, "scripts/setup.py", "site"], cwd=ROOT, check=True)
    shutil.rmtree(HTML, ignore_errors=True)
    command, env = without_network([str(ROOT / ".venv-site" / "bin" / "python"), "-m", "book"], {})
    done = subprocess.run(command, cwd=ROOT, env=env or None, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return HTML


class Page(HTMLParser):
    """Ids, what is linked or loaded, and pictures without words, of one page."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.wordless: list[str] = []
        self.open_details = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.ids |= {known[name] for name in ("id", "name") if name in known}
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        elif tag == "link" and "href" in known:
            self.loads.append(known["href"])
        elif "src" in known:
            self.loads.append(known["src"])
        if tag == "img" and not known.get("alt", "").strip():
            self.wordless.append(known.get("src", "?"))
        self.open_details += tag == "details" and "open" in known


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_anchor_and_file_is_there(pages: dict[Path, Page]) -> None:
    missing, followed = [], 0
    for path, page in pages.items():
        for target in (*page.links, *page.loads):
            if target.startswith(("http://", "https://", "data:", "mailto:")):
                continue
            file, _, anchor = target.partition("#")
            file = unquote(file.partition("?")[0])
            to = (path.parent / file).resolve() if file else path
            known = pages[to].ids | {""} if to in pages else None
            if not to.is_file() or (known and unquote(anchor) not in known):
                missing.append((path.name, target))
            followed += 1
    assert not missing
    assert followed > 1000 and len(pages) > 17


def test_nothing_is_loaded_from_elsewhere_and_pictures_have_words(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [load for load in page.loads if "//" in load], path
        assert not page.wordless, path
        assert not page.open_details, f"{path}: a solution stands open"
    lessons = [page for path, page in pages.items() if path.parent.name == "notebooks"]
    assert len(lessons) == 3


# --- in a browser --------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened() as browser:
        browser.set_script_timeout(60)
        yield browser


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core from its package (https://github.com/dequelabs/axe-core)."""
    folder = tmp_path_factory.mktemp("axe")
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine")
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True)
    (packed,) = folder.glob("*.tgz")
    shutil.unpack_archive(packed, folder, filter="data")
    return (folder / "package" / "axe.min.js").read_text(encoding="utf-8")


def look(browser: Any, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def errors(browser: Any) -> list[str]:
    return [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def until(browser: Any, script: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not browser.execute_script(f"return {script}"):
        assert time.monotonic() < deadline, f"not within {seconds} s: {script}"
        time.sleep(0.1)


@pytest.mark.browser
def test_the_front_page_is_light_and_soon_there(address: str, browser: Any) -> None:
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    look(browser, 390, "light")
    browser.get(f"{address}/index.html")
    until(browser, "performance.getEntriesByName('first-contentful-paint').length")
    paint, loaded, names = browser.execute_script(
        "const all = [...performance.getEntriesByType('resource'),"
        " ...performance.getEntriesByType('navigation')];"
        "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
        " all.reduce((sum, e) => sum + e.transferSize, 0), all.map(e => e.name)]"
    )
    assert paint < 3000 and 100_000 < loaded < 2_000_000
    assert all(name.startswith(address) for name in names)
    assert not errors(browser)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_each_page_can_be_read(
    address: str, browser: Any, pages: dict[Path, Page], axe: str, width: int, scheme: str
) -> None:
    check = (
        "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(r => done("
        "r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
        ".map(v => [v.id, v.nodes.map(n => n.html)])))"
    )
    look(browser, width, scheme)
    SHOTS.mkdir(parents=True, exist_ok=True)
    for path in pages:
        name = path.relative_to(HTML).as_posix()
        browser.get(f"{address}/{name}")
        until(browser, "document.readyState == 'complete'")
        time.sleep(0.4)  # the theme makes what scrolls reachable by keyboard only a moment later
        assert not errors(browser), name
        root = "document.documentElement."
        assert browser.execute_script(f"return {root}scrollWidth <= {root}clientWidth"), name
        assert browser.execute_script(f"return {root}dataset.theme") == scheme
        browser.execute_script(axe)
        assert browser.execute_async_script(check) == [], name
        browser.save_screenshot(
            str(SHOTS / f"{path.stem}-{width}-{scheme}.png"),
        )


@pytest.mark.browser
def test_the_toy_plays_and_follows_the_readers_choice(address: str, browser: Any) -> None:
    look(browser, 1280, "light")
    browser.get(f"{address}/notebooks/02_creative_prompts.html")
    (frame,) = browser.find_elements("css selector", "iframe")
    ground = (
        "const p = document.querySelector('iframe').contentDocument;"
        "return p.defaultView.getComputedStyle(p.querySelector('main')).backgroundColor"
    )
    light = browser.execute_script(ground)
    browser.execute_script("document.documentElement.dataset.theme = 'dark'")
    time.sleep(0.3)
    assert browser.execute_script(ground) != light == "rgb(255, 255, 255)"
    browser.switch_to.frame(frame)
    browser.find_element("id", "step").click()
    assert browser.find_element("id", "say").text.startswith("Step 1 of")
    browser.switch_to.default_content()
    assert not errors(browser)


@pytest.mark.browser
def test_a_word_explains_itself_by_keyboard(address: str, browser: Any) -> None:
    look(browser, 1280, "light")
    browser.get(f"{address}/notebooks/01_faq_answers.html")
    until(browser, "document.querySelector('a.word[data-bs-original-title]')")
    words = browser.find_elements("css selector", "a.word")
    assert len(words) >= 8
    browser.execute_script("arguments[0].focus()", words[0])
    until(browser, "document.querySelector('.tooltip.show')")
    shown = browser.find_element("css selector", ".tooltip.show").text
    assert shown == words[0].get_attribute("data-bs-original-title") and len(shown.split()) > 5
    assert words[0].get_attribute("aria-describedby")


@pytest.mark.browser
def test_search_finds_a_word(address: str, browser: Any) -> None:
    browser.get(f"{address}/search.html?q=straggler")
    until(browser, "document.querySelectorAll('#search-results li').length")
    assert "Glossary" in browser.find_element("id", "search-results").text
    assert not errors(browser)
