"""The overhead taken apart: what each step of interception adds, from none to all, with an interval on every step."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.caveats import Caveat
from bench.decomposition import Term, adds_up_to
from bench.figures import style
from bench.reader import Run
from bench.summary import Row, microseconds, rows

_PANELS: Final = (("new", "connect"), ("new", "starttransfer"), ("new", "total"), ("keep-alive", "total"))
_TITLES: Final = {
    ("new", "connect"): "new: connect",
    ("new", "starttransfer"): "new: first byte",
    ("new", "total"): "new: total",
    ("keep-alive", "total"): "kept alive: total",
}
_ADDS, _SAVES, _DOUBTFUL, _WHOLE = style.ORANGE, style.SKY, style.PALE, style.GREY


def figure(run: Run, terms: Sequence[Term], summary: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw a panel per connection and phase, each to its own scale, with a bar per term.

    Where the plan's terms add up to one arm, a bar starts where the last one ended, and below them stands that arm's
    own overhead. Where they do not, every bar starts at 0.
    """
    known = {(each.term, each.connection, each.phase): each for each in terms}
    panels = [panel for panel in _PANELS if any(key[1:] == panel for key in known)]
    names = list(dict.fromkeys(each.term for each in terms))
    whole = adds_up_to(run.plan)
    foot = style.footer(run, caveats, _how_to_read(whole), style.captured_client_note(run.plan))
    result, grid = style.canvas(run, len(panels), 2.0 + 0.5 * (len(names) + bool(whole)), foot, share_y=True)
    labels = [*names, f"{whole}, by itself"] if whole else names
    result.subplots_adjust(left=(0.4 + 0.1 * max(map(len, labels))) / result.get_figwidth())
    table = rows(summary)
    for axes, panel in zip(grid, panels, strict=True):
        total = table[whole, *panel] if whole else None
        _panel(axes, [known.get((name, *panel)) for name in names], total, len(panels))
        axes.set_title(_TITLES[panel])
        axes.set_xlabel(f"µs added to {run.plan.reference}" if whole else "µs", fontsize=9)
    grid[0].set_ylim(len(labels) - 0.4, -0.75)
    grid[0].set_yticks(range(len(labels)), labels, fontsize=11)
    title = "What interception costs, step by step" if whole else "What each part costs"
    style.headline(result, run, title, "µs that each part adds, mean and 95 % interval over lab builds")
    _legend(result, whole)
    return result


def _how_to_read(whole: str) -> str:
    if not whole:
        return "Each bar is the difference of two arms, paired request by request."
    return (
        "Read from top to bottom: each bar starts where the one above it ended. A × B is what two parts cost together "
        f"beyond what each costs alone. The last bar is {whole} measured by itself: medians of differences need not "
        "sum up to it exactly."
    )


def _legend(result: Figure, whole: str) -> None:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=_ADDS, label="adds"),
        Patch(facecolor=_SAVES, label="saves"),
        Patch(facecolor=_DOUBTFUL, edgecolor=style.GREY, hatch="////", label="interval holds 0"),
        Line2D([], [], color=style.BLACK, marker="|", markersize=7, linewidth=1.3, label="95 % interval"),
    ]
    if whole:
        handles.insert(3, Patch(facecolor=_WHOLE, label="everything together"))
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.12 / result.get_figheight())}
    result.legend(handles=handles, ncols=len(handles), frameon=False, fontsize=9, **place)


def _panel(axes: Axes, terms: Sequence[Term | None], whole: Row | None, panels: int) -> None:
    start_us = 0.0
    reached = [0.0]
    for number, term in enumerate(terms):
        if term is None or np.isnan(term.mean_us):
            axes.annotate("n/a", (start_us, number), (4, 0), textcoords="offset points", va="center", color=style.GREY)
            continue
        end_us = start_us + term.mean_us
        colour = _ADDS if term.mean_us > 0 else _SAVES
        reached += _bar(axes, number, start_us, (term.mean_us, term.low_us, term.high_us), colour)
        if whole is not None:
            axes.plot([end_us] * 2, [number - 0.28, number + 1.28], color=style.GREY, linewidth=0.8, zorder=1)
            start_us = end_us
    if whole is not None and not np.isnan(whole.overhead_us):
        found = (whole.overhead_us, whole.low_us, whole.high_us)
        reached += _bar(axes, len(terms), 0.0, found, _WHOLE)
    low_us, high_us = min(reached), max(reached)
    # Room at the right for the label of the longest bar, which is as wide in a narrow panel as in a wide one.
    room = 0.31 * panels
    axes.set_xlim(low_us - 0.06 * (high_us - low_us), high_us + room * (high_us - low_us))
    axes.axvline(0, color=style.BLACK, linewidth=0.9, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=4)


def _bar(axes: Axes, number: int, start_us: float, found: tuple[float, float, float], colour: str) -> list[float]:
    """Draw a length from `start_us` with its interval and its numbers; return how far they reach."""
    mean_us, low_us, high_us = found
    doubtful = not (low_us > 0 or high_us < 0)
    look: dict[str, Any] = {"color": _DOUBTFUL, "edgecolor": style.GREY, "hatch": "////", "linewidth": 0.6}
    axes.barh(
        number,
        mean_us,
        left=start_us,
        height=0.56,
        zorder=2,
        **(look if doubtful else {"color": colour, "linewidth": 0}),
    )
    ends = [start_us, start_us + mean_us]
    interval = "[?]"
    if not np.isnan(low_us):
        whisker = [start_us + low_us, start_us + high_us]
        axes.plot(whisker, [number] * 2, color=style.BLACK, marker="|", markersize=7, linewidth=1.3, zorder=3)
        ends += whisker
        interval = f"[{microseconds(low_us)}, {microseconds(high_us)}]"
    place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    weight = "bold" if colour == _WHOLE else "normal"
    text = f"{microseconds(mean_us, sign=True)} {interval}"
    axes.annotate(text, (max(ends), number), fontsize=8.5, fontweight=weight, zorder=5, **place)
    return ends
