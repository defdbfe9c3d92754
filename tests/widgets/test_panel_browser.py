"""The panel in a real JupyterLab, driven by a real browser: notebook 02, Run, Cancel, Run, errors.

Screenshots go to build/screenshots. Without Chromium and its driver the test is skipped, unless
REQUIRE_BROWSER is set (the CI sets it).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell

from labkit.ray_session import session
from tests.browser import opened
from tests.engines.test_warm_engine import engines
from tools.browser import jupyterlab, open_notebook, until
from tools.execute_notebooks import NOTEBOOKS

LESSON = "02_creative_prompts.ipynb"
SHOTS = NOTEBOOKS.parent / "build" / "screenshots"
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}}
FAILING = """\
bad = labkit.panel(tasks.faq("no such column"), prompts.head(4), [(1, 4)], spec, title="Bad")
bad"""
NOTEBOOK = "const nb = jupyterapp.shell.currentWidget.content;"
#: Notes in the page whatever the panel shows, however seldom a busy machine lets a test ask for it.
RECORD = """\
const panel = arguments[0].querySelector('.labkit-panel');
const seen = {'.labkit-state': [], '.labkit-line': [], '.progress-bar': []};
const look = () => { for (const css in seen) {
  const node = panel.querySelector(css);
  const shown = node && (css == '.progress-bar' ? node.style.width : node.textContent);
  if (shown != null && shown != seen[css].at(-1)) seen[css].push(shown);
} };
look();
new MutationObserver(look).observe(
  panel, {subtree: true, childList: true, attributes: true, characterData: true});
window.labkitSeen = seen;
"""

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.stops_ray]


@pytest.fixture(scope="module")
def lab(with_tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab over a copy of the lesson with a failing panel at its end; its URL."""
    session.stop()  # the engine of the tests before: the notebook starts one of its own
    home = tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(NOTEBOOKS / LESSON, as_version=4)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    notebook["cells"] += [new_code_cell(FAILING), new_code_cell("bad.result()")]
    (home / "notebooks").mkdir()
    nbformat.write(notebook, home / "notebooks" / LESSON)
    environment = {**with_tiny, "QUICK": "1"}
    with jupyterlab(home, home / "notebooks" / LESSON, environment, SETTINGS) as url:
        yield url


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[Any]:
    """A browser with the lesson open and its kernel idle."""
    with opened("--window-size=1280,1900") as browser:
        try:
            open_notebook(browser, lab)
            yield browser
        finally:
            shot(browser, "last")


