"""The container's files say one thing: the Dockerfile, its steps, and the run in a clean root."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from jupyterlab_server.settings_utils import _get_overrides

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = ROOT / "scripts" / "container.sh"


def targets() -> dict[str, list[str]]:
    """{target: its instructions} of the Dockerfile."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.splitlines():
        if stage := re.match(r"FROM \S+ AS (\w+)", line):
            found[stage[1]] = lines = []
        elif line and line[0] != "#":
            lines.append(line)
    return found


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_dockerfile_has_no_step_of_its_own(target: str) -> None:
    lines = targets()[target]
    assert [line for line in lines if line.startswith("RUN")] == [
        f"RUN sh scripts/container.sh system {target}",
        f"RUN sh scripts/container.sh lab {target}",
    ]
    assert lines.index("USER lab") < lines.index(f"RUN sh scripts/container.sh lab {target}")
    assert lines[-1] == 'CMD ["sh", "scripts/container.sh", "start"]'
    assert list(targets()) == ["base", "gpu", "cpu"], "the last target is the default"


def test_the_clean_root_runs_the_steps_of_the_dockerfile() -> None:
    script = (ROOT / "scripts" / "clean-root.sh").read_text()
    for step in re.findall(r"RUN sh scripts/(container\.sh \w+ cpu)", DOCKERFILE):
        assert f"sh /lab/scripts/{step}" in script
    assert "sh /lab/scripts/container.sh start" in script


def test_the_devcontainer_is_a_target_of_the_dockerfile() -> None:
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    build = settings["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert build["target"] in targets() and settings["remoteUser"] == "lab"
    assert settings["workspaceFolder"] == "/lab" and "WORKDIR /lab" in DOCKERFILE
    python = settings["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert python == re.findall(r"VENV=(\S+)", DOCKERFILE)[0] + "/bin/python"


@pytest.mark.parametrize("script", ["container.sh", "clean-root.sh"])
def test_the_scripts_are_plain_shell(script: str) -> None:
    done = subprocess.run(["sh", "-n", ROOT / "scripts" / script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_step_is_explained() -> None:
    for arguments in ([], ["nonsense"]):
        done = subprocess.run(["sh", STEPS, *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and "system|lab DEVICE" in done.stderr


def test_start_opens_jupyterlab_without_pop_ups() -> None:
    done = subprocess.run(
        ["make", "-n", "lab", "ARGS=--ip=0.0.0.0"], cwd=ROOT, capture_output=True, text=True
    )
    for part in ("--ip=0.0.0.0", "news_url=None", "NeverCheckForUpdate", "JUPYTER_CONFIG_PATH="):
        assert part in done.stdout


def test_jupyterlab_reads_that_nobody_wants_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks each new user, whatever `news_url` is, unless a setting says no."""
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(ROOT / "scripts" / "jupyter"))
    settings, error = _get_overrides(str(ROOT / "none"))
    told = settings["@jupyterlab/apputils-extension:notification"]
    assert not error and told == {"fetchNews": "false", "checkForUpdates": False}


def test_what_git_ignores_stays_out_of_an_image() -> None:
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv*", "build"} <= set(left_out)
