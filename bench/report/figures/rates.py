"""Open loop: how latency grows with the rate that is asked for, and what the proxies spend; or, at one rate, by arm."""

import pandas as pd
from matplotlib.figure import Figure

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.record.reader import Run
from sidelab.bench.report.figures import rate_lines, rate_rows
from sidelab.bench.report.figures.sheet import Medium


def figure(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...], medium: Medium) -> Figure:
    """Draw lines against the rate where there are several rates, else a row per arm.

    `rates` has the columns of `bench.base.samples.RateSample`; NaN or a negative value is unknown.
    """
    asked = sorted(rates["rate_per_s"].unique())
    draw = rate_lines.figure if len(asked) > 1 else rate_rows.figure
    return draw(run, rates, caveats, medium)
