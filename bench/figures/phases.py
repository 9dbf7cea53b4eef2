"""Where the time goes: the median of each of curl's phases per arm, stacked from start to end."""

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.caveats import Caveat
from bench.figures import style
from bench.reader import Run
from bench.samples import PHASES
from bench.summary import microseconds, rows

_COLOURS: Final = {
    "namelookup": style.PURPLE,
    "connect": style.ORANGE,
    "appconnect": style.GREEN,
    "pretransfer": style.YELLOW,
    "starttransfer": style.SKY,
    "total": style.BLUE,
}
_MEANING: Final = {
    "namelookup": "namelookup: name resolved",
    "connect": "connect: handshake done",
    "appconnect": "appconnect: TLS done",
    "pretransfer": "pretransfer: ready to send",
    "starttransfer": "starttransfer: first byte is here",
    "total": "total: last byte is here",
}
_WHITE_TEXT: Final = (style.BLUE,)


def figure(run: Run, summary: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw a panel per kind of connection and a bar per arm, all on one scale; the bar's end is the median total."""
    plan = run.plan
    names = [arm.name for arm in plan.arms]
    table = rows(summary)
    exist = set(summary.loc[summary["n"] > 0, "phase"])
    missing = [phase for phase in PHASES if phase not in exist]
    note = f"Not applicable here, so not drawn: {', '.join(missing)}." if missing else ""
    foot = style.footer(run, caveats, style.captured_client_note(plan), note)
    result, grid = style.canvas(run, len(plan.connections), 2.0 + 0.5 * len(names), foot, share_y=True)
    longest = float(summary.loc[summary["phase"] == "total", "p50_us"].fillna(1.0).max())
    for axes, connection in zip(grid, plan.connections, strict=True):
        for row, name in enumerate(names):
            ends = [table[name, connection, phase].p50_us for phase in PHASES]
            _bar(axes, row, ends, longest)
        axes.set_xlim(0, 1.12 * longest)
        axes.set_xlabel("µs since the start of the request (medians)")
        axes.set_title(style.CONNECTION_TITLE[connection])
        axes.grid(axis="x", color=style.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
    style.name_arms(grid[0], plan, names)
    style.headline(
        result, run, "Where the time of a request goes", "each stretch ends where curl's time_* variable is stamped"
    )
    handles = [Patch(color=_COLOURS[phase], label=_MEANING[phase]) for phase in PHASES if phase in exist]
    result.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.985, 1 - 0.1 / result.get_figheight()),
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    return result


def _bar(axes: Axes, row: int, ends_us: list[float], longest_us: float) -> None:
    """Stack the phases that exist; a stretch wide enough to hold it carries its length."""
    start_us = 0.0
    for phase, end_us in zip(PHASES, ends_us, strict=True):
        if np.isnan(end_us):
            continue
        length_us = end_us - start_us
        colour = _COLOURS[phase]
        axes.barh(row, length_us, left=start_us, height=0.56, color=colour, edgecolor="white", linewidth=0.5)
        if length_us > 0.05 * longest_us:
            text_colour = "white" if colour in _WHITE_TEXT else style.BLACK
            middle_us = start_us + length_us / 2
            text = microseconds(length_us)
            axes.text(middle_us, row, text, ha="center", va="center_baseline", fontsize=8.5, color=text_colour)
        start_us = end_us
    known = not np.isnan(ends_us[-1])
    axes.text(
        start_us + 0.012 * longest_us,
        row,
        microseconds(start_us) if known else "too few requests for a median",
        va="center_baseline",
        fontsize=10,
        fontweight="bold" if known else "normal",
    )
