"""The page of a job: what ran, on what, how it went, a sample of answers, failures by reason."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pandas as pd

from labkit.api.write_job import Written
from labkit.charts.over_time_charts import over_time
from labkit.errors import lab_errors
from labkit.pages.page import Page
from labkit.paths import short_path
from labkit.results import answer_files, job_fingerprint
from labkit.settings.setting import JobSpec
from labkit.tasks import Task

#: Rows of the sample, and characters of one cell.
SAMPLE_ROWS, SAMPLE_CHARACTERS = 12, 200


@lab_errors("The report could not be made")
def report(done: Written, task: Task, spec: JobSpec, *, title: str = "") -> Page:
    """A page about what `labkit.write` has written: `report(…).save("report.html")`, or the end of
    a cell. The numbers are those of the last call; answers and failures are of the whole folder.
    """
    sample = _sample(done)
    page = Page(title or f"{task.name}: {done.rows:,} rows", _lead(done, spec))
    page.facts(_facts(done))
    if done.metrics is not None and (remark := done.metrics.remark()):
        page.text(remark, kind="warning")
    if done.over_time is not None and len(done.over_time):
        page.section("How it went").chart(over_time(done.over_time, _where(spec)))
    page.section("A sample of answers")
    page.table(sample) if len(sample) else page.text("No row was answered.")
    page.section("Failures by reason")
    reasons, failed = answer_files.failures(done.path, done.id_column)
    if failed:
        page.text(f"{failed:,} of {done.rows:,} rows failed; retry_failed=True asks them again.")
        page.table(reasons.head(20).map(_short))
    else:
        page.text("None: every row was answered.")
    page.section("What ran")
    page.text(f"Answers: {short_path(str(done.path))}, column {done.into!r}.")
    if asked := _asked(done, task):
        page.text("The first row was asked:").code(asked)
    if done.metrics is not None:
        page.table(done.metrics.table(), folded="All numbers of the last call")
    described = spec.describe().astype({"value": str}).map(_short)
    page.table(described, folded="Every argument, with its reason")
    versions = spec.machine.versions.items()
    return page.text(
        f"{_where(spec)}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in versions if version),
        kind="small",
    )


def _where(spec: JobSpec) -> str:
    return f"Measured on {spec.machine.described} · {spec.model.name}"


def _lead(done: Written, spec: JobSpec) -> str:
    now = "" if done.computed == done.rows else f", {done.computed:,} of them in the last call"
    return f"{done.rows:,} rows by {spec.model.name} on {spec.machine.name}{now}."


def _facts(done: Written) -> dict[str, Any]:
    facts = {"answered": f"{done.rows - done.failed:,}", "failed": f"{done.failed:,}"}
    if (numbers := done.metrics) is None:
        return facts
    facts |= {"cut at max_tokens": f"{numbers.cut:,}", "wall time": f"{numbers.wall_s:,.0f} s"}
    facts["startup"] = f"{numbers.startup_s:,.0f} s"
    rates = {"rows/s": numbers.rows_per_s, "output tokens/s": numbers.output_tokens_per_s}
    rates |= {"input tokens": numbers.input_tokens, "output tokens": numbers.output_tokens}
    for name, value in rates.items():
        if not math.isnan(value):
            facts[name] = f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
    return facts


def _sample(done: Written) -> pd.DataFrame:
    """Answered rows of the first parts: the user's columns, and the answer flattened."""
    for table in itertools.islice(answer_files.parts(done.path), 20):
        good = table.filter(table["error"].is_null()).slice(0, SAMPLE_ROWS)
        if good.num_rows:
            left_out = ("error", "num_input_tokens", "num_generated_tokens", "finish_reason")
            kept = [name for name in good.column_names if name not in left_out]
            return answer_files.flattened(good.select(kept)).to_pandas().map(_short)
    return pd.DataFrame()


def _asked(done: Written, task: Task) -> str:
    """The messages of the first row that was answered, in words."""
    for table in itertools.islice(answer_files.parts(done.path), 20):
        for row in table.filter(table["error"].is_null()).slice(0, 1).to_pylist():
            if asked := job_fingerprint.prompt(task, row):
                messages = json.loads(asked)[0]
                return "\n\n".join(f"{m['role']}: {m['content']}" for m in messages)
    return ""


def _short(value: Any) -> Any:
    """A long text cut in a cell; anything else as it is."""
    text = value if isinstance(value, str) else None
    if text is None and isinstance(value, list | dict) or hasattr(value, "tolist"):
        text = str(value)
    if text is None or len(text) <= SAMPLE_CHARACTERS:
        return value if text is None else text
    return f"{text[:SAMPLE_CHARACTERS]} … ({len(text):,} characters)"
