"""The types of vLLM's sampling parameters: a wrong one must stay its own row's mistake.

vLLM sends a request to its engine's process as msgpack, whose types are strict. A process that
can't read one (`max_tokens=True`) ends its reading thread, and every row would wait for ever.
"""

from __future__ import annotations

import math
import sys
from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: From a parameter to the type of its value, as `vllm.SamplingParams` has it in vLLM 0.29.
KINDS: dict[str, type] = {
    **dict.fromkeys(
        ("n", "top_k", "min_tokens", "seed", "max_tokens", "logprobs", "prompt_logprobs"), int
    ),
    **dict.fromkeys(("thinking_token_budget", "stream_interval", "output_text_buffer_length"), int),
    "routed_experts_prompt_start": int,
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "repetition_penalty"), float),
    **dict.fromkeys(("temperature", "top_p", "min_p"), float),
    **dict.fromkeys(("ignore_eos", "flat_logprobs", "detokenize", "skip_special_tokens"), bool),
    **dict.fromkeys(("spaces_between_special_tokens", "include_stop_str_in_output"), bool),
    **dict.fromkeys(("skip_clone", "skip_reading_prefix_cache"), bool),
}
#: Lists, and the type of their items.
LISTS: dict[str, type] = {
    **dict.fromkeys(("stop", "bad_words"), str),
    **dict.fromkeys(("stop_token_ids", "allowed_token_ids", "logprob_token_ids"), int),
    "trace_decode_token_ids": int,
}
#: Those that may be None: not seeded, not wanted. vLLM takes None for max_tokens, too: no limit;
#: a row with an empty cell would run to the end of the context, so here it is missing.
OPTIONAL = {"seed", "logprobs", "prompt_logprobs", "thinking_token_budget"}
OPTIONAL |= {"stream_interval", "skip_reading_prefix_cache", "logit_bias", *LISTS}
OPTIONAL |= {"extra_args", "repetition_detection"}
#: The fields of vLLM's `RepetitionDetectionParams`.
REPETITION = ("max_pattern_size", "min_pattern_size", "min_count")
WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


#: Parameters that only the engine itself can apply to text: with one of them it makes the text.
OF_TEXT = {"stop", "skip_special_tokens"}


def decoded_by_engine(sampling: Mapping[str, Any]) -> bool:
    """Whether a row's parameters need the engine to turn its tokens into text."""
    return bool(OF_TEXT & sampling.keys())


class Opaque(UserDict[str, Any]):
    """A dict as an object that Arrow can't take apart.

    A dict becomes a struct between Ray's stages: where one row of a block has None, Arrow gives the
    others 8.0 for 8 (and NaN for None), which vLLM's process can't read. Ray sends such an object
    as it is (`DataContext.enable_fallback_to_arrow_object_ext_type`).
    """


@dataclass(frozen=True)
class FinalOnly:
    """Becomes vLLM's `RequestOutputKind.FINAL_ONLY` in a process that has vLLM.

    By default an engine hands over each answer anew at each of its tokens, for servers that
    stream; a batch job reads the last one only (`vllm.LLM.chat` asks for the same). The light
    stages pass this on without importing vLLM, which takes seconds.
    """

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return final_only, ()


def final_only() -> Any:
    """FINAL_ONLY itself where vLLM is loaded, else what stands for it on the way there."""
    vllm = sys.modules.get("vllm.sampling_params")
    return vllm.RequestOutputKind.FINAL_ONLY if vllm else FinalOnly()


def plain(value: Any) -> Any:
    """A numpy scalar as a Python number (vLLM checks types); anything else unchanged."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def number(name: str, value: Any) -> Any:
    """A parameter for any server. Raises ValueError for a number that is none, as NaN.

    vLLM takes NaN for a limit, which nothing ever reaches. A whole number may come as a float
    (pandas makes one where another row has none), and a strict server refuses 8.0 tokens.
    """
    value = plain(value)
    if isinstance(value, float) and value.is_integer() and KINDS.get(name) is not float:
        value = int(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"sampling parameter {name!r} is {value}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"sampling parameter {name!r} is a number beyond 64 bits")
    return value


def for_vllm(name: str, value: Any) -> Any:
    """A parameter for a vLLM engine here. Raises ValueError for one of another type.

    A whole number may come as a float (pandas makes one where another row has none).
    """
    value = number(name, value)
    if value is None:
        if name in KINDS and name not in OPTIONAL:
            raise ValueError(f"sampling parameter {name!r} is missing")
        return None
    if name == "logit_bias":
        return {
            _as(int, name, _whole(k)): _as(float, name, number(name, v))
            for k, v in dict(value).items()
        }
    if kind := KINDS.get(name):
        return _as(kind, name, value)
    if kind := LISTS.get(name):
        if isinstance(value, str):
            return _as(kind, name, value)  # one stop string
        value = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(value, list | tuple):
            raise ValueError(f"sampling parameter {name!r} must be a list, not {value!r:.50}")
        return [_as(kind, name, number(name, item)) for item in value]
    if name in ("extra_args", "repetition_detection"):
        if not isinstance(value, dict):
            raise ValueError(f"sampling parameter {name!r} must be a dict, not {value!r:.50}")
        return _json(name, value) if name == "extra_args" else _repetition(name, value)
    return value


def _json(name: str, value: Any) -> Any:
    value = number(name, value)
    if isinstance(value, dict):
        return {_as(str, name, key): _json(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(name, item) for item in value]
    if value is None or type(value) in (bool, int, float):
        return value
    if not isinstance(value, str):
        raise ValueError(f"sampling parameter {name!r} must hold plain JSON, not {value!r:.50}")
    return _as(str, name, value)


def _repetition(name: str, value: dict[Any, Any]) -> dict[str, int]:
    """As vLLM's engine checks it: there, a wrong one ends the reading thread."""
    if unknown := [key for key in value if key not in REPETITION]:
        raise ValueError(f"{name!r} has {', '.join(REPETITION)}, and no {unknown[0]!r:.50}")
    found = {key: _as(int, name, number(name, item)) for key, item in value.items()}
    most, least, count = (found.get(key, 0) for key in REPETITION)
    if not 0 <= least <= most or (most and count < 2):
        raise ValueError(
            f"{name!r} needs 0 <= min_pattern_size <= max_pattern_size and min_count >= 2, "
            f"not {value!r:.90}"
        )
    return found


def _whole(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isdecimal() else plain(key)  # as JSON has keys


def _as(kind: type, name: str, value: Any) -> Any:
    if kind is str and isinstance(value, str):
        value.encode()  # half of a surrogate pair is no Unicode text
        return str(value)
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return number(name, int(value))
    raise ValueError(f"sampling parameter {name!r} must be {WORDS[kind]}, not {value!r:.50}")
