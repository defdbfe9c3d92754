"""Ray's chat-template stage, one row at a time: a row that no template takes fails alone.

Templates raise for what their model never saw, such as two turns of one role (Mistral, Gemma), and
Ray lets that end the job: `should_continue_on_error` covers the engine's own stage only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ray.llm._internal.batch.stages.chat_template_stage import ChatTemplateUDF

from labkit.rows.requests import ERROR, reason
from labkit.tasks import Row


class RowByRow(ChatTemplateUDF):
    """Takes the place of Ray's class in the stage; set by `ProcessorSpec.build`."""

    async def udf(self, batch: list[Row]) -> AsyncIterator[dict[str, Any]]:
        """The rows with their prompts; one that can't have any with its error."""
        for row in batch:
            try:
                async for done in super().udf([row]):
                    yield done
            except Exception as problem:  # jinja2's, or the template's own words
                at = self.IDX_IN_BATCH_COLUMN
                yield {at: row[at], "prompt": "", ERROR: f"the chat template: {reason(problem)}"}
