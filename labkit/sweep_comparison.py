"""Sweeps side by side: the curves of several files on one chart, their table, one sentence."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labkit.charts.compare_charts import curves
from labkit.charts.style import Chart
from labkit.errors import LabError, lab_errors
from labkit.pages.html_table import show
from labkit.pages.page import Page
from labkit.results.curve import Curve, of_sweep
from labkit.results.sweep_result import NOISE, RATE, Sweep, check_rate


@dataclass(frozen=True)
class SweepComparison:
    """Curves by name, in their order. sweeps: as they were read.

    A notebook shows the chart.
    """

    sweeps: tuple[tuple[str, Sweep], ...]
    curves: tuple[tuple[str, Curve], ...]

    def table(self) -> pd.DataFrame:
        """A row a sweep: where it was measured, its best point, and how many times its own first
        point that is."""
        rows = []
        for name, one in self.curves:
            first, best = one.points[0], max(one.points, key=lambda point: point[1])
            rows.append(
                {
                    "sweep": name,
                    "device": one.device,
                    "model": one.model,
                    "task": one.task,
                    f"best {one.rate}": round(best[1], 0 if best[1] >= 100 else 1),
                    "rows in flight": best[0],
                    "times its first point": round(best[1] / first[1], 1) if first[1] else None,
                }
            )
        return pd.DataFrame(rows).set_index("sweep")

    def sentence(self) -> str:
        """Which is fastest and by how much, and what makes them hard to compare."""
        tops = {name: max(point[1] for point in one.points) for name, one in self.curves}
        (best, most), *others = sorted(tops.items(), key=lambda one: -one[1])
        rate = self.curves[0][1].rate
        said = f"{best}: up to {most:,.0f} {rate}"
        if others:
            least, rest = others[-1]
            near = [name for name, top in others if top >= (1 - NOISE) * most]
            said += f"; {least}: {rest:,.0f}"
            said += f", {rest / most:.0%} of it" if most else ""
            if near:
                said += f". {', '.join(near)} can't be told from it: runs differ by a fifth"
        return f"{said}.{self._warning()}"

    def _warning(self) -> str:
        """What differs between the sweeps besides the device."""
        what = {"task": set[str](), "model": set[str]()}
        for _, one in self.curves:
            what["task"].add(one.task)
            what["model"].add(one.model)
        differ = [name for name, values in what.items() if len(values) > 1]
        rows = {str(sweep.provenance.get("rows_sha256", "")) for _, sweep in self.sweeps}
        differ += ["rows"] if len(rows) > 1 and not differ else []
        return f" They differ in more than the device ({', '.join(differ)})." if differ else ""

    def chart(self) -> Chart:
        """All curves: a line each, by device a bold one of their medians."""
        places = dict.fromkeys(
            f"{'recorded' if one.recorded else 'measured'} on {one.device} · {one.model} · task "
            f"{one.task}"
            for _, one in self.curves
        )
        small = [*list(places)[:6], *(["…"] if len(places) > 6 else [])]
        warning = self._warning().strip()
        return curves(self.curves, "\n".join([*small, *([warning] if warning else [])]))

    def page(self) -> Page:
        """A page with chart, sentence and table: `.page().save("compared.html")`."""
        page = Page("Sweeps side by side", self.sentence()).chart(self.chart())
        page.section("As a table").table(self.table())
        page.section("How each was measured")
        for name, sweep in self.sweeps:
            page.text(f"{name}: {' '.join(sweep.caption().split())}", kind="small")
        return page

    def _repr_html_(self) -> str:
        return (
            f"{self.chart()._repr_mimebundle_()[0]['text/html']}{show(self.table())._repr_html_()}"
        )

    def __repr__(self) -> str:
        return self.sentence()


@lab_errors("The sweeps could not be compared")
def compare_sweeps(*sweeps: str | Path | Sweep, rate: str = RATE) -> SweepComparison:
    """Put sweeps side by side, whoever measured them.

    sweeps: files of `labkit.sweep(…, path=…)` or `labkit sweep --out`, or `Sweep`s. A file is
    called by its name, with its folder where two have the same one. rate: 'output tokens/s' or
    'rows/s'.

    Raises LabError for a file that is no sweep, or holds no run, by its name.
    """
    check_rate(rate)
    if not sweeps:
        raise LabError("Give at least one sweep: a file of labkit.sweep(…, path=…), or a Sweep.")
    files = [Path(one) for one in sweeps if isinstance(one, str | os.PathLike)]
    found, drawn = list[tuple[str, Sweep]](), list[tuple[str, Curve]]()
    for number, one in enumerate(sweeps, 1):
        if isinstance(one, Sweep):
            name, sweep = f"sweep {number}", one
        elif isinstance(one, str | os.PathLike):
            name, sweep = _name(Path(one), files), Sweep.load(one)
        else:
            raise LabError(f"A sweep or its file is wanted, not {type(one).__name__}.")
        try:
            made = of_sweep(sweep, rate=rate)
            sweep.caption()
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise LabError(
                f"{name} is not a sweep of this lab (it lacks {problem}): give another file."
            ) from problem
        if made is None:
            raise LabError(f"{name} has no point with {rate}: no row of it was answered.")
        names = [known for known, _ in found]
        name = name if name not in names else f"{name} ({number})"
        found.append((name, sweep))
        drawn.append((name, made))
    return SweepComparison(tuple(found), tuple(drawn))


def _name(file: Path, files: list[Path]) -> str:
    """What a file is called: its name, with its folder where another is called alike."""
    alike = len({other for other in files if other.stem == file.stem}) > 1
    return f"{file.parent.name}/{file.stem}" if alike and file.parent.name else file.stem
