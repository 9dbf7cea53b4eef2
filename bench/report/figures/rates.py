"""Open loop: how latency grows with the rate that is asked for, and what the proxies spend; or, at one rate, by arm."""

from matplotlib.figure import Figure

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.report.figures import rate_lines, rate_rows
from sidelab.bench.report.figures.sheet import Medium


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw lines against the rate where there are several rates, else a row per arm."""
    draw = rate_lines.figure if found.run.rates["rate_per_s"].nunique() > 1 else rate_rows.figure
    return draw(found, medium)
