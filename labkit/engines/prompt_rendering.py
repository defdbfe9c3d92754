"""Messages → the tokens of a prompt, by the model's own chat template and tokenizer; and back.

Row by row: templates raise for what their model never saw, such as two turns of one role (Mistral,
Gemma), and Ray's own stage lets that end the job. A row that no template takes fails alone here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.engines import engine_use
from labkit.errors import reason
from labkit.rows import responses

if TYPE_CHECKING:
    from labkit.settings.processor_spec import ProcessorSpec

#: What a prompt is where there is none: the engine is not to be asked for such a row.
NO_PROMPT: list[int] = []


def renderer_arguments(spec: ProcessorSpec) -> dict[str, Any]:
    """The arguments of a Renderer for this spec, to be sent to a worker."""
    stage, engine = spec["chat_template_stage"], spec.layer("vllm")
    stage = stage if isinstance(stage, dict) else {}
    loading = ("revision", "tokenizer_revision", "trust_remote_code", "hf_token")
    return {
        "source": engine.get("tokenizer") or spec["model_source"],
        "template": stage.get("chat_template"),
        "template_arguments": stage.get("chat_template_kwargs") or {},
        "loading": {name: engine[name] for name in loading if name in engine},
    }


class Renderer:
    """A chat template and its tokenizer.

    source: a folder or a Hugging Face id. template: instead of the model's own.
    template_arguments: passed to it. loading: arguments of `AutoTokenizer.from_pretrained`.
    """

    def __init__(
        self,
        source: str,
        template: str | None,
        template_arguments: dict[str, Any],
        loading: dict[str, Any],
    ):
        from transformers import AutoTokenizer

        token = loading.pop("hf_token", None)
        revision = loading.pop("tokenizer_revision", None) or loading.get("revision")
        loading |= {"revision": revision} if revision else {}
        loading |= {"token": token} if token else {}
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source, **loading)
        self.template, self.template_arguments = template, template_arguments

    def encode(self, batch: pa.Table) -> tuple[list[list[int]], list[str | None]]:
        """(the tokens of each prompt, why a row has none) of a table of requests."""
        texts: list[str] = []
        errors: list[str | None] = batch["error"].to_pylist()
        for at, messages in enumerate(batch["messages"].to_pylist()):
            texts.append("")
            if errors[at] is None:
                try:
                    texts[at] = self.text(json.loads(messages))
                except Exception as problem:  # jinja2's, or the template's own words
                    errors[at] = f"the chat template: {reason(problem)}"
        tokens: list[list[int]] = self.tokenizer(texts)["input_ids"]
        good = [error is None for error in errors]
        return [t if g else NO_PROMPT for t, g in zip(tokens, good, strict=True)], errors

    def text(self, messages: list[dict[str, str]]) -> str:
        """The prompt of some messages as text. A last turn of the assistant is continued (as in
        Ray's own stage)."""
        answers = messages[-1]["role"] == "user"
        prompt: str = self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            chat_template=self.template,
            add_generation_prompt=answers,
            continue_final_message=not answers,
            **self.template_arguments,
        )
        return prompt

    def decode(self, tokens: list[list[int]]) -> list[str]:
        """Texts without special tokens."""
        texts: list[str] = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts


class RenderPrompts:
    """A stage before Ray Data LLM's engine: requests → with `tokenized_prompt` (list of int64)."""

    def __init__(self, renderer: dict[str, Any]):
        self.renderer = Renderer(**renderer)

    def __call__(self, batch: pa.Table) -> pa.Table:
        tokens, errors = self.renderer.encode(batch)
        dummy = self.renderer.tokenizer("-")["input_ids"]
        tokens = [row or dummy for row in tokens]  # the engine takes no empty prompt
        at = batch.schema.get_field_index("error")
        batch = batch.set_column(at, "error", pa.array(errors, pa.string()))
        return batch.append_column("tokenized_prompt", pa.array(tokens, pa.list_(pa.int64())))


class Text:
    """The actor of a warm engine on a GPU that renders its prompts and reads its tokens: the
    engine's process then only feeds the engine. A batch comes and goes by it alone, so that neither
    prompts nor tokens pass whoever asks.

    engine: the actor of `engine_actor.Engine`.
    """

    def __init__(self, renderer: dict[str, Any], engine: Any):
        self.renderer, self.engine = Renderer(**renderer), engine

    async def answer(self, job: int, batch: pa.Table) -> pa.Table:
        """Requests → responses; other batches are rendered and read meanwhile."""
        prompts, asked = self.renderer.encode(batch), batch.select(["row_id", "sampling"])
        rows = await self.engine.answer.remote(job, asked, prompts)
        return responses.table(with_text(self.renderer, rows))

    async def cpu_s(self) -> float:
        """Seconds of CPU time that its process has taken."""
        return engine_use.cpu_s()


def with_text(renderer: Renderer, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows; those that have `token_ids` with their text."""
    raw = [row for row in rows if row.get("token_ids") is not None and not row.get("error")]
    texts = renderer.decode([list(row.pop("token_ids")) for row in raw]) if raw else []
    for row, text in zip(raw, texts, strict=True):
        row["text"] = text
    return rows
