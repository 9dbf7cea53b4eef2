"""Every request, tail included: the share of requests that took at most a given time, per arm.

The axis of shares is logit-scaled, which gives the slowest hundredth as much room as the middle.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from sidelab.bench.judge import statistics
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import footer
from sidelab.bench.report.figures.once import once
from sidelab.bench.report.figures.sheet import Medium, across, arm_handles, headed

_POINTS: Final = 200
_SHARES: Final = (0.0001, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999)


class Curve(NamedTuple):
    """One line: the number of requests, and for each share of them the longest time that they took."""

    n: int
    values_us: np.ndarray
    shares: np.ndarray


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw a panel per kind of connection: total time against the share of requests, a line per arm."""
    run, plan = found.run, found.run.plan
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
    curves = _curves(run.samples)
    for (axes, width_in), connection in zip(made, plan.connections, strict=True):
        own = {name: curves[name, connection] for name in style.looks(plan) if (name, connection) in curves}
        _panel(axes, own, style.looks(plan))
        ends = [us for curve in own.values() for us in (curve.values_us[0], curve.values_us[-1])]
        scales.logarithmic(axes, "x", scales.decades(ends), width_in)
    return sheet.finish(footer(found))


@once
def _curves(samples: pd.DataFrame) -> dict[tuple[str, str], Curve]:
    """Compute a line for each arm and kind of connection with at least one answer."""
    measured = statistics.measured(samples)
    found = {}
    for (arm, connection), rows in measured.groupby(["arm", "connection"], observed=True):
        totals_us = rows["total_us"].dropna().to_numpy(dtype=float)
        if totals_us.size:
            found[str(arm), str(connection)] = _curve(totals_us)
    return found


def _curve(totals_us: np.ndarray) -> Curve:
    """Go from the fastest request to the slowest, with the points spread evenly over the axis."""
    n = totals_us.size
    ends = np.log(2 * n - 1)  # the logit of the last plotting position, (n - 0.5) / n
    shares = 1 / (1 + np.exp(-np.linspace(-ends, ends, min(_POINTS, n))))
    return Curve(n, np.quantile(totals_us, shares, method="hazen"), shares)


def _panel(axes: Axes, curves: Mapping[str, Curve], looks: Mapping[str, style.Look]) -> None:
    for name, curve in curves.items():
        look = looks[name]
        axes.plot(curve.values_us, curve.shares, color=look.colour, linestyle=look.dash, linewidth=1.8)
    most = max([2, *(curve.n for curve in curves.values())])
    axes.set_yscale("logit")
    edge = 0.4 / most
    axes.set_ylim(edge, 1 - edge)
    shown = [share for share in _SHARES if edge < share < 1 - edge]
    axes.set_yticks(shown, [f"{100 * share:.6g} %" for share in shown], fontsize=scales.TICK_SIZE)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
