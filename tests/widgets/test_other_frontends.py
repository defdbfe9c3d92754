"""Widgets and progress by the kernel's messages alone, as VS Code and Colab see them: no
JupyterLab, no browser, a working directory that is not the lab's.

What draws them is not here: https://ipywidgets.readthedocs.io, "Building a custom frontend".
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

VIEW = "application/vnd.jupyter.widget-view+json"
#: What every frontend of ipywidgets 8 brings itself; others it would fetch from a network.
OWN = {"@jupyter-widgets/base", "@jupyter-widgets/controls", "@jupyter-widgets/output"}
PANEL = """
import labkit
run = labkit.replay
panel = run("h100-smollm2-135m-in-flight", speed=1000, repeats=1, guess={1: 1, 64: 20})
panel"""
PROGRESS = """
import time
from labkit.progress import Progress
with Progress(8, startup="starting the engine") as shown:
    for _ in range(4):
        time.sleep(0.3)
        shown.advance(2, 60)"""

pytestmark = pytest.mark.slow


class Frontend:
    """What a frontend knows: the messages of the kernel, in order."""

    def __init__(self, client: BlockingKernelClient):
        self.client = client
        self.heard: list[dict[str, Any]] = []

    def run(self, code: str) -> list[dict[str, Any]]:
        """The messages of one cell; it must not fail."""
        begin = len(self.heard)
        self.client.execute_interactive(code, output_hook=self.heard.append, timeout=120)
        told = self.heard[begin:]
        assert [m["content"] for m in told if m["msg_type"] == "error"] == []
        return told

    def tell(self, comm: str, data: dict[str, Any], kind: str = "comm_msg", **more: Any) -> None:
        """Send what a widget's view sends: a click, a typed value."""
        content = {"comm_id": comm, "data": data, **more}
        self.client.shell_channel.send(self.client.session.msg(kind, content))

    def until(self, done: Callable[[], Any], what: str) -> Any:
        """Hear on until `done`; its value."""
        deadline = time.monotonic() + 60
        while not (found := done()):
            assert time.monotonic() < deadline, f"not within a minute: {what}"
            if self.client.iopub_channel.msg_ready():
                self.heard.append(self.client.get_iopub_msg(timeout=1))
            else:
                time.sleep(0.05)
        return found

    def states(self) -> dict[str, dict[str, Any]]:
        """Each widget's model by its id, as opened and updated so far."""
        found: dict[str, dict[str, Any]] = {}
        for message in self.heard:
            content = message["content"]
            if message["msg_type"] == "comm_open" and content["target_name"] == "jupyter.widget":
                found[content["comm_id"]] = dict(content["data"]["state"])
            elif message["msg_type"] == "comm_msg" and content["data"].get("method") == "update":
                found[content["comm_id"]] |= content["data"]["state"]
        return found

    def widget(self, **wanted: Any) -> str:
        """The id of the one model with these values."""
        (found,) = [
            comm
            for comm, state in self.states().items()
            if all(state.get(name) == value for name, value in wanted.items())
        ]
        return found