def shot(target: Any, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    save = getattr(target, "save_screenshot", None) or target.screenshot
    save(str(SHOTS / f"{name}.png"))


class Cell:
    """One code cell of the open notebook, found by its source."""

    def __init__(self, page: Any, source: str):
        self.page = page
        find = "return nb.widgets.findIndex(w => w.model.type == 'code' && "
        self.at = self.script(f"{find}w.model.sharedModel.source.includes(arguments[0]))", source)
        assert self.at >= 0, source

    def script(self, code: str, *arguments: Any) -> Any:
        return self.page.execute_script(NOTEBOOK + code, *arguments)

    def run(self, seconds: float = 240) -> Any:
        """Run it and wait for its end; the outputs as JSON."""
        before = self.script("return nb.widgets[arguments[0]].model.executionCount", self.at)
        self.script(
            "nb.deselectAll(); nb.activeCellIndex = arguments[0];"
            "jupyterapp.commands.execute('notebook:run-cell')",
            self.at,
        )
        model = "const m = nb.widgets[arguments[0]].model;"
        done = f"{model} return m.executionState != 'running' && m.executionCount != arguments[1]"
        until(lambda: self.script(done, self.at, before), f"cell {self.at} to end", seconds)
        return self.script(f"{model} return m.outputs.toJSON()", self.at)

    def element(self, css: str) -> Any:
        node = self.script("return nb.widgets[arguments[0]].node", self.at)
        return node.find_element("css selector", css)

    def text(self, css: str) -> str:
        return self.element(css).text

    def record(self) -> None:
        """From now on `shown` knows everything that the panel shows, and nothing from before."""
        self.page.execute_script(
            RECORD, self.script("return nb.widgets[arguments[0]].node", self.at)
        )

    def shown(self, css: str) -> list[str]:
        """What .labkit-state, .labkit-line or .progress-bar (its width) showed, in order."""
        return self.page.execute_script("return labkitSeen[arguments[0]]", css)

    def button(self, name: str) -> Any:
        found = self.element(".labkit-panel").find_elements("css selector", "button")
        return next(button for button in found if name in button.text)


def test_notebook_02_from_run_to_the_chart_and_its_errors(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    def state() -> str:
        return panel.text(".labkit-state")

    for source in (
        "labkit.ready()",
        "machine = labkit.this_machine()",
        "prompts = labkit.load_prompts()",
    ):
        assert not [o for o in Cell(page, source).run() if o["output_type"] == "error"]
    panel = Cell(page, "panel = labkit.panel(")
    assert not [o for o in panel.run() if o["output_type"] == "error"]
    until(lambda: "idle" in state(), "the panel")
    assert panel.button("Run").is_enabled() and not panel.button("Cancel").is_enabled()

    # By keyboard alone: type a guess, leave out the points with the most rows, press Run.
    numbers = panel.element(".labkit-panel").find_elements("css selector", ".labkit-guess input")
    for box, guess in zip(numbers, ("1", "2", "4", "8"), strict=True):
        box.send_keys(Keys.CONTROL + "a")
        box.send_keys(guess, Keys.TAB)
    ticks = panel.element(".labkit-panel").find_elements("css selector", "input[type=checkbox]")
    for tick in ticks[2:]:
        tick.send_keys(Keys.SPACE)
    assert [tick.is_selected() for tick in ticks] == [True, True, False, False]
    until(lambda: "Your guess" in panel.text(".labkit-panel"), "the guess as a curve")
    shot(panel.element(".labkit-panel"), "guess")
    repeats = panel.element(".labkit-panel").find_element("css selector", "input[type=number]")
    repeats.send_keys(Keys.CONTROL + "a")
    repeats.send_keys("20", Keys.TAB)  # longer than any machine takes to press Cancel
    panel.record()
    panel.button("Run").send_keys(Keys.ENTER)

    # Progress moves; Cancel stops within seconds.
    def state_was(name: str) -> bool:
        return any(name in shown for shown in panel.shown(".labkit-state"))

    until(lambda: panel.button("Cancel").is_enabled(), "a sweep that can be cancelled")
    assert not panel.button("Run").is_enabled()
    until(lambda: state_was("running"), "the engine and the warm-up", 300)
    lines = panel.shown(".labkit-line")
    assert state_was("loading")
    assert len(set(lines)) >= 5 and any("starting the engine" in line for line in lines)
    panel.button("Cancel").click()
    until(lambda: "cancelled" in state(), "the end after Cancel", 60)
    assert panel.button("Run").is_enabled()

    # Again, to the end.
    repeats.send_keys(Keys.CONTROL + "a")
    repeats.send_keys("1", Keys.TAB)
    panel.record()
    panel.button("Run").click()
    until(lambda: state_was("loading"), "loading again")
    until(lambda: "done" in state(), "the end of the sweep", 300)
    assert len(set(panel.shown(".progress-bar"))) >= 3, "the bar did not move"
    chart = panel.element(".labkit-panel img")
    assert page.execute_script("return arguments[0].naturalWidth", chart) > 800
    words = panel.text(".labkit-panel")
    assert "Our choice:" in words or "One run can't tell" in words
    assert "You were off by a factor of" in words
    shot(panel.element(".labkit-panel"), "panel")

    after = Cell(page, "curve = panel.result()").run()
    assert not [o for o in after if o["output_type"] == "error"]
    assert "Perfect scaling would give" in str(after), "and the sentence on the curve"

    # A failing job: said in the panel, and the next cell fails.
    panel = Cell(page, "bad = labkit.panel(")
    panel.run()
    until(lambda: "idle" in state(), "the second panel")
    panel.button("Run").click()
    until(lambda: "failed" in state(), "the failure")
    assert "No row was answered at 1 × 4" in panel.text("[role=alert]")
    assert "no such column" in panel.text("[role=alert]")
    shot(panel.element(".labkit-panel"), "failed-job")
    (error,) = [o for o in Cell(page, "bad.result()").run() if o["output_type"] == "error"]
    assert error["ename"] == "JobFailed"


def test_a_kernel_restart_ends_its_engine(page: Any) -> None:
    up = [psutil.Process(pid) for pid in engines()]
    assert up, "the engine of the test before"
    page.execute_script("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    _, alive = psutil.wait_procs(up, timeout=60)
    assert alive == []
    status = "return jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    until(lambda: page.execute_script(status) == "idle", "the new kernel")
