"""A cold job: a Ray Data LLM processor, which starts its engines for one job and ends them with it.

Three stages: prompts are rendered (`prompt_rendering`), Ray's own vLLM stage answers, and an actor
reads what it said. The engine gets tokens, so that Ray's stages of text are not needed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.engines.prompt_rendering import Renderer, RenderPrompts, renderer_arguments, with_text
from labkit.errors import Cancelled
from labkit.metrics import CUT
from labkit.ray_session import capacity
from labkit.rows import requests, responses
from labkit.rows.sampling_values import FinalOnly, Opaque, decoded_by_engine
from labkit.settings.engine_defaults import STAGE_CPUS
from labkit.tasks import Row

if TYPE_CHECKING:
    import ray.data

    from labkit.settings.processor_spec import ProcessorSpec

#: What is read of a row as Ray's stage leaves it.
READ = (
    *("row_id", "error", "sampling", "__inference_error__", "generated_text", "generated_tokens"),
    *("metrics", "num_input_tokens", "num_generated_tokens", "batch_uuid"),
)
#: The light stages beside an engine, each of which asks for STAGE_CPUS: rendering, Ray's map before
#: and after its engine, reading; and one of the user's own Dataset.
STAGES = 5


def answer(
    dataset: ray.data.Dataset, spec: ProcessorSpec, cancel: threading.Event | None = None
) -> Iterator[pa.Table]:
    """A Dataset of requests → tables of responses, as they come; with the requests' column `row`,
    if they have one."""
    done = answered(dataset, spec, cancel)
    # Prefetching would hold every table back until the next one is there.
    yield from done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def answered(
    dataset: ray.data.Dataset, spec: ProcessorSpec, cancel: threading.Event | None = None
) -> ray.data.Dataset:
    """The Dataset of responses, which is not read yet.

    cancel: set while all is made ready, which may take a download, it lets no engine start: nobody
    would watch it.
    """
    capacity.require(spec.bundles(), STAGE_CPUS * STAGES)
    texts = bool(spec["detokenize_stage"])
    renderer = renderer_arguments(spec)
    stage: dict[str, Any] = {
        "batch_format": "pyarrow",
        "batch_size": spec["batch_size"],
        "num_cpus": STAGE_CPUS,
        "runtime_env": {"env_vars": spec.layer("environment")},
    }
    prompts = dataset.map_batches(
        RenderPrompts, fn_constructor_args=(renderer,), concurrency=spec.replicas, **stage
    )
    read = (renderer if texts else None, spec.layer("vllm").get("max_model_len"))
    done = build(spec, texts)(prompts).map_batches(
        ReadResponses, fn_constructor_args=read, concurrency=1, **stage
    )
    if cancel is not None and cancel.is_set():
        raise Cancelled("The job was ended before its engine was started.")
    return done


def build(spec: ProcessorSpec, texts_apart: bool = False) -> Any:
    """The real Ray Data LLM processor: from rendered requests to what the engine says of each.

    texts_apart: tokens become text after the engine, where the row's parameters allow it.
    """
    from ray.data.llm import build_processor

    def ask(row: Row) -> Row:
        sampling = {"max_tokens": None, **requests.sampling_of(row["sampling"])}
        sampling |= {"output_kind": FinalOnly(), "skip_clone": True}
        if texts_apart and not decoded_by_engine(sampling):
            sampling["detokenize"] = False
        # As objects: Arrow would give each row the keys of all others, and 8.0 for 8.
        asked: Row = {"sampling_params": Opaque(sampling)}
        return asked | ({"row": Opaque(row["row"])} if "row" in row else {})

    light = {"num_cpus": STAGE_CPUS}
    return build_processor(
        spec.config(chat_template_stage=False, tokenize_stage=False, detokenize_stage=False),
        preprocess=ask,
        preprocess_map_kwargs=light,
        postprocess_map_kwargs=light,
    )


class ReadResponses:
    """The last stage: keeps what the engine said, as responses, and drops the rest.

    An actor of its own that starts beside the engine: as a plain task it would start when the
    first answers come and take the CPU from the engine (measured: half the throughput on 2 cores).
    """

    def __init__(self, renderer: dict[str, Any] | None, context: int | None):
        self.renderer = Renderer(**renderer) if renderer else None
        self.context = context

    def __call__(self, batch: pa.Table) -> pa.Table:
        names = [name for name in READ if name in batch.column_names]
        rows = [_response(row, self.context) for row in batch.select(names).to_pylist()]
        if self.renderer:
            rows = with_text(self.renderer, rows)
        table = responses.table(rows)
        return table.append_column("row", batch["row"]) if "row" in batch.column_names else table


def _response(row: Row, context: int | None) -> Row:
    """One row as Ray's stages leave it. They drop the finish reason: that of a row which has as
    many tokens as it may follows from its limit and from that of the `context`, others are not
    known."""
    asked, count = row.get("num_input_tokens"), row.get("num_generated_tokens")
    sampling = json.loads(row["sampling"])
    full = isinstance(context, int) and (asked or 0) + (count or 0) >= context
    read = responses.of_engine(
        row["row_id"],
        row.get("error") or row.get("__inference_error__"),
        text=row.get("generated_text"),
        times=row.get("metrics"),
        counts=(asked, count),
        finish_reason=CUT if count and (count == sampling.get("max_tokens") or full) else None,
        batch_uuid=row.get("batch_uuid"),
    )
    if not row.get("generated_text") and not decoded_by_engine(sampling):
        read["token_ids"] = row.get("generated_tokens")
    return read
