"""The lessons' cells that need an engine of one's own, on a seat of a class without Ray: they show
the outputs that were recorded in the lesson, and say so.

An extension of IPython (`%load_ext labkit.widgets.seat_cells`; `scripts/seat.py` sets it up). A
cell that imports Ray or vLLM, or that starts an engine or a server here, is not run; nor is one
that uses what such a cell would have made. All others run as they are, on the class's engine.
"""

from __future__ import annotations

import ast
import json
from html import escape
from pathlib import Path
from typing import Any

from labkit.hardware.classroom_seat import has_ray, lent
from labkit.paths import REPO

#: Packages that a seat lacks, and calls of labkit that start something on this machine.
LACKING = {"ray", "vllm", "torch"}
OWN = {"serve", "local_nodes", "tune", "sweep_engines"}
NOTE = "This cell needs Ray and vLLM, which this machine lacks (a seat of a class does)"


class SeatCells:
    """What of a session's cells can't be run here, and what was recorded of them."""

    def __init__(self, outputs: dict[str, list[dict[str, Any]]]):
        self.outputs = outputs
        self.unmade: set[str] = set()

    def transform(self, lines: list[str]) -> list[str]:
        """The lines of a cell: as they are, or those that show its recorded outputs."""
        code = "".join(lines)
        try:
            cell = ast.parse(code)
        except SyntaxError:
            return lines
        kept: list[ast.stmt] = []
        for statement in cell.body:
            if names := _imported(statement):
                self.unmade |= names
            else:
                kept.append(_InMemory().visit(statement))
        unmade = set(self.unmade)
        for statement in kept:
            if _lacks(statement, unmade):
                self.unmade |= set().union(*map(_made, kept))
                return [f"__labkit_seat_cells__.show({code!r})\n"]
            unmade -= _made(statement)
        self.unmade = unmade
        changed = len(kept) < len(cell.body) or "ray.data.from_pandas" in code
        if not changed:
            return lines
        left = ast.unparse(ast.fix_missing_locations(ast.Module(kept, [])))
        return [f"{line}\n" for line in left.splitlines()]

    def show(self, code: str) -> None:
        """The recorded outputs of a cell."""
        from IPython.display import HTML, display

        known = self.outputs.get(_key(code))
        words = f"{NOTE}. " + (
            "What follows was recorded when the lesson was made, on its own machine:"
            if known
            else "It has no recorded output: the text goes on without it."
            if known is not None
            else "It is not a cell of the lessons, so there is no recorded output to show."
        )
        display(HTML(f"<p><b>RECORDED.</b> {escape(words)}</p>"), metadata={"labkit": "seat"})
        for output in known or ():
            if output["output_type"] == "stream":
                print("".join(output["text"]), end="")
            elif "data" in output:
                data = {kind: _joined(value) for kind, value in output["data"].items()}
                display(data, raw=True, metadata=output.get("metadata", {}))


def _lacks(statement: ast.stmt, unmade: set[str]) -> bool:
    """Whether a statement uses what is not there."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in unmade:
                return True
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "labkit" and node.attr in OWN:
                return True
        elif isinstance(node, ast.Import | ast.ImportFrom) and _imported(node):
            return True
    return False


class _InMemory(ast.NodeTransformer):
    """`ray.data.from_pandas(rows)` → `rows`: on a seat rows are in memory."""

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if ast.unparse(node.func) == "ray.data.from_pandas" and len(node.args) == 1:
            return node.args[0]
        return node


def _imported(statement: ast.AST) -> set[str]:
    """The names that a statement would import from packages that are not there."""
    if isinstance(statement, ast.Import):
        lacking = [alias for alias in statement.names if alias.name.split(".")[0] in LACKING]
        return {alias.asname or alias.name.split(".")[0] for alias in lacking}
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] in LACKING:
        return {alias.asname or alias.name for alias in statement.names}
    return set()


def _made(statement: ast.AST) -> set[str]:
    """The names that a statement gives a value, outside of functions."""
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


def _joined(value: Any) -> Any:
    return "".join(value) if isinstance(value, list) else value


def _key(code: str) -> str:
    return code.strip()


def recorded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The outputs of the lessons' cells, by the cells' code; without those that a seat left."""
    found: dict[str, list[dict[str, Any]]] = {}
    for book in sorted(folder.glob("*.ipynb")):
        try:
            cells = json.loads(book.read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError, KeyError):
            continue
        for cell in cells:
            if cell.get("cell_type") == "code":
                outputs = [o for o in cell.get("outputs", ()) if not _seat_s(o)]
                found[_key("".join(cell["source"]))] = outputs
    return found


def _seat_s(output: dict[str, Any]) -> bool:
    about = output.get("metadata", {})
    return about.get("labkit") == "seat"


def load_ipython_extension(shell: Any) -> None:
    """Begin; does nothing where this is no seat, or Ray is there."""
    if not lent() or has_ray():
        return
    cells = SeatCells(recorded(REPO / "notebooks"))
    shell.user_ns["__labkit_seat_cells__"] = cells
    shell.input_transformers_post.append(cells.transform)
