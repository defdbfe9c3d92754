"""What a job would take on a machine of which there is a recording. Pure: no engine.

Only for rows of the recording's shape: the same model, and prompts and answers at most twice as
long or half as long as those that were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable

from labkit.results.job_estimate import Interval
from labkit.results.planning import Elsewhere
from labkit.results.sweep_result import Sweep

#: Rows of another length than the recorded ones are still estimated up to this factor.
SHAPE = 2.0


def elsewhere(
    rows: int, model: str, input_tokens: float, output_tokens: float, sweeps: Iterable[Sweep]
) -> tuple[Elsewhere, ...]:
    """Estimates by each recorded sweep of that model whose shape fits. The tokens are of a row."""
    found = (_by(rows, model, input_tokens, output_tokens, sweep) for sweep in sweeps)
    best: dict[str, Elsewhere] = {}
    for one in filter(None, found):  # the faster of two sweeps of a machine
        known = best.get(one.machine)
        if known is None or one.seconds.value < known.seconds.value:
            best[one.machine] = one
    return tuple(best.values())


def _by(
    rows: int, model: str, input_tokens: float, output_tokens: float, sweep: Sweep
) -> Elsewhere | None:
    """By the setting of a sweep with the most rows/s. The rows are of other lengths: the time is
    bracketed by rows/s, by output tokens/s and by total tokens/s of its slowest and fastest run,
    and the middle is by total tokens/s."""
    if sweep.provenance["model"] != model:
        return None
    groups = sweep.table.groupby(["batch_size", "max_concurrent_batches"])
    runs = sweep.table.loc[groups.groups[groups["rows_per_s"].median().idxmax()]]
    recorded_in = float((runs["input_tokens"] / runs["rows"]).mean())
    recorded_out = float((runs["output_tokens"] / runs["rows"]).mean())
    factors = (input_tokens / recorded_in, output_tokens / recorded_out)
    if not all(1 / SHAPE <= factor <= SHAPE for factor in factors):
        return None
    tokens = input_tokens + output_tokens
    work = {"rows_per_s": 1.0, "output_tokens_per_s": output_tokens, "total_tokens_per_s": tokens}
    seconds = [rows * each / rate for name, each in work.items() for rate in runs[name]]
    middle = rows * tokens / float(runs["total_tokens_per_s"].median())
    about = sweep.provenance
    words = f"recorded on {about['made']}"
    return Elsewhere(about["device"], words, Interval(middle, min(seconds), max(seconds)))
