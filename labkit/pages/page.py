"""One page of HTML for reading, whole in itself: no script, no network, nothing to fetch.

A title, and sections of text, facts, tables, pictures and code. Whatever is put in is escaped: it
may be a model's answer, or a stranger's row. Knows nothing of jobs: see `job_report` for one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Protocol, Self

import pandas as pd

from labkit.errors import LabError, reason
from labkit.pages.html_table import show
from labkit.paths import full_path

#: The look: one column that fits a phone and a projector; wide tables scroll inside themselves.
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: #fff;
  color: #1c2733; font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; color: #1b3a5c; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; color: #1b3a5c;
  border-top: 2px solid #c9dcec; }
p { margin: .5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
p.lead { font-size: 1.1rem; }
p.small { font-size: .875rem; color: #5f5f5f; }
p.warning { padding: .6rem .8rem; border-left: 4px solid #b8324a; background: #fbf1f3; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem;
  margin: 1rem 0; }
dl > div { padding: .6rem .8rem; background: #eff5fa; border-radius: .4rem; min-width: 0; }
dt { font-size: .875rem; color: #48596b; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; color: #1b3a5c; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #dfe7ee; }
thead th { border-bottom: 2px solid #5b8db8; white-space: nowrap; }
td { min-width: 4rem; max-width: 30rem !important; }
figure { margin: 1rem 0; overflow-x: auto; } img { max-width: 100%; height: auto; }
pre { margin: .6rem 0; padding: .8rem; background: #f5f7f9; border-radius: .4rem; max-width: 100%;
  font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .8rem 0; } summary { cursor: pointer; color: #1b3a5c; font-weight: 600; }
@media (max-width: 40rem) { body { font-size: .95rem; } h1 { font-size: 1.4rem; }
  dl { grid-template-columns: 1fr 1fr; } table { width: max-content; }
  td { max-width: 16rem !important; }
  img { max-width: none; width: 36rem; } }
@media print { body { max-width: none; } details { display: block; } }
"""


class Picture(Protocol):
    """What draws itself, such as `charts.Chart`: a PNG, and what it shows in words."""

    @property
    def alt(self) -> str:
        """What it shows, for those who can't see it."""

    def png(self) -> bytes:
        """The picture."""


class Page:
    """A page that is put together from the top: each method adds to its end and returns the page.

    title: its heading. lead: one sentence below it.
    """

    def __init__(self, title: str, lead: str = ""):
        self.title = title
        self.parts = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self.parts.append(f'<p class="lead">{escape(lead)}</p>')

    def section(self, title: str) -> Self:
        """A heading; what follows is below it."""
        return self._add(f"<h2>{escape(title)}</h2>")

    def text(self, words: str, *, kind: str = "") -> Self:
        """Paragraphs (blank lines part them). kind: '', 'small' or 'warning'."""
        if kind not in ("", "small", "warning"):
            raise LabError(f"kind must be '', 'small' or 'warning', not {kind!r}.")
        start = f'<p class="{kind}">' if kind else "<p>"
        paragraphs = [some for some in words.split("\n\n") if some.strip()]
        return self._add(*(f"{start}{escape(some)}</p>" for some in paragraphs))

    def facts(self, facts: Mapping[str, Any]) -> Self:
        """A few numbers or words, each with its name, large."""
        cells = [
            f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
            for name, value in facts.items()
        ]
        return self._add(f"<dl>{''.join(cells)}</dl>")

    def table(self, frame: pd.DataFrame, *, folded: str = "") -> Self:
        """A table, as `labkit.show` has it. folded: hidden below these words until it is opened."""
        table = f'<div class="wide" tabindex="0">{show(frame)._repr_html_()}</div>'
        if folded:
            table = f"<details><summary>{escape(folded)}</summary>{table}</details>"
        return self._add(table)

    def chart(self, picture: Picture) -> Self:
        """A picture, with its words for those who can't see it."""
        data = base64.b64encode(picture.png()).decode()
        alt = escape(picture.alt)
        return self._add(f'<figure><img src="data:image/png;base64,{data}" alt="{alt}"></figure>')

    def code(self, text: str, *, folded: str = "") -> Self:
        """Text as it is: a prompt, a command, JSON. folded: as in `table`."""
        code = f"<pre>{escape(text)}</pre>"
        if folded:
            code = f"<details><summary>{escape(folded)}</summary>{code}</details>"
        return self._add(code)

    def html(self) -> str:
        """The whole page."""
        body = "\n".join(self.parts)
        # Nothing may be fetched or run, whatever the parts hold.
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n"
            f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> None:
        """Write it to a file. Raises LabError where that can't be done."""
        file = full_path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.html().encode("utf-8", "backslashreplace"))
        except OSError as problem:
            raise LabError(f"The page {path} can't be written: {reason(problem)}.") from problem

    def _repr_html_(self) -> str:
        return "\n".join(self.parts)

    def _add(self, *parts: str) -> Self:
        self.parts += parts
        return self
