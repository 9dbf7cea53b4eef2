"""Every request, tail included: the share of requests that took at most so long, per arm.

The axis of shares is a logit one, which gives the slowest hundredth as much room as the middle.
"""

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench import statistics
from bench.caveats import Caveat
from bench.figures import style
from bench.reader import Run

_POINTS: Final = 200
_SHARES: Final = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)


def figure(run: Run, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw a panel per kind of connection: total time against the share of requests, a line per arm."""
    plan = run.plan
    foot = style.footer(run, caveats)
    size = style.legend_rows([arm.name for arm in plan.arms])
    result, grid = style.canvas(run, len(plan.connections), 5.2, foot, share_y=True, rows_of_legend=size)
    result.subplots_adjust(left=0.065)
    rows = statistics.measured(run.samples)
    for axes, connection in zip(grid, plan.connections, strict=True):
        chosen = rows[rows["connection"] == connection]
        for name, look in style.looks(plan).items():
            totals_us = chosen.loc[chosen["arm"] == name, "total_us"].dropna().to_numpy(dtype=float)
            if totals_us.size:
                _line(axes, totals_us, look)
        _axis(axes)
        axes.set_title(style.CONNECTION_TITLE[connection])
    grid[0].set_ylabel("share of requests this fast (logit scale)")
    style.arm_legend(result, run)
    style.headline(
        result, run, "How long every request took", "total time, all lab builds together, no request left out"
    )
    return result


def _line(axes: Axes, totals_us: np.ndarray, look: style.Look) -> None:
    """Draw one arm from its fastest request to its slowest, with the points spread evenly over the axis."""
    n = totals_us.size
    ends = np.log(2 * n - 1)  # the logit of the last plotting position, (n - 0.5) / n
    shares = 1 / (1 + np.exp(-np.linspace(-ends, ends, min(_POINTS, n))))
    values_us = np.quantile(totals_us, shares, method="hazen")
    axes.plot(values_us, shares, color=look.colour, linestyle=look.dash, linewidth=1.8)


def _axis(axes: Axes) -> None:
    style.logarithmic(axes, "x")
    axes.set_yscale("logit")
    axes.set_yticks(list(_SHARES), [f"{100 * share:g} %" for share in _SHARES])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color=style.PALE, linewidth=0.6)
    axes.set_xlabel("total time of a request in µs (logarithmic)")
