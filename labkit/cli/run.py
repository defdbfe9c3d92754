"""`labkit run`: your own file in, a folder of answers out. Only arguments are read here: the work
is `labkit.prompt`, `labkit.write` and `labkit.report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from labkit.cli.run_arguments import spec_of, task_of
from labkit.errors import LabError

#: Where a sample is shown, characters of a cell.
CELL = 60
#: The column that numbers the rows of a text file that has no ids.
NUMBER = "row"
REPORT = "_report.html"
#: An option with any number of NAME=VALUE, which may be given again.
PAIRS: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}


def add(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser(
        "run",
        help="put a prompt to every row of your file",
        description="Put a prompt to every row of your own files; the answers go to a folder of "
        "Parquet parts. Run it again, and it goes on where it stopped. A sample: --limit 20.",
    )
    parser.add_argument(
        "data",
        help="CSV, TSV, JSON lines, Parquet or Excel (.gz, .zst): a file, a folder, a 'pattern*', "
        "here or at s3://, gs://, abfs://, hf://, https://",
    )
    parser.add_argument("--out", help="folder for the answers, or a URL such as s3://bucket/a")
    parser.add_argument("--id", help="the column that names the rows (default: id)")
    parser.add_argument("--into", default="answer", help="the new column (default: answer)")
    parser.add_argument("--limit", type=int, help="the first rows only; shown, not written, if no")
    parser.add_argument("--retry-failed", action="store_true", help="ask failed rows again")
    parser.add_argument("--csv", help="write all rows to this .csv file, too, at the end")
    parser.add_argument("--jsonl", help="write all rows to this .jsonl file, too, at the end")
    parser.add_argument("--page", type=Path, help=f"the page (default: {REPORT} in the folder)")
    ask = parser.add_argument_group("what is asked")
    ask.add_argument("--prompt", help="the user's turn; {column} for a row's own, {{ for a brace")
    ask.add_argument("--messages", metavar="COLUMN", help="or a column with lists of messages")
    ask.add_argument("--system", help="the system message")
    ask.add_argument("--few-shot", metavar="FILE", help="rows shown first, with a column 'answer'")
    ask.add_argument("--choices", help="the only answers there are: a,b,c (or a JSON list)")
    ask.add_argument("--schema", metavar="FILE", type=Path, help="JSON schema of the answers")
    ask.add_argument("--max-tokens", type=int, help="output tokens a row, at most")
    ask.add_argument(
        "--sampling",
        **PAIRS,
        metavar="NAME=VALUE",
        help="vLLM's sampling parameters; seed={column} for a row's own",
    )
    who = parser.add_argument_group("who answers")
    who.add_argument("--model", help="registry name, Hugging Face id or folder; a server's name")
    who.add_argument(
        "--endpoint", metavar="URL", help="an OpenAI-compatible server (needs --model)"
    )
    who.add_argument("--api-key-env", metavar="NAME", help="the variable that holds its key")
    who.add_argument("--in-flight", type=int, help="rows at the server at once (default: 16)")
    who.add_argument(
        "--rename",
        **PAIRS,
        metavar="NAME=OTHER",
        help="a sampling parameter by the server's name for it; NAME= leaves it out",
    )
    who.add_argument("--address", help="a Ray cluster, such as auto or ray://host:10001")
    who.add_argument("--replicas", type=int, default=1, help="engines (default: 1)")
    who.add_argument("--tensor-parallel", type=int, default=1, help="GPUs a copy of the weights")
    who.add_argument("--batch-size", type=int)
    who.add_argument("--max-concurrent-batches", type=int)
    who.add_argument(
        "--engine",
        **PAIRS,
        metavar="NAME=VALUE",
        help="any argument of vLLM, such as max_model_len=4096",
    )
    parser.set_defaults(call=_run)


def _run(given: argparse.Namespace) -> int:
    """The command; 1 where a row failed."""
    import labkit
    from labkit.rows import user_files

    if given.limit is not None and given.limit < 1:
        raise LabError("--limit must be at least 1.")
    if not given.out and not given.limit:
        raise LabError("Name a folder for the answers with --out, or see a sample: --limit 20.")
    if (given.csv or given.jsonl or given.page) and not given.out:
        raise LabError("--csv, --jsonl and --page go with --out: a sample is only shown.")
    task = task_of(given)
    files = user_files.opened(given.data)
    _check_targets(given, files)
    id_column, numbered = _ids(given.id, files, sample=not given.out)
    spec = spec_of(given)
    if given.address:
        labkit.start(address=given.address)
    if not given.out:
        return _shown(task, files.head(given.limit).to_pylist(), spec, given.into)
    data: Any = given.data
    if given.limit:
        data = files.head(given.limit, numbered)
    elif numbered and (data := files.rows_here(numbered)) is None:
        labkit.start()
        data = files.dataset(numbered)
    options = {"into": given.into, "retry_failed": given.retry_failed}
    done = labkit.write(task, data, given.out, spec, id_column=id_column, **options)
    for target in filter(None, (given.csv, given.jsonl)):
        done.save(target)
        print(f"{target}: all rows")
    return _summary(given, done, task, spec)


def _check_targets(given: argparse.Namespace, files: Any) -> None:
    """Raise LabError for files to be written at the end that can't be, or would be data then."""
    from labkit.results import answer_files
    from labkit.rows import file_place

    data = {one.path for one in files.places}
    whole = file_place.place(given.data).path.rstrip("/")
    for target in filter(None, (given.csv, given.jsonl)):
        place = answer_files.target_of(target)
        if place.path in data or place.path.startswith(f"{whole}/"):
            raise LabError(f"{place} is a file of the data, or would be: name one elsewhere.")
    if given.page and (given.page.expanduser().is_dir() or str(given.page.resolve()) in data):
        raise LabError(f"--page {given.page} is there already, and is no page: name another file.")


