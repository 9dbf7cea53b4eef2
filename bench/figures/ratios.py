"""Two arms as multiples of each other: a row per quantity, with its interval and the target that it should meet."""

import math
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from bench.caveats import Caveat
from bench.figures import style
from bench.ratios import MET, MISSED, NO_TARGET, OPEN, Row
from bench.reader import Run

_LOOK: Final = {
    MET: (style.BLUE, "o", "target met"),
    MISSED: (style.VERMILION, "D", "missed"),
    OPEN: (style.GREY, "s", "open: the interval holds the target"),
    NO_TARGET: (style.BLACK, "o", "no target"),
}
"""Colour, marker and word of each verdict: told apart by shape as well."""

_TICKS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)

_LEAST: Final = 0.05
"""What lies below is an arrow at the edge: a tail's ratio has an interval that would squeeze all others together."""


def figure(run: Run, compared: Sequence[Row], caveats: tuple[Caveat, ...]) -> Figure:
    """Draw each ratio on one logarithmic axis; an arrow shows on which side of its target it should be."""
    foot = style.footer(
        run,
        caveats,
        "Added: what an arm has more than direct. Under load one thread of wrk keeps all connections busy (closed "
        "loop). Memory: private to the proxy's processes. Intervals: 95 %, over lab builds.",
    )
    top_in = 0.75 if run.complete else 1.0
    result, (axes,) = style.canvas(run, 1, 1.8 + 0.55 * len(compared), foot)
    result.subplots_adjust(left=0.22, right=0.76, top=1 - top_in / result.get_figheight())
    shown = [edge for row in compared for edge in (row.low, row.high, row.ratio) if math.isfinite(edge) and edge > 0]
    low, high = max(min(0.5, *shown) / 1.3, _LEAST), max(2.0, *shown) * 1.3
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g} \N{MULTIPLICATION SIGN}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.axvline(1, color=style.BLACK, linewidth=0.9, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(compared) - 0.45, -0.6)
    axes.set_yticks(range(len(compared)), [""] * len(compared))
    for number, row in enumerate(compared):
        _name(axes, number, row)
        _interval(axes, number, row, (low, high))
    style.headline(
        result,
        run,
        "One arm's cost as a multiple of the other's",
        "geometric mean over lab builds, with its 95 % interval; 1 means the same; flags stand at the targets",
    )
    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=3, label=word)
        for verdict, (colour, marker, word) in _LOOK.items()
        if any(row.verdict == verdict for row in compared)
    ]
    height = result.get_figheight()
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.12 / height)}
    result.legend(handles=handles, ncols=len(handles), frameon=False, fontsize=9, **place)
    return result


def quotient(value: float) -> str:
    """Write a ratio with two decimals, a small one with two significant digits, the unknown as `?`."""
    if math.isnan(value):
        return "?"
    return f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def _name(axes: Any, number: int, row: Row) -> None:
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    axes.annotate(row.what, (0, number), xytext=(-8, 2), fontsize=9, fontweight="bold", **place)
    axes.annotate(f"{row.arm} / {row.against}", (0, number), xytext=(-8, -9), fontsize=8, color=style.GREY, **place)


def _interval(axes: Any, number: int, row: Row, limits: tuple[float, float]) -> None:
    colour, marker, _ = _LOOK[row.verdict]
    interval = [min(max(edge, limits[0]), limits[1]) for edge in (row.low, row.high)]
    if not any(map(math.isnan, interval)):
        axes.plot(interval, [number, number], color=colour, linewidth=3.5, solid_capstyle="butt", zorder=3)
    if math.isnan(row.ratio) or row.ratio <= 0:
        return
    inside = limits[0] <= row.ratio
    axes.plot(
        [max(row.ratio, limits[0])],
        [number],
        marker=marker if inside else "<",
        color=colour,
        markerfacecolor="white",
        markersize=7,
        mew=1.6,
        zorder=4,
        clip_on=False,
    )
    costs = " against ".join(f"{cost:,.0f}" if cost >= 1000 else f"{cost:.1f}" for cost in (row.value, row.other))
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    text = f"{quotient(row.ratio)} [{quotient(row.low)}, {quotient(row.high)}]"
    axes.annotate(text, (1, number), xytext=(10, 2), fontsize=10, fontweight="bold", color=colour, **place)
    axes.annotate(f"{costs} {row.unit}", (1, number), xytext=(10, -9), fontsize=8, color=style.GREY, **place)
    for bound in filter(None, row.target.split(" and ")):
        sign, _, edge = bound.partition(" ")
        axes.plot([float(edge)] * 2, [number - 0.3, number + 0.3], color=style.GREEN, linewidth=1.4, zorder=2)
        flag = {"≤": "<", "≥": ">"}[sign]
        axes.plot([float(edge)], [number - 0.3], marker=flag, color=style.GREEN, markersize=5, zorder=2)
