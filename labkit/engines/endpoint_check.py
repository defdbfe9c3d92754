"""What can be said of a server before a job: its URL is well-formed, it answers, has the model."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from labkit.engines.endpoint_reply import error_message
from labkit.errors import LabError
from labkit.settings.endpoint_spec import EndpointSpec, is_loopback

#: Seconds for the look at the server.
CHECK_S = 5.0


def check_server(spec: EndpointSpec) -> None:
    """Ask a server for its models (a few seconds); raise LabError with what to mend."""
    if not spec.check:
        return
    served = served_models(spec.url, spec.api_key, spec.model.name)
    name = spec.model.name.casefold().removeprefix("models/")
    # Gemini lists 'models/x', Ollama 'x:latest'; a router's 'x:provider' is listed as 'x'.
    known = {name, f"models/{name}", f"{name}:latest", name.split(":")[0]}
    if served and not known & {model.casefold() for model in served}:
        few = ", ".join(served[:8]) + (" …" if len(served) > 8 else "")
        raise LabError(
            f"{spec.url} has no model {spec.model.name!r}. It serves: {few}. If it answers to a "
            "name that it does not list: labkit.endpoint(…, check=False)."
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def served_models(url: str, api_key: str | None, model: str = "-") -> list[str]:
    """The models a server lists (GET /models); empty when it has no such list, or keeps it from
    this key, which may ask for `model` all the same.

    Raises LabError when there is no server, it is none of this kind, or it refuses the key.
    """
    try:
        with _open(url, "models", api_key) as response:
            listed = json.load(response)
            listed = listed["data"] if isinstance(listed, dict) else listed
            return [str(entry["id"]) for entry in listed or []]
    except urllib.error.HTTPError as error:
        listing = _Refusal.of(error, api_key)
        if listing.status == 404 and urlsplit(url).path in ("", "/"):
            raise LabError(f"{url} has no list of models (HTTP 404): try {url}/v1.") from None
        if listing.of_all and (refusal := _knock(url, api_key, model, listing)):
            raise refusal.error(url) from None
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


def _open(url: str, path: str, api_key: str | None, data: bytes | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {api_key}"} if api_key else {}
    local = is_loopback(urlsplit(url).hostname or "")
    proxies = [urllib.request.ProxyHandler({})] if local else []
    request = urllib.request.Request(f"{url}/{path}", data, headers)
    return urllib.request.build_opener(_NoRedirect, *proxies).open(request, timeout=CHECK_S)


class _Refusal(NamedTuple):
    """An answer other than 200: its status, its reason, and where it sends its caller."""

    status: int
    words: str
    goal: str

    @classmethod
    def of(cls, error: urllib.error.HTTPError, api_key: str | None) -> _Refusal:
        with error:
            words = error_message(error.read()) or error.reason
            goal = str(error.headers.get("Location", "")).split("?")[0]
        words = words.replace(api_key, "…") if api_key else words
        return cls(error.code, words, goal.removesuffix("/chat/completions"))

    @property
    def of_all(self) -> bool:
        """Whether no job could live with it: a redirect, a refused key, a failure."""
        return self.is_clear or (self.status >= 500 and self.status != 501)

    @property
    def is_clear(self) -> bool:
        return 300 <= self.status < 400 or self.status in (401, 403)

    def error(self, url: str) -> LabError:
        """What to tell the user."""
        why = f"(HTTP {self.status}: {self.words})"
        if self.status in (401, 403):
            return LabError(f"{url} refuses the key {why}. Give the right one: api_key='…'.")
        if self.status < 400:
            return LabError(f"{url} sends its callers to {self.goal} {why}: give that URL.")
        return LabError(f"{url} is not ready {why}. Try again in a minute.")


def _knock(url: str, api_key: str | None, model: str, listing: _Refusal) -> _Refusal | None:
    """Whether a server that keeps its list of models refuses a chat as well; None: it does not.

    Asks without a message, which costs nothing. A key that may chat need not be allowed to list.
    """
    chat_request = json.dumps({"model": model, "messages": []}).encode()
    try:
        with _open(url, "chat/completions", api_key, chat_request):
            return None
    except urllib.error.HTTPError as error:
        chat = _Refusal.of(error, api_key)
        if chat.is_clear:
            return chat._replace(words=listing.words) if chat.status == listing.status else chat
        if not chat.of_all:
            return None
    except (OSError, http.client.HTTPException):
        pass
    # A failure at a request without a message says nothing: then the list does.
    return listing if listing.status == 401 or listing.status >= 500 else None
