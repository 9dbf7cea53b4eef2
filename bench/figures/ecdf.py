"""Every request, tail included: the share of requests that took at most so long, per arm.

The axis of shares is a logit one, which gives the slowest hundredth as much room as the middle.
"""

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from bench import statistics
from bench.caveats import Caveat
from bench.figures import scales, style
from bench.figures.foot import footer
from bench.figures.sheet import Medium, across, arm_handles, headed
from bench.reader import Run

_POINTS: Final = 200
_SHARES: Final = (0.0001, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999)


def figure(run: Run, caveats: tuple[Caveat, ...], medium: Medium) -> Figure:
    """Draw a panel per kind of connection: total time against the share of requests, a line per arm."""
    plan = run.plan
    sheet = headed(
        medium,
        run,
        "How long every request took",
        "share of requests this fast (logit scale); total time, all lab builds together, no request left out",
    )
    sheet.key(arm_handles(plan))
    titles = [style.CONNECTION_TITLE[connection] for connection in plan.connections]
    height_in = 3.2 if medium.stacked else 3.9
    made = across(sheet, titles, height_in=height_in, left_in=0.62, below="total time of a request in µs (logarithmic)")
    rows = statistics.measured(run.samples)
    for (axes, width_in), connection in zip(made, plan.connections, strict=True):
        chosen = rows[rows["connection"] == connection]
        _panel(axes, chosen, style.looks(plan))
        scales.logarithmic(axes, "x", scales.decades(chosen["total_us"].to_numpy(dtype=float)), width_in)
    return sheet.finish(footer(run, caveats))


def _panel(axes: Axes, chosen: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    most = 2
    for name, look in looks.items():
        totals_us = chosen.loc[chosen["arm"] == name, "total_us"].dropna().to_numpy(dtype=float)
        if totals_us.size:
            _line(axes, totals_us, look)
            most = max(most, totals_us.size)
    axes.set_yscale("logit")
    edge = 0.4 / most
    axes.set_ylim(edge, 1 - edge)
    shown = [share for share in _SHARES if edge < share < 1 - edge]
    axes.set_yticks(shown, [f"{100 * share:.6g} %" for share in shown], fontsize=scales.TICK_SIZE)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, totals_us: np.ndarray, look: style.Look) -> None:
    """Draw one arm from its fastest request to its slowest, with the points spread evenly over the axis."""
    n = totals_us.size
    ends = np.log(2 * n - 1)  # the logit of the last plotting position, (n - 0.5) / n
    shares = 1 / (1 + np.exp(-np.linspace(-ends, ends, min(_POINTS, n))))
    values_us = np.quantile(totals_us, shares, method="hazen")
    axes.plot(values_us, shares, color=look.colour, linestyle=look.dash, linewidth=1.8)
