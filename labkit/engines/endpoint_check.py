"""What can be said of a server before a job: its URL is well-formed, it answers, has the model."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from labkit.errors import LabError
from labkit.settings.endpoint_spec import EndpointSpec, is_loopback

#: Seconds for the look at the server.
CHECK_S = 5.0


def check_server(spec: EndpointSpec) -> None:
    """Ask a server for its models (a few seconds); raise LabError with what to mend."""
    served = served_models(spec.url, spec.api_key)
    name = spec.model.name
    # Gemini lists 'models/x'; a router's 'x:provider' is listed as 'x'.
    if served and not {name, f"models/{name}", name.split(":")[0]} & set(served):
        few = ", ".join(served[:8]) + (" …" if len(served) > 8 else "")
        raise LabError(f"{spec.url} has no model {name!r}. It serves: {few}.")


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


def error_message(raw: bytes) -> str:
    """The reason in the body of an error, in the forms that servers use; '' when there is none."""
    try:
        found = json.loads(raw.decode("utf-8", "replace"))
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail")
        if isinstance(found, dict):
            found = found.get("message")
    except (ValueError, RecursionError):
        return ""
    return " ".join(str(found).split()) if found else ""
