"""docs/panel.png: lesson 2's panel in a real JupyterLab, with a guess, as it was recorded.

`python -m tools.panel_picture`, after `make notebooks`: the panel is played back, no engine
starts, and the picture has the numbers of the lesson's last recording. It needs Chromium and its
driver, as the tests of the panel do.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat

from labkit.hardware.recorded_machine import REPLAY
from tools.browser import jupyterlab, open_notebook, opened, until
from tools.execute_notebooks import NOTEBOOKS

LESSON = "02_creative_prompts.ipynb"
PICTURE = NOTEBOOKS.parent / "docs" / "panel.png"
#: The cells that the panel needs, by what they hold.
CELLS = ("labkit.ready()", "machine = labkit.", "prompts = labkit.", "panel = labkit.panel(")
GUESS = ("1", "3", "8", "8")


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
        told = {**os.environ, REPLAY: "1"}
        with (
            jupyterlab(Path(home), Path(home) / LESSON, told) as url,
            opened("--window-size=1280,1900") as page,
        ):
            open_notebook(page, url)
            PICTURE.write_bytes(_panel(page))
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


def _panel(page: Any) -> bytes:
    """The panel's picture, when its guess is typed and its points are measured."""
    from selenium.webdriver.common.keys import Keys

    page.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    boxes = until(lambda: page.find_elements("css selector", ".labkit-guess input"), "the panel")
    for box, guess in zip(boxes, GUESS, strict=True):
        box.send_keys(Keys.CONTROL + "a")
        box.send_keys(guess, Keys.TAB)
    panel = page.find_element("css selector", ".labkit-panel")
    until(lambda: "Your guess" in panel.text, "the guess as a curve")
    panel.find_element("css selector", "button").send_keys(Keys.ENTER)
    until(lambda: "done" in panel.find_element("css selector", ".labkit-state").text, "the end")
    page.execute_script("arguments[0].scrollIntoView({block: 'end'})", panel)
    time.sleep(2)  # the last point is drawn, and all of it is in sight
    picture: bytes = panel.screenshot_as_png
    return picture


if __name__ == "__main__":
    main()
