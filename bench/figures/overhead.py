"""The main figure: what each arm adds to a request, with its interval, every rebuild, and the band of the A/A noise."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from bench import statistics
from bench.caveats import Caveat
from bench.figures import style
from bench.plan import Plan
from bench.reader import Run
from bench.statistics import Floats
from bench.summary import Row, microseconds, rows
from bench.verdict import Verdict

_PANELS: Final = (("new", "connect"), ("new", "total"), ("keep-alive", "total"))
_TITLES: Final = {
    ("new", "connect"): "new connection: connect",
    ("new", "total"): "new connection: total",
    ("keep-alive", "total"): "kept-alive connection: total",
}

_LOOK: Final = {
    Verdict.CHANGED: (style.VERMILION, "D", style.VERMILION),
    Verdict.EQUIVALENT: (style.BLUE, "o", "white"),
    Verdict.INCONCLUSIVE: (style.GREY, "s", "white"),
}
"""Colour, marker and fill of each verdict: told apart by shape as well."""

_LINEAR_US: Final = 5.0
"""The axis is linear up to here and logarithmic beyond: rules cost about one µs and proxies a hundred."""

_TICKS_US: Final = (5, 20, 100, 500, 2_000, 10_000, 50_000)


def figure(run: Run, summary: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw the paired differences to the reference: a panel per quantity, a row per arm."""
    plan = run.plan
    panels = [panel for panel in _PANELS if panel[0] in plan.connections]
    names = [arm.name for arm in plan.arms if arm.name != plan.reference]
    by_rebuild = statistics.rebuild_medians(run.samples, plan.reference)
    medians = dict(zip(by_rebuild.index, by_rebuild.to_numpy(dtype=float), strict=True))
    table = rows(summary)
    foot = style.footer(run, caveats, style.captured_client_note(plan), _verdict_note(plan))
    result, grid = style.canvas(run, len(panels), 2.0 + 0.62 * len(names), foot, share_y=True)
    shown = [(name, *panel) for name in names for panel in panels if table[(name, *panel)].verdict in _LOOK]
    ends = [(table[key].low_us, table[key].high_us) for key in shown]
    limits = _limits(np.concatenate([np.ravel(ends), *(medians[key] for key in shown)]))
    for axes, panel in zip(grid, panels, strict=True):
        _axis(axes, limits, panel)
        for number, name in enumerate(names):
            row = table[name, *panel]
            if (name, *panel) in shown:  # an arm that was never measured has nothing to draw
                _arm(axes, number, row, medians[name, *panel])
        floor_us = table[plan.twin, *panel].floor_us
        axes.axvspan(-floor_us, floor_us, color=style.SKY, alpha=0.45, linewidth=0, zorder=0)
    style.name_arms(grid[0], plan, names)
    style.headline(
        result,
        run,
        "What interception adds to a request",
        f"median difference to {plan.reference} in µs, request by request; mean and 95 % interval over lab builds",
    )
    _legend(result)
    return result


def _verdict_note(plan: Plan) -> str:
    return (
        f"Equivalent: the interval lies within the margin, \N{PLUS-MINUS SIGN}{plan.margin_us:g} µs or "
        f"{100 * plan.margin_ratio:g} % of {plan.reference}'s median if that is more. "
        "Changed: the interval excludes 0, and the difference is over margin and floor."
    )


def _limits(shown: Floats) -> tuple[float, float]:
    """Give all panels one range, so that lengths compare; at least the linear part, and room for the labels."""
    return min(-_LINEAR_US, 1.3 * float(np.nanmin(shown))), max(2 * _LINEAR_US, 1.6 * float(np.nanmax(shown)))


def _axis(axes: Axes, limits: tuple[float, float], panel: tuple[str, str]) -> None:
    axes.set_xscale("symlog", linthresh=_LINEAR_US, linscale=0.8)
    axes.set_xlim(*limits)
    shown = [t for t in (*(-t for t in reversed(_TICKS_US)), 0, *_TICKS_US) if limits[0] <= t <= limits[1]]
    axes.set_xticks(shown, [microseconds(t, sign=t != 0).removesuffix(".0") for t in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.axvline(0, color=style.BLACK, linewidth=0.9, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.set_title(_TITLES[panel])
    axes.set_xlabel(f"µs (linear to \N{PLUS-MINUS SIGN}{_LINEAR_US:.0f}, then logarithmic)", fontsize=9)


def _arm(axes: Axes, number: int, row: Row, medians: Floats) -> None:
    colour, marker, fill = _LOOK[Verdict(row.verdict)]
    # Rebuilds alternate between three heights, for dots that would hide each other.
    heights = [number + 0.07 * (k % 3 - 1) for k in range(len(medians))]
    axes.scatter(medians, heights, s=11, color=colour, alpha=0.3, linewidth=0, zorder=2)
    mean_us, low_us, high_us = row.overhead_us, row.low_us, row.high_us
    axes.plot([low_us, high_us], [number, number], color=colour, linewidth=3.5, solid_capstyle="butt", zorder=3)
    axes.plot([mean_us], [number], marker=marker, color=colour, markerfacecolor=fill, markersize=7, mew=1.6, zorder=4)
    interval = f"[{microseconds(low_us)}, {microseconds(high_us)}]"
    text = f"{microseconds(mean_us, sign=True)} µs  {'no interval' if np.isnan(low_us) else interval}"
    right = axes.transScale.transform((mean_us, 0))[0] > axes.transScale.transform((4 * _LINEAR_US, 0))[0]
    place: dict[str, Any] = {"ha": "right" if right else "left", "xytext": (14 if right else 5, 8)}
    axes.annotate(
        text,
        (mean_us if right else max(mean_us, 0.0), number),
        textcoords="offset points",
        fontsize=9,
        color=colour,
        **place,
    )


def _legend(figure: Figure) -> None:
    handles: list[Line2D | Patch] = []
    for verdict, (colour, marker, fill) in _LOOK.items():
        look: dict[str, Any] = {"color": colour, "marker": marker, "markerfacecolor": fill, "linewidth": 3}
        handles.append(Line2D([], [], label=str(verdict), markersize=6.5, **look))
    handles.append(
        Line2D([], [], color=style.GREY, marker="o", alpha=0.4, linestyle="", markersize=4, label="one lab build")
    )
    handles.append(Patch(color=style.SKY, alpha=0.45, linewidth=0, label="A/A noise floor"))
    height = figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.985, 1 - 0.12 / height),
        ncols=5,
        frameon=False,
        fontsize=9,
    )