@pytest.fixture(scope="module")
def frontend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """A kernel as editors start it, in the folder of a notebook that lies anywhere."""
    cwd = tmp_path_factory.mktemp("a folder é")
    lab = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(lab), os.environ["PYTHONPATH"]])}
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(cwd), env=env)
    try:
        yield Frontend(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def models_below(states: dict[str, dict[str, Any]], comm: str) -> set[str]:
    """A model and all that it refers to."""
    found, new = set(), {comm}
    while new:
        found |= new
        text = repr([states[one] for one in new])
        new = {one for one in states if f"IPY_MODEL_{one}" in text} - found
    return found


def test_a_panel_is_a_view_with_its_state_a_picture_and_words(frontend: Frontend) -> None:
    told = frontend.run(PANEL)
    (shown,) = [m["content"] for m in told if m["msg_type"] == "display_data"]
    assert {VIEW, "image/png", "text/html", "text/plain"} <= shown["data"].keys()
    states = frontend.states()
    models = models_below(states, shown["data"][VIEW]["model_id"])
    assert len(models) > 20
    kinds = {(states[m]["_model_module"], states[m]["_view_module"] or "") for m in models}
    assert {module for pair in kinds for module in pair} <= OWN | {""}
    versions = {states[m]["_model_module_version"] for m in models}
    assert versions == {"2.0.0"}, "the protocol of ipywidgets 8"


def test_a_frontend_that_comes_later_can_ask_for_every_state(frontend: Frontend) -> None:
    """After a reload of the page or the editor's window."""
    known = frontend.states()
    frontend.client.comm_info("jupyter.widget")
    comms = frontend.client.get_shell_msg(timeout=60)["content"]["comms"]
    assert known.keys() <= comms.keys()
    control = uuid.uuid4().hex
    version = {"metadata": {"version": "1.0.0"}}
    message = frontend.client.session.msg(
        "comm_open", {"comm_id": control, "target_name": "jupyter.widget.control", "data": {}}
    )
    frontend.client.shell_channel.send(message | version)
    frontend.tell(control, {"method": "request_states"})

    def answer() -> Any:
        told = [m for m in frontend.heard if m["content"].get("comm_id") == control]
        return [m["content"]["data"] for m in told if m["msg_type"] == "comm_msg"]

    (data,) = frontend.until(answer, "all states")
    assert known.keys() <= data["states"].keys()


def test_run_is_pressed_and_seen_to_the_end(frontend: Frontend) -> None:

    def set_value(widget: str, value: Any) -> None:
        frontend.tell(widget, {"method": "update", "state": {"value": value}, "buffer_paths": []})

    set_value(frontend.widget(_model_name="TextModel", value="20"), "30")
    boxes = [m for m, state in frontend.states().items() if state["_model_name"] == "CheckboxModel"]
    for box in boxes[2:]:
        set_value(box, False)
    run = frontend.widget(_model_name="ButtonModel", description="Run")
    bar = frontend.widget(_model_name="FloatProgressModel")
    frontend.tell(run, {"method": "custom", "content": {"event": "click"}})

    def values() -> list[str]:
        return [str(state.get("value")) for state in frontend.states().values()]

    frontend.until(lambda: frontend.states()[bar]["value"] == 1.0, "the bar at its end")
    frontend.until(lambda: any("✔ done" in value for value in values()), "the state in words")
    assert not frontend.states()[run]["disabled"], "Run can be pressed again"
    assert any("<img " in value for value in values()), "the chart"
    told = frontend.run("panel.guess[64] == 30 and len(panel.result().table) == 2")
    (result,) = [m["content"]["data"] for m in told if m["msg_type"] == "execute_result"]
    assert result["text/plain"] == "True"
    updated = [m["content"]["data"] for m in told if m["msg_type"] == "update_display_data"]
    assert updated and "image/png" in updated[-1], "the picture for readers without a kernel"


def test_progress_is_one_output_that_is_updated(frontend: Frontend) -> None:
    told = [m for m in frontend.run(PROGRESS) if "data" in m["content"]]
    kinds = [m["msg_type"] for m in told]
    assert kinds[0] == "display_data" and set(kinds[1:]) == {"update_display_data"}
    assert len({m["content"]["transient"]["display_id"] for m in told}) == 1
    last = told[-1]["content"]["data"]
    assert last["text/plain"].startswith("done: 8 rows in ")
    assert "<progress" in last["text/html"]


def test_the_lab_finds_its_data_from_any_folder(frontend: Frontend) -> None:
    told = frontend.run("import os\n(len(labkit.load_faq()), os.listdir())")
    (result,) = [m["content"]["data"] for m in told if m["msg_type"] == "execute_result"]
    rows, files = eval(result["text/plain"])
    assert rows > 1000 and files == [], "and leaves none in it"
