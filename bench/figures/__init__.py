"""Figures of a run, drawn from its files alone: equal files and an equal matplotlib give equal bytes.

Only matplotlib's objects are used, never pyplot: no state, no display, no window.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from bench.caveats import Caveat
from bench.figures import ecdf, overhead, phases, ratios
from bench.figures.style import RC, save
from bench.ratios import Row
from bench.reader import Run


def draw(
    run: Run, summary: pd.DataFrame, compared: Sequence[Row], caveats: tuple[Caveat, ...], directory: Path
) -> list[Path]:
    """Draw every figure of a run into `directory`, as SVG and PNG, and return their paths, the main figure first.

    `compared` are the plan's ratios; without any there is no figure of them.
    """
    with mpl.rc_context(RC):
        figures = {
            "overhead": overhead.figure(run, summary, caveats),
            "phases": phases.figure(run, summary, caveats),
            "ecdf": ecdf.figure(run, caveats),
        }
        if compared:
            figures["ratios"] = ratios.figure(run, compared, caveats)
        return [path for name, figure in figures.items() for path in save(figure, directory / name)]
