"""Whether a call's arguments are of the types that its function says, and what to give instead.

The public functions are called by people, who mix up places: `serve(spec)` for `serve(spec=spec)`.
Read are the annotations, as text: a type that is not named here is not looked at. Whether a value
is a good one is for the function to say.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any


def _named(*names: str) -> Callable[[Any], bool]:
    """An object of one of these classes, or of one below them: none is imported for it."""
    return lambda value: any(kind.__name__ in names for kind in type(value).__mro__)


def _number(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _is_spec(value: Any) -> bool:
    return not isinstance(value, type) and hasattr(value, "rows_in_flight")


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


#: The name of a type in an annotation → (whether a value is of it, what to give).
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, ""),
    "bool": (_named("bool", "bool_"), "True or False"),
    "int": (_number(Integral), "a whole number"),
    "float": (_number(Real), "a number"),
    "str": (lambda value: isinstance(value, str), "text"),
    "Path": (lambda value: isinstance(value, os.PathLike), "a path"),
    "Mapping": (lambda value: isinstance(value, Mapping), "a dict"),
    "Sequence": (_is_list, "a list"),
    "Iterable": (_is_list, "a list"),
    "Callable": (callable, "a function"),
    "DataFrame": (_named("DataFrame"), "a DataFrame"),
    "Table": (_named("Table"), ""),  # of PyArrow
    "Dataset": (_named("Dataset"), "a Ray Dataset"),
    "View": (lambda value: hasattr(value, "show"), ""),
    "Event": (lambda value: hasattr(value, "is_set"), "a threading.Event"),
    "Task": (_named("Task"), "a labkit.Task, such as labkit.tasks.faq() makes"),
    "Model": (_named("Model"), "what labkit.get_model(…) gives"),
    "Machine": (_named("Machine"), "what labkit.this_machine() gives"),
    "Sweep": (_named("Sweep"), "what labkit.sweep gave"),
    "Job": (_named("Job"), "what labkit.run gave"),
    "Written": (_named("Written"), "what labkit.write gave"),
    "JobSpec": (_is_spec, "what labkit.configure() or labkit.endpoint(…) makes"),
    "ProcessorSpec": (_is_spec, "what labkit.configure() makes"),
}
#: Parameters that are more than their type says.
WORDS = {
    "points": "points, such as labkit.in_flight(1, 8, 32) makes",
    "choices": "a list of words",
    **dict.fromkeys(
        ("batch_size", "max_concurrent_batches", "replicas", "tensor_parallel"),
        "a whole number from 1",
    ),
}


def misplaced(call: inspect.BoundArguments) -> str:
    """The first argument that is not of its parameter's type, and what to give; '' for none."""
    parameters = call.signature.parameters
    for name, value in call.arguments.items():
        several = parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        for one in value if several else (value,):
            if not _fits(one, parameters[name]):
                words = dict.fromkeys(words for _, words in _types(parameters[name]) if words)
                wanted = WORDS.get(name, ", or ".join(words))
                kind = "None" if one is None else type(one).__name__
                rest = [parameters[more] for more in parameters if more not in call.arguments]
                return f"{name} must be {wanted}, not {kind}.{_hint(one, rest)}"
    return ""


def _hint(value: Any, others: list[inspect.Parameter]) -> str:
    """Where an object may have been meant to go; text and numbers could go anywhere."""
    if value is None or isinstance(value, str | Real):
        return ""
    place = next((p.name for p in others if _types(p) and _fits(value, p)), "")
    return f" Is it meant as {place}=…?" if place else ""


def _fits(value: Any, parameter: inspect.Parameter) -> bool:
    types = _types(parameter)
    return not types or any(fits(value) for fits, _ in types)


def _types(parameter: inspect.Parameter) -> list[tuple[Callable[[Any], bool], str]]:
    """What may stand there; nothing where that can't be told."""
    text = parameter.annotation
    if not isinstance(text, str) or parameter.kind is parameter.VAR_KEYWORD:
        return []
    while (bare := re.sub(r"\[[^\[\]]*\]", "", text)) != text:
        text = bare  # what is in a list is for the function to look at
    names = [name.strip().rpartition(".")[2] for name in text.split("|")]
    return [TYPES[name] for name in names] if all(name in TYPES for name in names) else []
