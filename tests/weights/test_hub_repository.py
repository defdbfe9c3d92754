"""weights.hub_repository and the package after it: the hub's own client against a local server that
speaks the hub's protocol for one small repository, well and badly."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import ModelError
from labkit.weights import catalogue, hub_repository, packaged_gguf
from labkit.weights.hub_repository import PATIENCE_S, REPOSITORIES, HubError, Repository, ensure
from tests.weights.test_packaged_gguf import package, pretend_conversion  # noqa: F401 - a fixture

NAME, COMMIT = "smollm2-135m", "c" * 40
WEIGHTS = "model.safetensors"


class Hub(BaseHTTPRequestHandler):
    """The hub's answers for one repository: HEAD and GET of its files, with their ETags."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        *_, revision, name = self.path.split("/")
        self.server.asked.append((self.command, name, self.headers.get("Authorization")))
        if fault := self.server.fault:
            fault(self, name)
        elif name in self.server.files and revision == COMMIT:
            self.file(self.server.files[name])
        else:
            self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def refuse(self, code: int, error: str = "") -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def file(self, content: bytes, send: int | None = None) -> None:
        """All of a file, or only its first bytes, and then the connection breaks off."""
        begin = 0
        if asked := self.headers.get("Range"):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[begin:send])
            if send is not None:
                self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub that has the tiny model, by HF_ENDPOINT; `fault` answers instead of it."""
    hub: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    hub.daemon_threads, hub.block_on_close = True, False
    hub.handle_error = lambda *_: None  # a client that was ended in the middle of an answer
    hub.files = {f.name: f.read_bytes() for f in Path(tiny.source).iterdir()}
    hub.asked, hub.fault = [], None
    threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{hub.server_port}"
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture
def repository(server: Any) -> Repository:
    names = sorted(server.files, key=lambda name: name == WEIGHTS)
    pinned = {name: hashlib.sha256(server.files[name]).hexdigest() for name in names}
    return Repository("some/tiny", COMMIT, pinned, "2 MB", 0.001)


@pytest.fixture
def lab(
    repository: Repository,
    package: packaged_gguf.Package,  # noqa: F811
    server: Any,
    tiny: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The catalogue's default is the tiny model, in the hub and in a package; the cache is empty.

    Returns where it is fetched to. pip and the real conversion are tested elsewhere: here a file
    in a folder is the package.
    """

    def copy(package: packaged_gguf.Package, blob: Path, scratch: Path) -> None:
        if not (tmp_path / "index").is_dir():
            raise ModelError("pip could not download it. Check the network")
        blob.write_bytes(b"GGUF")

    def convert(blob: Path, out: Path, context: int) -> None:
        pretend_conversion(blob, out, context)
        shutil.copy(Path(tiny.source) / WEIGHTS, out)

    packaged = dataclasses.replace(package, quantised="4 bits")
    entry = dataclasses.replace(
        catalogue.REGISTRY[NAME], repository=repository, package=packaged, source="package half"
    )
    monkeypatch.setattr(catalogue, "REGISTRY", {NAME: entry})
    monkeypatch.setattr(packaged_gguf, "_fetch", copy)
    monkeypatch.setattr(packaged_gguf, "convert", convert)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models" / NAME


def left_beside(folder: Path) -> set[str]:
    """What a fetch leaves in the cache: the model and its lock, nothing half-made."""
    return {path.name for path in folder.parent.iterdir()} - {f"{NAME}.lock"}


# --- what is pinned ------------------------------------------------------------------------------


def test_every_repository_is_pinned_by_commit_and_hashes() -> None:
    for name, pinned in REPOSITORIES.items():
        entry = catalogue.REGISTRY[name]
        assert entry.repository is pinned and entry.package is not None
        assert len(bytes.fromhex(pinned.revision)) == 20 and pinned.id.count("/") == 1
        assert {len(bytes.fromhex(sha256)) for sha256 in pinned.files.values()} == {32}
        assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= set(pinned.files)
        assert list(pinned.files)[-1] == WEIGHTS, "its hash is told as that of the model"


# --- from the hub --------------------------------------------------------------------------------


