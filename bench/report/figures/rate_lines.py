"""Open loop at several rates: how latency grows with the requested rate, and what the proxies use."""

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.record.openloop_caveats import KEPT_UP
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import footer
from sidelab.bench.report.figures.openloop_estimates import Quantity, load, spread
from sidelab.bench.report.figures.sheet import Medium, across, arm_handles, headed

_LINES: Final = (
    Quantity("p50_us", "half of the requests", "p50 in µs"),
    Quantity("p99_us", "99 of 100 requests", "p99 in µs"),
    Quantity("cpu_s_per_1000", "proxies' CPU", "ms per 1000", 1e-3),
)


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw a panel per quantity and a line per arm against the rate."""
    run, rates = found.run, found.run.rates
    shown = [quantity for quantity in _LINES if (rates[quantity.column] > 0).any()]
    reached = (
        f"Hollow: less than {100 * KEPT_UP:g} % of the rate was answered. Whiskers: 95 % interval over lab builds."
    )
    sheet = headed(
        medium,
        run,
        "Latency against rate",
        "open loop, latency from the intended start of each request; mean over builds",
    )
    foot = footer(found, reached, load=load(rates))
    if not shown:
        sheet.down_in += 0.2
        sheet.text("Not measured: no arm finished at any of these rates.", size=11, bold=True)
        return sheet.finish(foot)
    sheet.key(arm_handles(run.plan, markers=True))
    titles = [f"{quantity.title}: {quantity.label}" for quantity in shown]
    height_in = 2.8 if medium.stacked else 3.6
    made = across(sheet, titles, height_in=height_in, below="requests per second asked for (logarithmic)")
    for (axes, width_in), quantity in zip(made, shown, strict=True):
        _against_rate(axes, rates, quantity, style.looks(run.plan), (width_in, height_in))
    return sheet.finish(foot)


def _against_rate(
    axes: Axes, rates: pd.DataFrame, quantity: Quantity, looks: dict[str, style.Look], size_in: tuple[float, float]
) -> None:
    reached = [value for name, look in looks.items() for value in _line(axes, rates, name, quantity, look)]
    if quantity.column.endswith("_us"):
        scales.logarithmic(axes, "y", scales.decades(reached), size_in[1])
    else:
        scales.linear(axes, "y", (0.0, 1.1 * max(reached, default=1.0)), size_in[1])
    asked = sorted(float(rate) for rate in rates["rate_per_s"].unique())
    low, high = scales.decades(asked)
    scales.logarithmic(axes, "x", (low, high), size_in[0])
    labels = [f"{rate / 1000:g}k" if rate >= 1000 else f"{rate:g}" for rate in asked]
    places_in = [size_in[0] * math.log(rate / low) / math.log(high / low) for rate in asked]
    kept = scales.thinned(places_in, labels, size_in[0])
    axes.set_xticks([asked[each] for each in kept], [labels[each] for each in kept], fontsize=scales.TICK_SIZE)


def _line(axes: Axes, rates: pd.DataFrame, arm: str, quantity: Quantity, look: style.Look) -> list[float]:
    """Draw one arm, and return the values that the axis has to hold."""
    own = rates[rates["arm"] == arm]
    asked = sorted(own["rate_per_s"].unique())
    found = np.array([spread(rates, arm, rate, quantity.column) for rate in asked]).reshape(-1, 3) / quantity.per
    if not (found[:, 0] > 0).any():
        return []
    axes.plot(asked, found[:, 0], color=look.colour, linestyle=look.dash, linewidth=1.8, zorder=2)
    reached = []
    for rate, (mean, low, high) in zip(asked, found, strict=True):
        reached.append(float(mean))
        # A logarithmic axis cannot show an interval that reaches below 0, so it is cut at a tenth of the mean, and at
        # ten times the mean if it reaches further.
        if not np.isnan(low):
            ends = [max(low, mean / 10), min(high, 10 * mean)]
            axes.plot([rate, rate], ends, color=look.colour, linewidth=1.2, zorder=3)
            reached += map(float, ends)
        achieved = float(own.loc[own["rate_per_s"] == rate, "achieved_per_s"].mean())
        fill = look.colour if achieved >= KEPT_UP * rate else style.WHITE
        shape: dict[str, Any] = {"marker": look.marker, "markersize": 6, "mew": 1.5, "linestyle": ""}
        axes.plot([rate], [mean], color=look.colour, markerfacecolor=fill, zorder=4, **shape)
    return [value for value in reached if np.isfinite(value) and value > 0]
