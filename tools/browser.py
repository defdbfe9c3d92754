"""Headless Chromium, and a JupyterLab to open in it: for the tests of pages and panels, and for the
pictures of the docs."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from labkit.errors import LabError
from labkit.paths import REPO

#: As root, and on a machine without a network: see the flags of Chromium.
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking",
)  # fmt: skip
#: JupyterLab's settings without the question about news (`make lab` has them, too).
NO_NEWS = REPO / "scripts" / "jupyter"


class NoBrowserError(LabError):
    """Chromium or its driver is not installed."""


@contextlib.contextmanager
def opened(*flags: str) -> Iterator[Any]:
    """A browser that keeps what its console says. Raises NoBrowserError where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        raise NoBrowserError("no chromium and chromedriver on this machine: install both")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def until(done: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    """The first true value of `done`, which may fail while the page is being built. Raises
    LabError where there is none in time."""
    deadline, problem = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if found := done():
                return found
        except Exception as error:
            problem = error
        time.sleep(0.2)
    raise LabError(f"not within {seconds:.0f} s: {what} ({problem})")


@contextlib.contextmanager
def jupyterlab(
    home: Path,
    notebook: Path,
    environment: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[str]:
    """A JupyterLab of its own over a notebook's folder; the URL of the notebook.

    home: a folder for what it keeps. environment: its own, and that of its kernels. settings: of
    JupyterLab's extensions, such as {"notebook-extension/tracker": {"windowingMode": "none"}}.
    """
    for name, values in (settings or {}).items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebook.parent}",
        "--no-browser", "--allow-root", f"--port={port}", f"--IdentityProvider.token={token}",
        "--expose-app-in-browser", "--ServerApp.port_retries=0", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    own = {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_CONFIG_PATH": str(NO_NEWS),
    }
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env={**environment, **own}, stdout=log, stderr=log)
        try:
            until(lambda: _listens(port), "a server")
            yield f"http://127.0.0.1:{port}/lab/tree/{notebook.name}?token={token}"
        finally:
            below = psutil.Process(server.pid).children(recursive=True)
            server.terminate()  # it ends its kernels
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:  # it waits for a kernel that is being restarted
                for process in (*below, psutil.Process(server.pid)):
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                server.wait()


def open_notebook(browser: Any, url: str) -> None:
    """Open a notebook of `jupyterlab` and wait until its kernel is idle."""
    browser.get(url)
    status = "return jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    until(lambda: browser.execute_script(status) == "idle", "a kernel")
    browser.execute_script("jupyterapp.shell.collapseLeft()")


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True
