"""The overhead taken apart: what each step of interception adds, from none to all, with an interval on every step."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.caveats import Caveat
from bench.decomposition import Term
from bench.figures import style
from bench.reader import Run
from bench.summary import microseconds

_PANELS: Final = (("new", "connect"), ("new", "starttransfer"), ("new", "total"), ("keep-alive", "total"))
_TITLES: Final = {
    ("new", "connect"): "new: connect",
    ("new", "starttransfer"): "new: first byte",
    ("new", "total"): "new: total",
    ("keep-alive", "total"): "kept alive: total",
}
_SUM: Final = "together"
_ADDS, _SAVES, _DOUBTFUL, _WHOLE = style.ORANGE, style.SKY, style.PALE, style.GREY


def figure(run: Run, terms: Sequence[Term], caveats: tuple[Caveat, ...]) -> Figure:
    """Draw a panel per connection and phase, each to its own scale: a bar per term that starts where the last ended."""
    known = {(each.term, each.connection, each.phase): each for each in terms}
    panels = [panel for panel in _PANELS if any(key[1:] == panel for key in known)]
    names = list(dict.fromkeys(each.term for each in terms))
    foot = style.footer(
        run,
        caveats,
        "Read from top to bottom: each bar starts where the one above it ended, and adds (or saves) its own length; "
        "whiskers are each term's own 95 % interval over lab builds. Terms are not additive by nature: what two parts "
        "cost more (or less) together than apart is a term of its own.",
        style.captured_client_note(run.plan),
    )
    result, grid = style.canvas(run, len(panels), 2.0 + 0.5 * (len(names) + 1), foot, share_y=True)
    result.subplots_adjust(left=0.14)
    for axes, panel in zip(grid, panels, strict=True):
        _panel(axes, [known.get((name, *panel)) for name in names], _TITLES[panel])
    grid[0].set_ylim(len(names) + 0.6, -0.75)
    grid[0].set_yticks(range(len(names) + 1), [*names, _SUM], fontsize=11)
    style.headline(result, run, "What interception costs, step by step", "µs added to the median request by each part")
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_ADDS, label="adds"),
        Patch(facecolor=_SAVES, label="saves"),
        Patch(facecolor=_DOUBTFUL, edgecolor=style.GREY, hatch="////", label="interval holds 0"),
        Patch(facecolor=_WHOLE, label="all terms together"),
        Line2D([], [], color=style.BLACK, marker="|", markersize=7, linewidth=1.3, label="95 % interval"),
    ]
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.12 / result.get_figheight())}
    result.legend(handles=handles, ncols=len(handles), frameon=False, fontsize=9, **place)
    return result


def _panel(axes: Axes, terms: Sequence[Term | None], title: str) -> None:
    start_us = 0.0
    reached = [0.0]
    for number, term in enumerate(terms):
        if term is None or np.isnan(term.mean_us):
            axes.annotate("n/a", (start_us, number), (4, 0), textcoords="offset points", va="center", color=style.GREY)
            continue
        end_us = start_us + term.mean_us
        _bar(axes, number, start_us, term)
        axes.plot([end_us, end_us], [number - 0.28, number + 1.28], color=style.GREY, linewidth=0.8, zorder=1)
        reached += [end_us, *(start_us + edge for edge in (term.low_us, term.high_us) if not np.isnan(edge))]
        start_us = end_us
    axes.barh(len(terms), start_us, height=0.56, color=_WHOLE, zorder=2)
    _label(axes, len(terms), max(start_us, 0.0), f"{microseconds(start_us, sign=True)} µs", bold=True)
    low_us, high_us = min(reached), max(reached)
    # Room at the right for the label of the longest bar.
    axes.set_xlim(low_us - 0.06 * (high_us - low_us), high_us + 0.62 * (high_us - low_us))
    axes.axvline(0, color=style.BLACK, linewidth=0.9, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(title)
    axes.set_xlabel("µs added to direct", fontsize=9)


def _bar(axes: Axes, number: int, start_us: float, term: Term) -> None:
    doubtful = not (term.low_us > 0 or term.high_us < 0)
    colour = _DOUBTFUL if doubtful else _ADDS if term.mean_us > 0 else _SAVES
    look: dict[str, Any] = {"edgecolor": style.GREY, "hatch": "////", "linewidth": 0.6} if doubtful else {}
    axes.barh(number, term.mean_us, left=start_us, height=0.56, color=colour, zorder=2, **look)
    ends = [start_us, start_us + term.mean_us]
    interval = f"{microseconds(term.mean_us, sign=True)} [?]"
    if not np.isnan(term.low_us):
        whisker = [start_us + term.low_us, start_us + term.high_us]
        axes.plot(whisker, [number] * 2, color=style.BLACK, marker="|", markersize=7, linewidth=1.3, zorder=3)
        ends += whisker
        low, high = microseconds(term.low_us), microseconds(term.high_us)
        interval = f"{microseconds(term.mean_us, sign=True)} [{low}, {high}]"
    _label(axes, number, max(ends), interval)


def _label(axes: Axes, number: int, right_us: float, text: str, *, bold: bool = False) -> None:
    axes.annotate(
        text,
        (right_us, number),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        fontweight="bold" if bold else "normal",
        zorder=5,
    )
