"""`labkit doctor` and `labkit describe`: what this machine lacks, and what a job would be."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """The commands and their options."""
    check = commands.add_parser("doctor", help="find what would stop a job on this machine")
    check.add_argument("--device", choices=["cpu", "gpu"], help="demand a GPU, or do without")
    check.add_argument("--model", help="registry name, Hugging Face id or folder")
    check.set_defaults(call=_doctor)
    describe = commands.add_parser("describe", help="every Ray and vLLM argument, with its reason")
    describe.add_argument("--model", help="registry name, Hugging Face id or folder")
    describe.set_defaults(call=_describe)


def _doctor(given: argparse.Namespace) -> int:
    from labkit.api.checkup import doctor

    report = doctor(given.device, given.model)
    print(report)
    return 0 if report.healthy else 1


def _describe(given: argparse.Namespace) -> int:
    from labkit.api.configure import configure

    print(configure(given.model).describe().to_string(max_colwidth=70))
    return 0