def test_the_hub_s_own_copy_comes_first_and_lasts(
    lab: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    assert catalogue.fetch(NAME, lines.append) == lab and not lines
    assert {name: (lab / name).read_bytes() for name in server.files} == server.files
    assert left_beside(lab) == {NAME} and {f.name for f in lab.iterdir()} == {
        *server.files,
        hub_repository.ORIGIN,
    }
    model = catalogue.get(NAME)
    assert "bf16 from the Hugging Face hub, some/tiny at cccccccccccc (SHA-256 " in model.note
    assert "bf16 from the Hugging Face hub" in model.table()["value"]["weights"]
    asked = len(server.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert catalogue.get(NAME) == model and len(server.asked) == asked, "no network is asked again"


def test_a_package_that_was_taken_stays(lab: Path, server: Any) -> None:
    """So that answers before and after a change of the network are of one model."""
    server.fault = lambda hub, name: hub.refuse(503)
    before = catalogue.get(NAME)
    server.fault = None
    assert catalogue.get(NAME) == before and "4 bits" in before.note


def test_it_asks_with_the_token(lab: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    catalogue.fetch(NAME)
    files = {token for _, name, token in server.asked if name in server.files}
    assert files == {"Bearer hf_secret"}
    assert "hf_secret" not in "".join(f.read_text(errors="replace") for f in lab.iterdir())


def test_what_lies_in_the_hub_s_cache_is_taken_without_a_network(
    lab: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another program fetched it, or an administrator for all."""
    kept = tmp_path / "hf" / "hub" / "models--some--tiny" / "snapshots" / COMMIT
    kept.mkdir(parents=True)
    for name, content in server.files.items():
        (kept / name).write_bytes(content)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    catalogue.fetch(NAME)
    assert hub_repository.origin(lab) and not server.asked


def test_a_connection_that_breaks_once_is_taken_up_again(lab: Path, server: Any) -> None:
    broke: list[str] = []

    def once(hub: Hub, name: str) -> None:
        first = name == WEIGHTS and hub.command == "GET" and not broke
        if first:
            broke.append(name)
        hub.file(server.files[name], send=1000 if first else None)

    server.fault = once
    assert catalogue.fetch(NAME) == lab and broke == [WEIGHTS] and hub_repository.origin(lab)


# --- not from the hub ----------------------------------------------------------------------------


def breaks_off(hub: Hub, name: str) -> None:
    hub.file(hub.server.files[name], send=1000 if name == WEIGHTS else None)


def other_weights(hub: Hub, name: str) -> None:
    content = hub.server.files[name]
    hub.file(content[:-1] + b"?" if name == WEIGHTS else content)


def hangs(hub: Hub, name: str) -> None:
    hub.server.hanging.wait(60)


def hangs_at_the_weights(hub: Hub, name: str) -> None:
    if name == WEIGHTS and hub.command == "GET":
        hub.server.hanging.wait(60)
    hub.file(hub.server.files[name])


def a_page_to_log_in(hub: Hub, name: str) -> None:
    """As a Wi-Fi that answers for everybody: 200, and none of the hub's headers."""
    hub.send_response(200)
    hub.send_header("Content-Length", "2")
    hub.end_headers()
    if hub.command == "GET":
        hub.wfile.write(b"hi")


FAULTS: dict[str, tuple[Callable[..., None], str]] = {
    "401": (lambda hub, _: hub.refuse(401), "it answered 401 .is HF_TOKEN right"),
    "403 gated": (lambda hub, _: hub.refuse(403, "GatedRepo"), "it answered 403"),
    "404": (lambda hub, _: hub.refuse(404, "RepoNotFound"), "it answered 404"),
    "429": (lambda hub, _: hub.refuse(429), "it answered 429"),
    "503": (lambda hub, _: hub.refuse(503), "it answered 503"),
    "no hub": (a_page_to_log_in, "the connection failed"),
    "hangs": (hangs, "nothing came from it for 1 s"),
    "hangs later": (hangs_at_the_weights, "nothing came from it for 2 s"),
    "breaks off": (breaks_off, "nothing came from it for 2 s"),
    "wrong hash": (other_weights, "its model.safetensors is not the expected file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_else_the_package_is_taken_with_the_reason_in_one_line(
    kind: str, lab: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with the hub: it costs seconds, and nothing half-written is a model."""
    server.fault, reason = FAULTS[kind]
    server.hanging = threading.Event()
    for does, seconds in (("asking", 1.0), ("fetching", 2.0)):  # a busy machine is no silent hub
        monkeypatch.setitem(PATIENCE_S, does, seconds if f" {seconds:.0f} s" in reason else 60.0)
    lines: list[str] = []
    catalogue.fetch(NAME, lines.append)
    server.hanging.set()
    (line,) = lines
    assert line.startswith(f"model {NAME}: package half is taken, not the hub's some/tiny: ")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(line)
    assert left_beside(lab) == {NAME} and hub_repository.origin(lab) is None
    note = catalogue.get(NAME).note
    assert "a copy in 4 bits from the Python 2 packages" in note and "hub" not in note


def no_listener() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"HF_ENDPOINT": "refused"}, "Connection refused|ConnectError"),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, "failed|resol|Name"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HTTP_PROXY": "refused", "NO_PROXY": ""}, "Connection refused|ConnectError|Proxy"),
    ],
)
def test_a_hub_that_is_not_there_costs_seconds(
    variables: dict[str, str], reason: str, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, no_listener() if value == "refused" else value)
    lines: list[str] = []
    began = time.monotonic()
    catalogue.fetch(NAME, lines.append)
    assert time.monotonic() - began < 20 and len(lines) == 1
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(lines[0])


def test_a_password_in_the_endpoint_is_in_no_message(
    lab: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = lambda hub, name: hub.refuse(503)
    monkeypatch.setenv("HF_ENDPOINT", server.url.replace("//", "//user:hush@"))
    lines: list[str] = []
    catalogue.fetch(NAME, lines.append)
    assert "it answered 503" in lines[0] and "hush" not in lines[0]


def test_both_reasons_are_told_where_neither_can_be_had(
    lab: Path, server: Any, tmp_path: Path
) -> None:
    server.fault = lambda hub, name: hub.refuse(503)
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(ModelError, match="some/tiny: it answered 503.*pip could not.*HF_ENDPOINT"):
        catalogue.get(NAME)
    assert left_beside(lab) == set()
    server.fault = None
    assert catalogue.get(NAME).is_local, "run again, it goes on"


def test_a_program_says_it_without_a_traceback(
    lab: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from labkit import cli

    server.fault = lambda hub, name: hub.refuse(503)
    shutil.rmtree(tmp_path / "index")
    assert cli.main(["fetch", NAME]) == 1
    told = capsys.readouterr()
    assert "it answered 503" in told.err and "Traceback" not in told.err


# --- the disk ------------------------------------------------------------------------------------


def test_a_disk_too_full_asks_nobody(repository: Repository, server: Any, tmp_path: Path) -> None:
    huge = dataclasses.replace(repository, needs_gib=1e9)
    with pytest.raises(ModelError, match="too full.*LABKIT_CACHE") as caught:
        ensure(huge, tmp_path / "models" / "m")
    assert not server.asked and not isinstance(caught.value, HubError)


def test_a_disk_that_fills_up_meanwhile(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files stands for it: the client can't write the weights."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error, not the end
    monkeypatch.setitem(PATIENCE_S, "fetching", 5.0)
    lines: list[str] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises((ModelError, OSError)):
            catalogue.fetch(NAME, lines.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert "File too large" in lines[0] and left_beside(lab) == set()


def test_a_cache_that_can_not_be_written_asks_nobody(
    server: Any, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="can't be written.*LABKIT_CACHE"):
        ensure(repository, tmp_path / "file" / "m")
    assert not server.asked


# --- a stop half-way -----------------------------------------------------------------------------

CHILD = """
import json, sys
from pathlib import Path
from labkit.weights.hub_repository import Repository, ensure
ensure(Repository(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_after_a_stop_it_is_fetched_anew(
    end: signal.Signals, repository: Repository, server: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / NAME
    server.hanging, server.fault = threading.Event(), hangs_at_the_weights
    asked = json.dumps(dataclasses.asdict(repository))
    command = [sys.executable, "-c", CHILD, asked, str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while ("GET", WEIGHTS) not in [a[:2] for a in server.asked] and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(end)
    process.wait()
    assert not folder.exists() and ("GET", WEIGHTS) in [a[:2] for a in server.asked]
    server.hanging.set()
    server.fault = None
    assert (ensure(repository, folder) / WEIGHTS).read_bytes() == server.files[WEIGHTS]
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "hf")
    assert left_beside(folder) == {NAME}
