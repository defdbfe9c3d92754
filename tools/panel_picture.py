"""docs/panel.png: lesson 2's panel in a real JupyterLab, with a guess, as it was recorded.

`python -m tools.panel_picture`, after `make notebooks`: the panel is played back, no engine
starts, and the picture has the numbers of the lesson's last recording. It needs Chromium and its
driver, as the tests of the panel do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat

from labkit.errors import LabError
from labkit.hardware.recorded_machine import REPLAY
from tools.execute_notebooks import NOTEBOOKS

LESSON = "02_creative_prompts.ipynb"
PICTURE = NOTEBOOKS.parent / "docs" / "panel.png"
#: The cells that the panel needs, by what they hold.
CELLS = ("labkit.ready()", "machine = labkit.", "prompts = labkit.", "panel = labkit.panel(")
GUESS = ("1", "3", "8", "8")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--window-size=1280,1900",
)  # fmt: skip
APP = "jupyterapp.shell.currentWidget"


def main() -> None:
    """Make the picture anew."""
    with tempfile.TemporaryDirectory() as home:
        lesson = nbformat.read(NOTEBOOKS / LESSON, as_version=4)
        lesson["cells"] = [
            cell
            for cell in lesson["cells"]
            if cell["cell_type"] == "code" and any(part in cell["source"] for part in CELLS)
        ]
        for cell in lesson["cells"]:
            cell.update(outputs=[], execution_count=None)
        nbformat.write(lesson, Path(home) / LESSON)
        with _lab(Path(home)) as url, _browser() as page:
            page.get(url)
            PICTURE.write_bytes(_panel(page))
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


def _panel(page: Any) -> bytes:
    """The panel's picture, when its guess is typed and its points are measured."""
    from selenium.webdriver.common.keys import Keys

    status = f"return {APP}.sessionContext.session.kernel.status"
    _until(lambda: page.execute_script(status) == "idle", "a kernel")
    page.execute_script("jupyterapp.shell.collapseLeft()")
    page.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    boxes = _until(lambda: page.find_elements("css selector", ".labkit-guess input"), "the panel")
    for box, guess in zip(boxes, GUESS, strict=True):
        box.send_keys(Keys.CONTROL + "a")
        box.send_keys(guess, Keys.TAB)
    panel = page.find_element("css selector", ".labkit-panel")
    _until(lambda: "Your guess" in panel.text, "the guess as a curve")
    panel.find_element("css selector", "button").send_keys(Keys.ENTER)
    _until(lambda: "done" in panel.find_element("css selector", ".labkit-state").text, "the end")
    page.execute_script("arguments[0].scrollIntoView({block: 'end'})", panel)
    time.sleep(2)  # the last point is drawn, and all of it is in sight
    picture: bytes = panel.screenshot_as_png
    return picture


@contextlib.contextmanager
def _lab(home: Path) -> Iterator[str]:
    """A JupyterLab of its own over a folder; the URL of its lesson."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={home}", "--no-browser",
        "--allow-root", f"--port={port}", f"--IdentityProvider.token={token}",
        "--expose-app-in-browser", "--ServerApp.port_retries=0", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    told = str(NOTEBOOKS.parent / "scripts" / "jupyter")  # no question about news in the picture
    folders = {f"JUPYTERLAB_{name}_DIR": str(home / name) for name in ("SETTINGS", "WORKSPACES")}
    environment = {**os.environ, REPLAY: "1", "JUPYTER_CONFIG_DIR": str(home / "c"), **folders}
    environment["JUPYTER_CONFIG_PATH"] = told
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _until(lambda: _listens(port), "a server")
            yield f"http://127.0.0.1:{port}/lab/tree/{LESSON}?token={token}"
        finally:
            server.terminate()  # it ends its kernels
            server.wait(60)


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    from selenium import webdriver

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        raise LabError("The picture needs Chromium and chromedriver: install both.")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


def _until(done: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """The first true value of `done`, which may fail while the page is being built."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if value := done():
                return value
        time.sleep(0.3)
    raise LabError(f"Not within {seconds:.0f} s: {what}.")


if __name__ == "__main__":
    main()
