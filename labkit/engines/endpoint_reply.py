"""What a server's reply says: the answer in the forms that servers give it, or what they refuse.

Knows no HTTP library. The forms are those of OpenAI, vLLM, Ollama, llama.cpp, LM Studio,
OpenRouter, Gemini, Mistral and Anthropic, as their references show them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

#: What a refusal is about where the account has nothing left: no row can be answered any more.
QUOTA = "the quota"
#: As OpenAI, DeepSeek, OpenRouter, Anthropic and (a day's requests) Gemini say so.
_USED_UP = re.compile(
    r"insufficient[ _](quota|balance|funds|credit)|billing_(hard_limit|error)|credit balance"
    r"|PerDay|models-per-day"
)
#: Words of a refusal that is about one row's text.
_ROWS_OWN = re.compile(
    r"context.?(length|window|size)|too.long|flagged|moderation|content.?(filter|policy|manage)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """tokens: (input, output), and cached: of the input; None where not told.

    problem: why there is no answer; '' for one. refusal: what of the job as a whole is refused:
    QUOTA, the key, the model, a parameter; else ''.
    """

    text: str = ""
    finish_reason: str | None = None
    tokens: tuple[int | None, int | None] = (None, None)
    problem: str = ""
    refusal: str = ""
    cached: int | None = None


def read_answer(raw: bytes) -> Reply:
    """The reply in the body of a chat completion."""
    try:
        answer = json.loads(raw.decode("utf-8", "replace"))
        choice = answer["choices"][0]
        message = dict(choice["message"])
    except (ValueError, TypeError, LookupError, RecursionError):
        words = error_message(raw) or raw.decode("utf-8", "replace")
        return Reply(problem=f"the server's answer is no chat completion: {words}")
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    why = choice.get("finish_reason")
    why = why if isinstance(why, str) and why else None
    text = _text(message.get("content"))
    lack = _lack(choice, message, text, why)
    return Reply(text, why, (tokens[0], tokens[1]), lack, cached=cached)


def _count(number: Any) -> int | None:
    """A number of tokens, if it can be one."""
    return number if type(number) is int and 0 <= number < 2**63 else None


def _text(content: Any) -> str:
    """The text of a message's content: itself, or its parts but those of thinking."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [
        part.get("text") if isinstance(part, dict) else part
        for part in parts
        if not isinstance(part, dict) or part.get("type", "text") in ("text", "output_text")
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _lack(choice: dict[str, Any], message: dict[str, Any], text: str, why: str | None) -> str:
    """Why a choice is no answer; '' when it is one."""
    content = message.get("content")
    parts = [message, *(content if isinstance(content, list) else [])]
    refusals = [part.get("refusal") for part in parts if isinstance(part, dict)]
    if said := [refusal for refusal in refusals if isinstance(refusal, str) and refusal]:
        return f"the model refused: “{' '.join(said[0].split())}”"
    if choice.get("error") or why == "error":
        words = _words(choice.get("error")) or "no reason given"
        return f"the server broke its answer off: {words}"
    thought = message.get("reasoning_content") or message.get("reasoning")
    if not text.strip() and (thought or (isinstance(content, list) and content)):
        return (
            f"the server's answer holds reasoning alone, no text (finish reason: {why}): "
            "give it more max_tokens, or a lower reasoning effort"
        )
    if not text and (content != "" or why not in (None, "stop")):
        return f"the server's answer holds no text (finish reason: {why})"
    return ""


def error_message(raw: bytes) -> str:
    """The reason in the body of an error, in the forms that servers use; '' when there is none."""
    try:
        return " ".join(_words(json.loads(raw.decode("utf-8", "replace"))).split())
    except (ValueError, RecursionError):
        return ""


def _words(found: Any) -> str:
    if isinstance(found, list) and found and all(isinstance(item, dict) for item in found):
        return "; ".join(filter(None, map(_words, found)))  # Gemini; FastAPI's `detail`
    if not isinstance(found, dict):
        return str(found) if found else ""
    words = next((said for key in _REASONS if (said := _words(found.get(key)))), "")
    if isinstance(place := found.get("loc"), list):
        words = f"{'.'.join(map(str, place))}: {words}"
    about = found.get("metadata")  # OpenRouter: what the provider behind it said
    return f"{words}: {about['raw']}" if isinstance(about, dict) and about.get("raw") else words


_REASONS = ("error", "message", "detail", "msg")


def refused(status: int, raw: bytes, body: Mapping[str, Any]) -> str:
    """What of the whole job a server refuses with an error (see Reply); '' for what may be the
    row's own, or worth another try. body: what was sent."""
    said = raw.decode("utf-8", "replace")[:10_000]
    if status == 402 or (status in (400, 403, 429) and _USED_UP.search(said)):
        return QUOTA
    if status in (401, 403, 404, 405, 410) or 300 <= status < 400:
        if _ROWS_OWN.search(error_message(raw)):
            return ""
        about_model = status == 404 and "model" in said.lower()
        about = {401: "the key", 403: "the key"}.get(status, "the URL")
        return f"the model {body['model']!r}" if about_model else about
    if status not in (400, 422) or _ROWS_OWN.search(said):
        return ""
    places = {name: _place(name, said) for name in body if name not in ("model", "messages")}
    if named := [name for name, at in places.items() if at >= 0]:
        return f"the parameter {min(named, key=places.__getitem__)!r}"
    model = body["model"]
    is_named = len(model) > 2 and _place(model, said) >= 0
    is_model = is_named or re.search(r'model_not_found|"param"\s*:\s*"model"', said)
    return f"the model {model!r}" if is_model else ""


def _place(name: str, text: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    return found.start() if found else -1


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header (a number or an HTTP date); None when it has none."""
    if value is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value.strip(), re.ASCII):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a time zone
        return None
