"""The scheduler toy as a page: Ray's batches over continuous batching, step by step.

The page plays in the browser, without a kernel and without a network. It knows nothing of a job or
an engine; its rules, and their assumptions, are those of `labkit.scheduling`.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import LabError

PAGE = Path(__file__).with_suffix(".html")
SENTENCE = (
    "The scheduler toy: an interactive page that shows, step by step, how Ray's batches fill the "
    "engine's places. Run its cell in JupyterLab to play with it; "
    "labkit.scheduling.schedule(…) gives the same numbers."
)
#: Until the page has said how tall it is, in CSS pixels: its own height at a notebook's width.
HEIGHT = 960


@dataclass(frozen=True)
class SchedulerToy:
    """The page in a frame of a notebook. height: in CSS pixels; None: as tall as its content."""

    height: int | None = None

    def _repr_html_(self) -> str:
        """A frame with the whole page in it. Where frames are not shown, its sentence is left."""
        fit = "none" if self.height else "content"
        return (
            f'<iframe title="Scheduler toy: Ray\'s batches over continuous batching" '
            f'data-fit="{fit}" style="width: 100%; height: {self.height or HEIGHT}px; border: 0" '
            f'srcdoc="{html.escape(PAGE.read_text(encoding="utf-8"))}">{SENTENCE}</iframe>'
        )

    def __repr__(self) -> str:
        return SENTENCE


def scheduler_toy(height: int | None = None) -> SchedulerToy:
    """The scheduler toy, for a cell's last line: sliders, and a job that is walked step by step.

    height: of its frame, in CSS pixels; left out, it is as tall as its content. A page of a
    notebook that was saved or exported (`jupyter nbconvert --to html`) plays, too.
    """
    if height is not None and (isinstance(height, bool) or not isinstance(height, int)):
        raise LabError(f"height must be a whole number of pixels, such as 900, not {height!r}.")
    if height is not None and height < 200:
        raise LabError(f"A height of {height} pixels shows nothing: give 200 or more.")
    return SchedulerToy(height)
