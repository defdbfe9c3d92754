"""A learner on a JupyterHub: logs in, starts a server, opens a lesson and runs it, with the calls
that the login page and JupyterLab make in a browser.

Knows HTTP and the kernel's messages (https://jupyter-client.readthedocs.io, "Messaging"); knows
nothing of the lab.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from typing import Any

import requests
import websocket

#: Seconds for a server to start, and for one cell.
START_S, CELL_S = 300.0, 900.0


class Learner:
    """One learner of the hub at `url`, with their cookies."""

    def __init__(self, url: str, name: str, password: str):
        self.url, self.name, self.password = url, name, password
        self.http = requests.Session()
        self.kernel = ""

    def log_in(self) -> None:
        """By the login page; then by a token of the learner's own."""
        self.http.get(f"{self.url}/hub/login").raise_for_status()
        secret = {"_xsrf": self.http.cookies.get("_xsrf", path="/hub/")}
        form = {"username": self.name, "password": self.password, **secret}
        self.http.post(f"{self.url}/hub/login?next=/hub/home", data=form).raise_for_status()
        secret = {"_xsrf": self.http.cookies.get("_xsrf", path="/hub/")}
        token = self.http.post(f"{self._user}/tokens", params=secret, json={"note": "the lesson"})
        token.raise_for_status()
        self.http.cookies.clear()
        self.http.headers["Authorization"] = f"token {token.json()['token']}"

    def start_server(self) -> None:
        """As *Start My Server* does; returns when it is ready."""
        self.http.post(f"{self._user}/server").raise_for_status()
        deadline = time.monotonic() + START_S
        while not (self._servers().get("") or {}).get("ready"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}'s server did not start in {START_S:.0f} s")
            time.sleep(0.5)

    def stop_server(self) -> None:
        """As *Stop My Server* does; returns when it has gone."""
        self.http.delete(f"{self._user}/server").raise_for_status()
        deadline = time.monotonic() + START_S
        while self._servers() and time.monotonic() < deadline:
            time.sleep(0.5)

    def run_notebook(self, path: str) -> list[dict[str, Any]]:
        """Open a notebook and run its code cells in order, as *Run All* does: the reply to each,
        of which the last is an error where the lesson stopped."""
        server = f"{self.url}/user/{self.name}"
        opened = self.http.get(f"{server}/api/contents/{path}")
        opened.raise_for_status()
        wanted: dict[str, Any] = {"path": path, "name": path, "type": "notebook"}
        wanted["kernel"] = {"name": "python3"}
        session = self.http.post(f"{server}/api/sessions", json=wanted)
        session.raise_for_status()
        kernel = session.json()["kernel"]["id"]
        socket = websocket.create_connection(
            f"ws{server[4:]}/api/kernels/{kernel}/channels",
            header=[f"Authorization: {self.http.headers['Authorization']!s}"],
            timeout=CELL_S,
        )
        replies = []
        with contextlib.closing(socket):
            for cell in opened.json()["content"]["cells"]:
                if cell["cell_type"] == "code":
                    replies.append(execute(socket, "".join(cell["source"])))
                    if replies[-1]["status"] != "ok":
                        break
        self.http.delete(f"{server}/api/sessions/{session.json()['id']}")
        return replies

    @property
    def _user(self) -> str:
        return f"{self.url}/hub/api/users/{self.name}"

    def _servers(self) -> dict[str, Any]:
        told = self.http.get(self._user)
        told.raise_for_status()
        servers: dict[str, Any] = told.json()["servers"]
        return servers


def execute(socket: websocket.WebSocket, code: str) -> dict[str, Any]:
    """Run one cell; returns the kernel's reply when the kernel is idle again."""
    asked = uuid.uuid4().hex
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    header = {"msg_id": asked, "msg_type": "execute_request", "session": asked, "username": ""}
    message = {"header": header | {"version": "5.3", "date": ""}, "channel": "shell"}
    message |= {"parent_header": {}, "metadata": {}, "content": content | {"stop_on_error": True}}
    socket.send(json.dumps(message))
    reply: dict[str, Any] = {}
    idle = False
    while not (reply and idle):
        told = socket.recv()
        if not isinstance(told, str):  # a widget's picture, as bytes
            continue
        heard = json.loads(told)
        if heard["parent_header"].get("msg_id") != asked:
            continue
        if heard["msg_type"] == "execute_reply":
            reply = heard["content"]
        idle = idle or heard["content"].get("execution_state") == "idle"
    return reply
