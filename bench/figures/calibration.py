"""What was put in against what was found: on the line is right, and how far off it is on the right."""

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.calibration import Row
from bench.figures import style

_LOOK: Final = {
    ("polling", "new"): (style.BLACK, "P"),
    ("polling", "keep-alive"): (style.GREY, "X"),
    ("own", "new"): (style.BLUE, "o"),
    ("own", "keep-alive"): (style.SKY, "s"),
    ("libcurl", "new"): (style.VERMILION, "D"),
    ("libcurl", "keep-alive"): (style.ORANGE, "^"),
    ("wrk", "keep-alive"): (style.GREEN, "v"),
}
_SHIFT: Final = 0.11
"""Rows of one delay stand beside each other."""


def figure(rows: Sequence[Row], title: str, foot: Sequence[str]) -> Figure:
    """Draw recovered against injected delays, and the error of each with its 95 % interval."""
    result = Figure(figsize=(12, 5.6))
    result.subplots_adjust(left=0.07, right=0.985, top=0.76, bottom=0.2, wspace=0.16)
    against, error = result.subplots(1, 2)
    delays = sorted({row.injected_us for row in rows})
    most = 1.08 * max(*delays, *(row.recovered_us for row in rows))
    against.plot([0, most], [0, most], color=style.GREY, linewidth=1, zorder=1)
    error.axhline(0, color=style.BLACK, linewidth=1)
    kinds = [kind for kind in _LOOK if any((row.client, row.connection) == kind for row in rows)]
    for number, kind in enumerate(kinds):
        own = [row for row in rows if (row.client, row.connection) == kind]
        places = [delays.index(row.injected_us) + _SHIFT * (number - (len(kinds) - 1) / 2) for row in own]
        colour, marker = _LOOK[kind]
        shape: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": 7, "color": colour}
        recovered = [row.recovered_us for row in own]
        against.plot([row.injected_us for row in own], recovered, label=f"{kind[0]}, {kind[1]}", zorder=3, **shape)
        error.plot(places, [row.recovered_us - row.injected_us for row in own], zorder=3, **shape)
        ends = ([row.low_us - row.injected_us for row in own], [row.high_us - row.injected_us for row in own])
        error.vlines(places, *ends, color=colour, linewidth=2.2, zorder=2)
    _name(against, "recovered", "µs injected", "µs recovered")
    against.set_xlim(0, most)
    against.set_ylim(0, most)
    _name(error, "error, with 95 % interval", "µs injected", "µs recovered − µs injected")
    error.set_xticks(range(len(delays)), [f"{delay:g}" for delay in delays])
    error.set_xlim(-0.6, len(delays) - 0.4)
    result.text(0.012, 0.93, title, fontsize=15, fontweight="bold")
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.006, 0.915)}
    result.legend(*against.get_legend_handles_labels(), ncols=len(kinds), frameon=False, fontsize=9, **place)
    for number, line in enumerate(reversed(foot)):
        result.text(0.012, 0.025 + 0.033 * number, line, fontsize=8, color=style.GREY)
    return result


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
