"""Figures of a run, drawn from its files alone: equal files and an equal matplotlib give equal bytes.

Only matplotlib's objects are used, never pyplot: no state, no display, no window.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge.decomposition import Term
from sidelab.bench.judge.ratios import Row
from sidelab.bench.record.reader import Run
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


def draw(
    run: Run,
    summary: pd.DataFrame,
    compared: Sequence[Row],
    terms: Sequence[Term],
    caveats: tuple[Caveat, ...],
    directory: Path,
) -> list[Drawn]:
    """Draw every figure that the run has data for into `directory`, and return them, the main figure first.

    Each is written as SVG, on light and on dark ground, and as PNG: `overhead`, `waterfall` (of `terms`), `scaling`,
    `phases`, `ecdf`, `ratios` (of what is `compared`) and `rates`.
    """
    figures: dict[str, Callable[[Medium], Figure]] = {
        "overhead": lambda medium: overhead.figure(run, summary, caveats, medium)
    }
    if terms:
        figures["waterfall"] = lambda medium: waterfall.figure(run, terms, summary, caveats, medium)
    if scaling.series(run.plan):
        figures["scaling"] = lambda medium: scaling.figure(run, summary, caveats, medium)
    figures["phases"] = lambda medium: phases.figure(run, summary, caveats, medium)
    figures["ecdf"] = lambda medium: ecdf.figure(run, caveats, medium)
    if compared:
        figures["ratios"] = lambda medium: ratios_figure.figure(run, compared, caveats, medium)
    if len(run.rates):
        figures["rates"] = lambda medium: rates.figure(run, run.rates, caveats, medium)
    with drawing():
        return [
            Drawn(name, save(make(FILE), directory / name), adaptive(make(WIDE)), adaptive(make(NARROW)))
            for name, make in figures.items()
        ]


def draw_history(runs: Sequence[history_figure.Past], left_out: Sequence[str], stem: Path) -> list[Path]:
    """Draw runs of one plan over time into `stem`.svg and `stem`.png, and return the paths."""
    with drawing():
        return save(history_figure.figure(runs, left_out, FILE), stem)
