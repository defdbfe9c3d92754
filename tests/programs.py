"""Programs of the tests: without a network; which processes are below this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

OFFLINE = ["unshare", "-rn", sys.executable, str(Path(__file__).with_name("offline.py"))]
ROOT = Path(__file__).resolve().parent.parent


def without_network(command: list[str], env: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """(command, environment) in a namespace of its own, with loopback alone; where Linux forbids
    that to a user, with proxies that refuse."""
    if subprocess.run([*OFFLINE, "true"], capture_output=True).returncode == 0:
        return [*OFFLINE, *command], env
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return command, env | dead


def below() -> list[psutil.Process]:
    """The processes below this one."""
    return psutil.Process().children(recursive=True)


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a command that has no network; its output as text."""
    command, env = without_network(command, options.pop("env"))
    return subprocess.run(command, env=env, capture_output=True, text=True, **options)
