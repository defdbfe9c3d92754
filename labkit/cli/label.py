"""`labkit label`: label the posts, write them, and say how right it is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """The command and its options."""
    label = commands.add_parser("label", help="label the posts, write them, say how right it is")
    label.add_argument("--rows", type=int, help="a stratified sample (default: all 4,200 posts)")
    label.add_argument("--out", type=Path, default=Path("build/labels"), help="folder; resumed")
    label.add_argument("--model", help="registry name, Hugging Face id or folder")
    label.add_argument("--batch-size", type=int)
    label.add_argument("--max-concurrent-batches", type=int)
    label.add_argument("--engines-per-gpu", type=int, help="default: settled by the rows")
    label.set_defaults(call=_label)


def _label(given: argparse.Namespace) -> int:
    import labkit
    from labkit import quality, tasks

    engines = given.engines_per_gpu
    spec = labkit.configure(
        given.model,
        batch_size=given.batch_size,
        max_concurrent_batches=given.max_concurrent_batches,
        engines_per_gpu="auto" if engines is None else engines,
        warm=True,  # for its start alone: on 2 cores 30 s instead of 46 for 20 rows
    )
    posts = labkit.load_posts(given.rows)
    out = labkit.write(tasks.sentiment(), posts, given.out, spec, id_column="id", into="says")
    done = out.read()
    good = done[done["error"].isna()]
    invalid = int((~good["says"].isin(tasks.LABELS)).sum())
    print(
        f"{len(done):,} posts in {given.out}: {out.computed:,} computed now, {out.failed:,} failed"
    )
    if out.failed:
        print(f"the first error: {done['error'].dropna().iloc[0]}")
    if len(good):
        print(f"invalid labels: {invalid}")
        print(quality.evaluate(list(good["label"]), list(good["says"]), tasks.LABELS))
    if out.metrics is not None:
        print(f"{out.metrics.rows_per_s:.1f} rows/s on {spec.machine.name}, {spec.model.name}")
    return 1 if invalid or out.failed else 0
