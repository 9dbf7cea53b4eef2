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

_COLOURS: Final = (
    style.BLACK,
    style.GREY,
    style.SKY,
    style.BLUE,
    style.ORANGE,
    style.VERMILION,
    style.GREEN,
    style.PURPLE,
)
_STYLES: Final = ("-", "--", "-.", ":")
_POINTS: Final = 200
_SHARES: Final = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)


def figure(run: Run, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw a panel per kind of connection: total time against the share of requests, a line per arm."""
    plan = run.plan
    foot = style.footer(run, caveats)
    result, grid = style.canvas(run, len(plan.connections), 5.2, foot, share_y=True)
    result.subplots_adjust(left=0.065)
    rows = statistics.measured(run.samples)
    for axes, connection in zip(grid, plan.connections, strict=True):
        chosen = rows[rows["connection"] == connection]
        for number, arm in enumerate(plan.arms):
            totals_us = chosen.loc[chosen["arm"] == arm.name, "total_us"].dropna().to_numpy(dtype=float)
            if totals_us.size:
                _line(axes, totals_us, number, arm.name)
        _axis(axes)
        axes.set_title(style.CONNECTION_TITLE[connection])
    grid[0].set_ylabel("share of requests this fast (logit scale)")
    handles, labels = grid[0].get_legend_handles_labels()
    result.legend(
        handles,
        labels,
        loc="upper right",
        bbox_to_anchor=(0.985, 1 - 0.1 / result.get_figheight()),
        ncols=min(len(labels), 6),
        frameon=False,
        fontsize=10,
        handlelength=2.6,
    )
    style.headline(
        result, run, "How long every request took", "total time, all lab builds together, no request left out"
    )
    return result


def _line(axes: Axes, totals_us: np.ndarray, number: int, name: str) -> None:
    """Draw one arm from its fastest request to its slowest, with the points spread evenly over the axis."""
    n = totals_us.size
    ends = np.log(2 * n - 1)  # the logit of the last plotting position, (n - 0.5) / n
    shares = 1 / (1 + np.exp(-np.linspace(-ends, ends, min(_POINTS, n))))
    values_us = np.quantile(totals_us, shares, method="hazen")
    axes.plot(
        values_us,
        shares,
        label=name,
        color=_COLOURS[number % len(_COLOURS)],
        linestyle="--" if number == 1 else _STYLES[number // len(_COLOURS) % len(_STYLES)],
        linewidth=1.8,
    )


def _axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low_us, high_us = axes.get_xlim()
    ticks = [factor * 10.0**power for power in range(8) for factor in (1, 2, 5)]
    shown = [tick for tick in ticks if low_us <= tick <= high_us]
    axes.set_xticks(shown, [f"{tick:,.0f}" for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("logit")
    axes.set_yticks(list(_SHARES), [f"{100 * share:g} %" for share in _SHARES])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color=style.PALE, linewidth=0.6)
    axes.set_xlabel("total time of a request in µs (logarithmic)")
