"""Figures of a run, drawn from its files alone: equal files and an equal matplotlib give equal bytes.

Only matplotlib's objects are used, never pyplot: no state, no display, no window.
"""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

from bench.caveats import Caveat
from bench.figures import ecdf, overhead, phases
from bench.figures.style import RC, save
from bench.reader import Run


def draw(run: Run, summary: pd.DataFrame, caveats: tuple[Caveat, ...], directory: Path) -> list[Path]:
    """Draw every figure of a run into `directory`, as SVG and PNG, and return their paths, the main figure first."""
    with mpl.rc_context(RC):
        figures = {
            "overhead": overhead.figure(run, summary, caveats),
            "phases": phases.figure(run, summary, caveats),
            "ecdf": ecdf.figure(run, caveats),
        }
        return [path for name, figure in figures.items() for path in save(figure, directory / name)]
