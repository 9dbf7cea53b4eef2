"""Open loop: how latency grows with the requested rate, and what the proxies use; or, at a single rate, by arm."""

from matplotlib.figure import Figure

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.report.figures import rate_lines, rate_rows
from sidelab.bench.report.figures.sheet import Medium


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw lines against the rate if there are several rates, else a row per arm."""
    draw = rate_lines.figure if found.run.rates["rate_per_s"].nunique() > 1 else rate_rows.figure
    return draw(found, medium)
