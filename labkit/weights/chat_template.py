"""Where a chat template and Ray's tokenize stage would both write BOS."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path


def without_double_bos(source: str) -> str | None:
    """The chat template of a model (a folder, or its name in the hub) without its BOS token, when
    tokenizing would add a second one.

    Ray's tokenize stage adds special tokens after the chat template, which already wrote BOS for
    Llama and others: https://github.com/vllm-project/vllm/issues/9519. None when nothing is to mend
    or the tokenizer can't be read here.
    """
    folder = Path(source)
    if folder.is_dir() and not any("bos_token" in text for text in _templates(folder)):
        return None  # without transformers, which takes seconds to import
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        template, bos = tokenizer.chat_template, tokenizer.bos_token_id
        if isinstance(template, dict):  # several, by name: without tools this one is taken
            template = template["default"]
        text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
        twice = bos is not None and tokenizer(text)["input_ids"][:2] == [bos, bos]
    except Exception:  # the engine itself will say what is wrong with this model
        return None
    return "{%- set bos_token = '' -%}" + template if twice and template else None


def _templates(folder: Path) -> list[str]:
    """The chat templates in a model's folder, wherever transformers looks for them."""
    found = []
    for file in folder.glob("**/*.jinja"):
        with contextlib.suppress(OSError, ValueError):
            found.append(file.read_text())
    for name in ("tokenizer_config.json", "chat_template.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            found.append(json.dumps(json.loads((folder / name).read_text())["chat_template"]))
    return found
