"""The same rows through plain `vllm.LLM.chat`, in a process of its own (see `parity`)."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any


def main(request: Path, answer: Path) -> None:
    """Read {engine, questions, sampling, warm_up, warm_up_rows, repeats} from `request`; write
    {runs}: a list of {rows, started, finished}, the first from before the engine's start."""
    asked: dict[str, Any] = json.loads(request.read_text())
    started = time.time()
    from vllm import LLM, SamplingParams

    llm = LLM(**asked["engine"], disable_log_stats=False)
    messages = [[{"role": "user", "content": question}] for question in asked["questions"]]
    params = SamplingParams(**asked["sampling"])
    runs = []
    jobs = [messages[: asked["warm_up_rows"]]] * asked["warm_up"] + [messages] * asked["repeats"]
    for these in jobs:
        outputs = llm.chat(these, params, use_tqdm=False)
        finished = time.time()
        rows = [
            {
                **dataclasses.asdict(output.metrics),
                "num_input_tokens": len(output.prompt_token_ids or ()),
                "num_generated_tokens": len(output.outputs[0].token_ids),
                "batch_uuid": "all",
            }
            for output in outputs
            if output.metrics is not None
        ]
        runs.append({"rows": rows, "started": started, "finished": finished, "in_flight": None})
        llm.reset_prefix_cache()
        started = time.time()
    answer.write_text(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
