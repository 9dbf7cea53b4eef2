"""The overhead taken apart: what each step of interception adds, from none to all, with an interval on every step."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.decomposition import TermEstimate, adds_up_to
from sidelab.bench.judge.summary import SummaryRow
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import captured_client_note, footer
from sidelab.bench.report.figures.rows import Cell, Label, Panel, interval, panels, whisker
from sidelab.bench.report.figures.sheet import Handle, Medium, headed

_TITLES: Final = {
    ("new", "connect"): "new: connect",
    ("new", "starttransfer"): "new: first byte",
    ("new", "total"): "new: total",
    ("keep-alive", "total"): "kept alive: total",
}
_ADDS, _SAVES, _DOUBTFUL, _WHOLE = style.ORANGE, style.SKY, style.PALE, style.GREY


class Bar(NamedTuple):
    """A length in a panel: where it starts, and its estimate with the interval, all in µs."""

    start_us: float
    mean_us: float
    low_us: float
    high_us: float


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw a panel per connection and phase, each to its own scale, with a bar per term.

    If the plan's terms add up to one arm, each bar starts where the last one ended, and that arm's own overhead is
    below them. If they do not, every bar starts at 0.
    """
    run, terms, table = found.run, found.terms, found.summary
    known = {(each.term, each.connection, each.phase): each for each in terms}
    quantities = [each for each in _TITLES if any(key[1:] == each for key in known)]
    names = list(dict.fromkeys(each.term for each in terms))
    whole = adds_up_to(run.plan)
    title = "What interception costs, step by step" if whole else "What each part costs"
    sheet = headed(medium, run, title, "µs that each part adds, mean and 95 % interval over lab builds; own scales")
    sheet.key(_key(whole))
    labels = [Label(name) for name in names]
    if whole:
        labels.append(Label(f"{whole}, by itself", look=style.looks(run.plan)[whole]))
    bars = {
        each: _bars([known.get((name, *each)) for name in names], table[whole, *each] if whole else None)
        for each in quantities
    }
    unit = f"µs added to {run.plan.reference}" if whole else "µs"
    shown = [Panel(_TITLES[each], unit, [_cell(bar) for bar in bars[each]]) for each in quantities]
    for (axes, width_in), each in zip(panels(sheet, labels, shown, 0.46), quantities, strict=True):
        _panel(axes, bars[each], width_in, whole=bool(whole), thick=0.34 if medium.stacked else 0.56)
    return sheet.finish(footer(found, _how_to_read(whole), captured_client_note(run.plan)))


def _cell(bar: Bar | None) -> Cell:
    return Cell("n/a") if bar is None else interval(bar.mean_us, bar.low_us, bar.high_us)


def _bars(terms: Sequence[TermEstimate | None], whole: SummaryRow | None) -> list[Bar | None]:
    """Place the terms, and below them the whole; unknown ones have no bar."""
    placed: list[Bar | None] = []
    start_us = 0.0
    for term in terms:
        if term is None or np.isnan(term.mean_us):
            placed.append(None)
            continue
        placed.append(Bar(start_us, term.mean_us, term.low_us, term.high_us))
        start_us += term.mean_us if whole is not None else 0.0
    if whole is not None:
        known = not np.isnan(whole.overhead_us)
        placed.append(Bar(0.0, whole.overhead_us, whole.low_us, whole.high_us) if known else None)
    return placed


def _how_to_read(whole: str) -> str:
    if not whole:
        return "Each bar is the difference of two arms, paired request by request."
    return (
        "Read from top to bottom: each bar starts where the one above it ended. A × B is what two parts cost together "
        f"beyond what each costs alone. The last bar is {whole} measured by itself: medians of differences need not "
        "sum up to it exactly."
    )


def _key(whole: str) -> list[Handle]:
    handles: list[Handle] = [
        Patch(facecolor=_ADDS, label="adds"),
        Patch(facecolor=_SAVES, label="saves"),
        Patch(facecolor=_DOUBTFUL, edgecolor=style.GREY, hatch="////", label="interval holds 0"),
        Line2D([], [], color=style.BLACK, marker="|", markersize=7, linewidth=1.3, label="95 % interval"),
    ]
    if whole:
        handles.insert(3, Patch(facecolor=_WHOLE, label="everything together"))
    return handles


def _panel(axes: Axes, bars: Sequence[Bar | None], width_in: float, *, whole: bool, thick: float) -> None:
    known = [bar for bar in bars if bar is not None]
    points = [us for bar in known for us in (bar.start_us, bar.start_us + bar.mean_us)]
    ends = [bar.start_us + us for bar in known for us in (bar.low_us, bar.high_us)]
    scales.linear(axes, "x", scales.around(scales.clipped(points, ends), least=2.0), width_in)
    axes.axvline(0, color=style.BLACK, linewidth=0.9, zorder=1)
    for number, bar in enumerate(bars):
        if bar is None:
            continue
        last = whole and number == len(bars) - 1
        colour = _WHOLE if last else (_ADDS if bar.mean_us > 0 else _SAVES)
        doubtful = not (bar.low_us > 0 or bar.high_us < 0)
        look: dict[str, Any] = {"color": colour, "linewidth": 0}
        if doubtful:
            look = {"facecolor": _DOUBTFUL, "edgecolor": style.GREY, "hatch": "////", "linewidth": 0.6}
        axes.barh(number, bar.mean_us, left=bar.start_us, height=thick, zorder=2, **look)
        interval_us = (bar.start_us + bar.low_us, bar.start_us + bar.high_us)
        whisker(axes, number, interval_us, colour=style.BLACK, width=1.3)
        if whole and not last:
            end_us = bar.start_us + bar.mean_us
            axes.plot([end_us] * 2, [number - 0.28, number + 1.28], color=style.GREY, linewidth=0.8, zorder=1)
