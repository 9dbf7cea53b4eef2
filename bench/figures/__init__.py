"""Figures of a run, drawn from its files alone: equal files and an equal matplotlib give equal bytes.

Only matplotlib's objects are used, never pyplot: no state, no display, no window.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd

from bench.caveats import Caveat
from bench.decomposition import Term
from bench.figures import ecdf, history, overhead, phases, rates, ratios, scaling, waterfall
from bench.figures.style import RC, save
from bench.ratios import Row
from bench.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    run: Run,
    summary: pd.DataFrame,
    compared: Sequence[Row],
    terms: Sequence[Term],
    caveats: tuple[Caveat, ...],
    directory: Path,
) -> list[Path]:
    """Draw every figure that the run has data for into `directory`, and return the paths, the main figure first.

    Each is written as SVG and as PNG: `overhead`, `waterfall` (of `terms`), `scaling`, `phases`, `ecdf`, `ratios` (of
    what is `compared`) and `rates`.
    """
    figures: dict[str, Callable[[], Figure]] = {"overhead": lambda: overhead.figure(run, summary, caveats)}
    if terms:
        figures["waterfall"] = lambda: waterfall.figure(run, terms, summary, caveats)
    if scaling.series(run.plan):
        figures["scaling"] = lambda: scaling.figure(run, summary, caveats)
    figures["phases"] = lambda: phases.figure(run, summary, caveats)
    figures["ecdf"] = lambda: ecdf.figure(run, caveats)
    if compared:
        figures["ratios"] = lambda: ratios.figure(run, compared, caveats)
    if len(run.rates):
        figures["rates"] = lambda: rates.figure(run, run.rates, caveats)
    with mpl.rc_context(RC):
        return [path for name, make in figures.items() for path in save(make(), directory / name)]


def draw_history(runs: Sequence[history.Past], left_out: Sequence[str], stem: Path) -> list[Path]:
    """Draw runs of one plan over time into `stem`.svg and `stem`.png, and return the paths."""
    with mpl.rc_context(RC):
        return save(history.figure(runs, left_out), stem)
