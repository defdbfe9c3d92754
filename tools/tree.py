"""The tree of the package, a line on each file, of docs/architecture.md: `python -m tools.tree`."""

from __future__ import annotations

import ast
from pathlib import Path

from labkit.paths import REPO

PAGE = REPO / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: made by `python -m tools.tree` -->\n", "<!-- end of the tree -->"


def line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    words = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
    return words.replace("\n", " ").split(". ")[0].rstrip(".")


def tree(folder: Path) -> str:
    """A list in Markdown: files of the folder, then its rooms with their files."""
    rows = [f"- `{file.name}` – {line(file)}" for file in _files(folder)]
    for room in sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file()):
        rows.append(f"- **`{room.name}/`** {line(room / '__init__.py')}")
        rows += [f"  - `{file.name}` – {line(file)}" for file in _files(room)]
    return "\n".join(rows) + "\n"


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.py")) if file.name[0] != "_"]


def page() -> str:
    """docs/architecture.md as it should be."""
    before, rest = PAGE.read_text().split(BEGIN)
    return f"{before}{BEGIN}\n{tree(REPO / 'labkit')}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page())