def _ids(named: str | None, files: Any, *, sample: bool) -> tuple[str, str]:
    """(the column of the ids, the name of a column to number the rows with, or ''). Raises LabError
    where there is none, and the files have no rows that could be counted."""
    columns = files.columns()
    if named is not None or "id" in columns or sample:
        return named or "id", ""
    if files.schema is None or NUMBER in columns:
        raise LabError(
            f"Name the column whose values name the rows with --id; there are {columns}."
        )
    print(f"The file has no column 'id' (see --id): its rows are numbered, in a column {NUMBER!r}.")
    return NUMBER, NUMBER


def _shown(task: Any, rows: list[Any], spec: Any, into: str) -> int:
    """A sample in the terminal; nothing is written."""
    import labkit

    job = labkit.run(task, rows, spec, into=into)
    for row, number in zip(job.answers.to_dict("records"), job.answers.index, strict=True):
        print(f"\nrow {number + 1}")
        for name, value in row.items():
            text = str(value)
            whole = name == into or len(text) <= CELL
            print(f"  {name}: {text if whole else text[:CELL] + ' …'}")
    for row in job.failed.to_dict("records"):
        print(f"\nfailed: {row['error']}")
    print(f"\n{len(job.answers):,} answered, {len(job.failed):,} failed; nothing was written.")
    if remark := job.metrics.remark():
        print(remark)
    print(_speed(job.metrics, spec))
    return 1 if len(job.failed) else 0


def _summary(given: argparse.Namespace, done: Any, task: Any, spec: Any) -> int:
    import labkit
    from labkit.results import answer_files
    from labkit.rows import file_place

    print(
        f"{done.rows:,} rows in {done.path}: {done.computed:,} computed now, "
        f"{done.skipped:,} were there, {done.failed:,} failed"
    )
    if done.failed:
        reasons, _ = answer_files.failures(done.path, done.id_column)
        for number, _, first in reasons.head(5).itertuples(index=False):
            print(f"  {number:,} failed, such as {first}")
        print("  --retry-failed asks them again")
    if done.metrics is not None:
        if remark := done.metrics.remark():
            print(remark)
        print(_speed(done.metrics, spec))
    page = labkit.report(done, task, spec, title=f"{Path(str(given.data)).name}: answers")
    if given.page:
        page.save(given.page)
        print(f"The page: {given.page}")
    else:
        place = file_place.place(given.out).below(REPORT)
        with place.create() as file:
            file.write(page.html().encode("utf-8", "backslashreplace"))
        print(f"The page: {place}")
    return 1 if done.failed else 0


def _speed(numbers: Any, spec: Any) -> str:
    if not numbers.rows:
        return f"no row was answered, on {spec.machine.name}, {spec.model.name}"
    return (
        f"{numbers.rows_per_s:,.1f} rows/s, {numbers.output_tokens_per_s:,.0f} output tokens/s "
        f"after {numbers.startup_s:.0f} s of startup, on {spec.machine.name}, {spec.model.name}"
    )
