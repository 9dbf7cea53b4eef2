"""Several runs of one plan: each arm's overhead over time, and where what was measured with changed."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from bench.figures import style
from bench.reader import Run
from bench.summary import rows
from bench.verdict import Verdict

_LINEAR_US: Final = 5.0
_TICKS_US: Final = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000)
_DATES: Final = 12


class Past(NamedTuple):
    """One run of the history: what it says of total times, and how it differs from the run before it (or '')."""

    run: Run
    summary: pd.DataFrame
    change: str


def figure(runs: Sequence[Past], left_out: Sequence[str]) -> Figure:
    """Draw a panel per kind of connection with a line per arm, oldest run first; the runs have one plan.

    `left_out` says what is missing from the picture, for the foot.
    """
    newest = runs[-1].run
    plan = newest.plan
    changes = [f"run {number}: {past.change}" for number, past in enumerate(runs, 1) if past.change]
    rebuilds = sorted({past.run.samples["rebuild"].nunique() for past in runs})
    builds = " to ".join(map(str, dict.fromkeys((rebuilds[0], rebuilds[-1]))))
    foot = style.wrapped(
        f"{len(runs)} runs of plan {plan.name} ({plan.digest[:12]}), {builds} lab builds each, "
        "evenly spaced whatever time lies between them. Each point is an overhead within its own run: both arms in the "
        "same minute on the same machine.",
        f"Dotted: the means changed. {'; '.join(changes)}." if changes else "The means of measuring stayed the same.",
        *left_out,
    )
    labels = [arm.name for arm in plan.arms] + [str(each.get_label()) for each in _more()]
    size = style.legend_rows([label for label in labels if label not in (plan.reference, plan.twin)])
    result, grid = style.canvas(newest, len(plan.connections), 5.4, foot, share_y=True, rows_of_legend=size)
    result.subplots_adjust(left=0.065)
    for axes, connection in zip(grid, plan.connections, strict=True):
        tables = [rows(past.summary) for past in runs]
        for name, look in style.looks(plan).items():
            if name not in (plan.reference, plan.twin):
                _line(axes, [table[name, connection, "total"] for table in tables], look)
        floors_us = np.array([table[plan.twin, connection, "total"].floor_us for table in tables])
        edges = np.concatenate([[0.5], np.arange(1, len(runs) + 1), [len(runs) + 0.5]])
        band_us = np.concatenate([floors_us[:1], floors_us, floors_us[-1:]])
        band: dict[str, Any] = {"color": style.SKY, "alpha": 0.45, "linewidth": 0, "zorder": 0}
        axes.fill_between(edges, -band_us, band_us, step="mid", **band)
        for number, past in enumerate(runs, 1):
            if past.change:
                axes.axvline(number - 0.5, color=style.GREY, linewidth=1.2, linestyle=":", zorder=1)
        axes.set_title(f"{style.CONNECTION_TITLE[connection]}: total")
    _axes(grid, runs)
    grid[0].set_ylabel(f"µs more than {plan.reference}")
    style.arm_legend(result, newest, markers=True, leave_out=(plan.reference, plan.twin), more=_more())
    style.headline(result, newest, "Overhead over time", "mean and 95 % interval over each run's lab builds")
    return result


def _more() -> list[Line2D | Patch]:
    hollow: dict[str, Any] = {"color": style.GREY, "marker": "o", "markerfacecolor": "white", "linestyle": ""}
    return [
        Line2D([], [], label="not proven", **hollow),
        Patch(color=style.SKY, alpha=0.45, linewidth=0, label="A/A noise floor"),
    ]


def _line(axes: Axes, found: list[Any], look: style.Look) -> None:
    places = range(1, len(found) + 1)
    axes.plot(places, [row.overhead_us for row in found], color=look.colour, linestyle=look.dash, linewidth=1.4)
    for place, row in zip(places, found, strict=True):
        axes.plot([place] * 2, [row.low_us, row.high_us], color=look.colour, linewidth=2.5, zorder=3)
        fill = look.colour if row.verdict == Verdict.CHANGED else "white"
        shape: dict[str, Any] = {"marker": look.marker, "markersize": 6.5, "mew": 1.5, "markerfacecolor": fill}
        axes.plot([place], [row.overhead_us], color=look.colour, zorder=4, linestyle="", **shape)


def _axes(grid: list[Axes], runs: Sequence[Past]) -> None:
    """Scale the shared axis of overheads; number the runs and date some of them."""
    step = -(-len(runs) // _DATES)
    places = list(range(1, len(runs) + 1, step))
    dates = [str(runs[place - 1].run.facts.get("started", ""))[:16] for place in places]
    low_us = min(-_LINEAR_US, *(1.25 * axes.dataLim.ymin for axes in grid))
    high_us = max(2 * _LINEAR_US, *(1.25 * axes.dataLim.ymax for axes in grid))
    for axes in grid:
        axes.set_yscale("symlog", linthresh=_LINEAR_US, linscale=0.4)
        axes.set_ylim(low_us, high_us)
        ticks = [t for t in (*(-t for t in reversed(_TICKS_US)), 0, *_TICKS_US) if low_us <= t <= high_us]
        axes.set_yticks(ticks, [f"{t:+,d}".replace("-", "\N{MINUS SIGN}") if t else "0" for t in ticks])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.axhline(0, color=style.BLACK, linewidth=0.9, zorder=1)
        axes.set_xlim(0.5, len(runs) + 0.5)
        labels = [f"{place}\n{date.replace('T', chr(10))}" for place, date in zip(places, dates, strict=True)]
        axes.set_xticks(places, labels, fontsize=8)
        axes.grid(axis="y", color=style.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
