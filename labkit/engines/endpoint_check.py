"""What can be said of a server before a job: its URL is well-formed, it answers, has the model."""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from labkit.engines.endpoint_client import error_message
from labkit.errors import LabError

#: Seconds for the look at the server.
CHECK_S = 5.0


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


def check_listens(address: str) -> None:
    """Raise LabError when nothing listens at `host:port`: Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return  # 'auto', or a form that Ray knows better
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CHECK_S).close()
    except (OSError, OverflowError) as problem:
        raise LabError(
            f"The Ray cluster at {address} can't be joined: {problem}. Is it up, and reachable "
            "from here?"
        ) from problem


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def served_models(url: str, api_key: str | None) -> list[str]:
    """The models a server lists (GET /models); empty when it has no such list.

    Raises LabError when there is no server, it is none of this kind, or it refuses the key.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    local = is_loopback(urlsplit(url).hostname or "")
    proxies = [urllib.request.ProxyHandler({})] if local else []
    opener = urllib.request.build_opener(_NoRedirect, *proxies)
    try:
        request = urllib.request.Request(f"{url}/models", headers=headers)
        with opener.open(request, timeout=CHECK_S) as response:
            return [str(entry["id"]) for entry in json.load(response)["data"]]
    except urllib.error.HTTPError as error:
        with error:
            words = error_message(error.read()) or error.reason
        _refuse(url, error.code, words.replace(api_key, "…") if api_key else words)
        return []
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise LabError(
            f"No server answers at {url} ({why}). Is it running, and is the URL right? "
            "labkit.serve(…) starts one here."
        ) from None
    except (ValueError, TypeError, LookupError):
        raise LabError(
            f"{url} answers, but not as an OpenAI-compatible server. Its URL usually ends in /v1."
        ) from None


def _refuse(url: str, status: int, words: str) -> None:
    """Raise LabError for an answer to GET /models that no job could live with."""
    if status in (401, 403):
        raise LabError(
            f"{url} refuses the key (HTTP {status}: {words}). Give the right one: api_key='…'."
        )
    if status == 404 and urlsplit(url).path in ("", "/"):
        raise LabError(f"{url} has no list of models (HTTP 404): try {url}/v1.")
    if status >= 500 and status != 501:
        raise LabError(f"{url} is not ready (HTTP {status}: {words}). Try again in a minute.")
