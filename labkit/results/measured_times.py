"""The measured seconds of docs/times.md, by kind of machine: the one place for minutes."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.hardware.machine import Machine
from labkit.paths import lessons_folder


def kind(machine: Machine) -> str:
    """The column of docs/times.md for this machine."""
    if machine.device == "gpu":
        return machine.gpus[0].name.removeprefix("NVIDIA ").removesuffix(" 80GB HBM3")
    return f"{machine.cores} cores {'with' if machine.bfloat16 else 'without'} AVX-512"


def heading(source: str) -> str:
    """The text of a cell's heading, without marks."""
    return source.splitlines()[0].lstrip("# ").strip()


def rows(text: str) -> Iterator[tuple[int, str, list[str], list[str]]]:
    """(line number, section, header, cells) of each row of a page's tables, without marks."""
    section, header = "", list[str]()
    for number, line in enumerate(text.splitlines()):
        if line.startswith("#"):
            section = heading(line)
        if not line.startswith("|"):  # the end of a table
            header = []
        if line.startswith("| "):
            cells = [cell.strip().strip("*`") for cell in line.strip("|").split("|")]
            if header:
                yield number, section, header, cells
            else:
                header = cells


def tables(text: str) -> dict[str, dict[str, dict[str, float]]]:
    """{section of the page: {first column: {kind: seconds}}} of a page such as docs/times.md."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for _, section, header, (name, *cells) in rows(text):
        known = {k: c.replace(",", "") for k, c in zip(header[1:], cells, strict=True)}
        seconds = {k: float(c) for k, c in known.items() if c.replace(".", "").isdigit()}
        found.setdefault(section, {})[name] = seconds
    return found


def page() -> dict[str, dict[str, dict[str, float]]]:
    """What docs/times.md holds, in seconds; also of an installed package."""
    return tables((lessons_folder("docs") / "times.md").read_text(encoding="utf-8"))
