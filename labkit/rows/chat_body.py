"""The body of a chat completion → messages and sampling parameters, or why it can't be asked.

The fields are those of OpenAI's reference (https://platform.openai.com/docs/api-reference/chat) and
what vLLM's server adds to them. A row keeps one text: what asks for more is refused, not dropped.
"""

from __future__ import annotations

from typing import Any

from labkit.errors import LabError
from labkit.rows.requests import Parameter
from labkit.tasks import Message

#: Fields that vLLM's `SamplingParams` knows by the same name.
SAME_NAME = {"temperature", "top_p", "top_k", "min_p", "seed", "max_tokens", "min_tokens"}
SAME_NAME |= {"presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias"}
SAME_NAME |= {"stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "bad_words"}
SAME_NAME |= {"allowed_token_ids", "skip_special_tokens", "spaces_between_special_tokens"}
SAME_NAME |= {"structured_outputs"}
#: Fields that change no answer.
NO_EFFECT = {"user", "metadata", "store", "service_tier", "safety_identifier"}
NO_EFFECT |= {"prompt_cache_key", "stream_options"}
#: Fields with the one value that asks for no more than a text; any other is refused.
ONE_TEXT: dict[str, tuple[Any, ...]] = {
    "stream": (False,),
    "n": (1,),
    **dict.fromkeys(("logprobs", "top_logprobs", "prompt_logprobs"), (False, 0)),
    **dict.fromkeys(("tools", "functions"), ([],)),
    **dict.fromkeys(("tool_choice", "function_call"), ("none", "auto")),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
    "audio": (),
    "use_beam_search": (False,),
}


class BadBody(LabError):
    """A body that can't be asked. param: the field at fault."""

    def __init__(self, param: str, message: str):
        super().__init__(message)
        self.param = param


def read(
    body: dict[str, Any], parameter: Parameter, *, to_server: bool
) -> tuple[list[Message], dict[str, Any]]:
    """(messages, sampling parameters) of a body. A field that is null counts as left out.

    parameter: checks a sampling parameter (see `requests.Parameter`). to_server: a server is asked,
    which gets the parameters by their own names, and judges those that are not known here.
    Raises BadBody.
    """
    sampling: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in ("model", "messages"):
            continue
        if name in ONE_TEXT:
            if not any(type(value) is type(one) and value == one for one in ONE_TEXT[name]):
                raise BadBody(name, f"{name}={value!r:.60} asks for more than one plain text.")
        elif to_server:
            sampling[name] = value
        elif name == "max_completion_tokens":
            sampling["max_tokens"] = value
        elif name == "response_format":
            sampling |= _structured(value)
        elif name in SAME_NAME:
            sampling.setdefault(name, value)  # max_completion_tokens goes before max_tokens
        elif name not in NO_EFFECT:
            raise BadBody(name, f"Unknown field {name!r}: it would be ignored. Leave it out.")
    for name, value in sampling.items():
        try:
            sampling[name] = parameter(name, value)
        except (ValueError, TypeError, AttributeError) as problem:
            raise BadBody(name, f"{problem}") from None
    return _messages(body.get("messages")), sampling


def _structured(form: Any) -> dict[str, Any]:
    """`response_format` as vLLM's structured outputs."""
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"structured_outputs": {"json_object": True}}
    schema = form.get("json_schema") if kind == "json_schema" else None
    schema = schema.get("schema") if isinstance(schema, dict) else None
    if not isinstance(schema, dict):
        raise BadBody(
            "response_format",
            "response_format must be {'type': 'text'}, {'type': 'json_object'} or {'type': "
            f"'json_schema', 'json_schema': {{'schema': {{…}}}}}}, not {form!r:.60}",
        )
    return {"structured_outputs": {"json": schema}}


def _messages(messages: Any) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise BadBody("messages", "messages must be a list with at least one message.")
    return [_message(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _message(message: Any, place: str) -> Message:
    """A message with its text in one piece: parts are joined by line ends, as vLLM's server does
    it."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadBody(place, f"{place} must be an object with a role.")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if _is_text(part) else None for part in content]
        content = "\n".join(parts) if all(isinstance(part, str) for part in parts) else None  # type: ignore[arg-type]
    if not isinstance(content, str):
        raise BadBody(f"{place}.content", f"{place}.content must be text, or parts of type text.")
    if message.get("tool_calls") or message.get("function_call"):
        raise BadBody(f"{place}.tool_calls", f"{place} calls tools, which a text can't answer.")
    kept = {name: value for name, value in message.items() if value not in (None, [])}
    return {**kept, "content": content}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"
