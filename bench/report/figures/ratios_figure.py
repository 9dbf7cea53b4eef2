"""Two arms as multiples of each other: a row per quantity, with its interval and the target that it should meet."""

import math
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.ratios import MET, MISSED, NO_TARGET, OPEN, RatioRow
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import footer
from sidelab.bench.report.figures.rows import Cell, Label, Panel, panels, whisker
from sidelab.bench.report.figures.sheet import Handle, Medium, headed

_LOOK: Final = {
    MET: (style.BLUE, "o", "target met"),
    MISSED: (style.VERMILION, "D", "missed"),
    OPEN: (style.GREY, "s", "open: the interval holds the target"),
    NO_TARGET: (style.BLACK, "o", "no target"),
}
"""Colour, marker and word of each verdict; the shapes differ, too."""

_ABSURD: Final = 1000
_LEAST: Final = 0.05
_MOST: Final = 50.0
"""Beyond this an interval ends in an arrow at the edge: that of a tail's ratio would squeeze all others together."""


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw all ratios on one logarithmic axis; a flag shows on which side of its target each should be."""
    compared = found.ratios
    sheet = headed(
        medium,
        found.run,
        "One arm's cost as a multiple of the other's",
        "geometric mean over lab builds, with its 95 % interval; 1 means the same; flags stand at the targets",
    )
    sheet.key(_key(compared))
    labels = [Label(row.what, f"{row.arm} / {row.against}") for row in compared]
    cells = [_cell(row, stacked=medium.stacked) for row in compared]
    ((axes, width_in),) = panels(sheet, labels, [Panel("", "ratio (logarithmic)", cells)], said_below=True)
    shown = [edge for row in compared for edge in (row.low, row.high, row.ratio) if math.isfinite(edge) and edge > 0]
    low, high = max(min([0.5, *shown]) / 1.3, _LEAST), min(max([2.0, *shown]) * 1.3, _MOST)
    scales.logarithmic(axes, "x", (low, high), width_in)
    axes.axvline(1, color=style.BLACK, linewidth=0.9, zorder=1)
    for number, row in enumerate(compared):
        _interval(axes, number, row)
    note = (
        "Added: what an arm has more than direct. Under load one thread of wrk keeps all connections busy (closed "
        "loop). Memory: private to the proxy's processes. Intervals: 95 %, over lab builds."
    )
    return sheet.finish(footer(found, note))


def _key(compared: Sequence[RatioRow]) -> list[Handle]:
    return [
        Line2D([], [], color=colour, marker=marker, markerfacecolor=style.WHITE, linewidth=3, label=word)
        for verdict, (colour, marker, word) in _LOOK.items()
        if any(row.verdict == verdict for row in compared)
    ]


def quotient(value: float) -> str:
    """Format a ratio with two decimals, a small one with two significant digits, an unknown one as `?`.

    A factor beyond a thousand in either direction has no reliable digits.
    """
    if math.isnan(value):
        return "?"
    if value > _ABSURD or value < 1 / _ABSURD:
        return f">{_ABSURD:g}" if value > 1 else f"<{1 / _ABSURD:g}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"


def _cell(row: RatioRow, *, stacked: bool) -> Cell:
    """Format a ratio with its interval, and below it the two costs if there is room."""
    if math.isnan(row.ratio):
        return Cell("not measured")
    interval = "no interval" if math.isnan(row.low) else f"[{quotient(row.low)}, {quotient(row.high)}]"
    if stacked:
        return Cell(quotient(row.ratio), interval)
    costs = " against ".join(f"{cost:,.0f}" if cost >= 1000 else f"{cost:.1f}" for cost in (row.value, row.other))
    return Cell(f"{quotient(row.ratio)} {interval}", f"{costs} {row.unit}")


def _interval(axes: Axes, number: int, row: RatioRow) -> None:
    colour, marker, _ = _LOOK[row.verdict]
    low, high = axes.get_xlim()
    for bound in filter(None, row.target.split(" and ")):
        sign, _, edge = bound.partition(" ")
        axes.plot([float(edge)] * 2, [number - 0.25, number + 0.25], color=style.GREEN, linewidth=1.4, zorder=2)
        flag = {"≤": "<", "≥": ">"}[sign]
        axes.plot([float(edge)], [number - 0.25], marker=flag, color=style.GREEN, markersize=5, zorder=2)
    if math.isnan(row.ratio) or row.ratio <= 0:
        return
    ends = (row.ratio, row.ratio) if math.isnan(row.low) else (row.low, row.high)
    whisker(axes, number, ends, colour=colour, width=3.5)
    if low <= row.ratio <= high:
        look: dict[str, Any] = {"marker": marker, "color": colour, "markerfacecolor": style.WHITE, "mew": 1.6}
        axes.plot([row.ratio], [number], markersize=7, zorder=5, **look)
