"""Figures of a run, drawn from its files alone: equal files and an equal matplotlib give equal bytes.

They use matplotlib's objects, never pyplot: no global state, no display, no window.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.report.figures import (
    ecdf,
    history_figure,
    overhead,
    phases,
    rates,
    ratios_figure,
    scaling,
    waterfall,
)
from sidelab.bench.report.figures.figure_files import adaptive, save
from sidelab.bench.report.figures.sheet import FILE, NARROW, WIDE, Medium
from sidelab.bench.report.figures.style import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawn(NamedTuple):
    """One figure: its files, and the SVGs that the page shows on a wide screen and on a narrow one."""

    name: str
    paths: Sequence[Path]
    wide: str
    narrow: str


def draw(found: Analysis, directory: Path) -> list[Drawn]:
    """Draw every figure that the run has data for into `directory`, and return them, the main figure first.

    Each is written as SVG, on a light and on a dark background, and as PNG: `overhead`, `waterfall`, `scaling`,
    `phases`, `ecdf`, `ratios` and `rates`.
    """
    figures: dict[str, Callable[[Analysis, Medium], Figure]] = {"overhead": overhead.figure}
    if found.terms:
        figures["waterfall"] = waterfall.figure
    if scaling.series(found.run.plan):
        figures["scaling"] = scaling.figure
    figures |= {"phases": phases.figure, "ecdf": ecdf.figure}
    if found.ratios:
        figures["ratios"] = ratios_figure.figure
    if len(found.run.rates):
        figures["rates"] = rates.figure
    with drawing():
        return [
            Drawn(
                name,
                save(make(found, FILE), directory / name),
                adaptive(make(found, WIDE)),
                adaptive(make(found, NARROW)),
            )
            for name, make in figures.items()
        ]


def draw_history(runs: Sequence[history_figure.Past], left_out: Sequence[str], stem: Path) -> list[Path]:
    """Draw runs of one plan over time into `stem`.svg and `stem`.png, and return the paths."""
    with drawing():
        return save(history_figure.figure(runs, left_out, FILE), stem)
