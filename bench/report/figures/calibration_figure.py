"""Injected against measured delays: points on the line are correct; a panel at the right shows the errors."""

from collections.abc import Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sidelab.bench.judge.calibration import RecoveredDelay
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.sheet import FILE, Foot, Sheet, across

_LOOK: Final = {
    ("polling", "new"): (style.BLACK, "P"),
    ("polling", "keep-alive"): (style.GREY, "X"),
    ("own", "new"): (style.BLUE, "o"),
    ("own", "keep-alive"): (style.SKY, "s"),
    ("libcurl", "new"): (style.VERMILION, "D"),
    ("libcurl", "keep-alive"): (style.ORANGE, "^"),
    ("wrk", "keep-alive"): (style.GREEN, "v"),
}
_HEIGHT_IN: Final = 3.6
_SHIFT: Final = 0.11
"""How far rows of the same delay are drawn apart."""


def figure(rows: Sequence[RecoveredDelay], title: str, foot: Sequence[str]) -> Figure:
    """Draw recovered against injected delays, and the error of each with its 95 % interval."""
    sheet = Sheet(FILE, title, "each of them once per client and kind of connection; on the line is right")
    kinds = [kind for kind in _LOOK if any((row.client, row.connection) == kind for row in rows)]
    sheet.key([Line2D([], [], label=f"{kind[0]}, {kind[1]}", **_shape(kind)) for kind in kinds])
    titles = ("µs recovered", "µs recovered \N{MINUS SIGN} µs injected, with 95 % interval")
    (against, width_in), (error, _) = across(sheet, titles, height_in=_HEIGHT_IN, below="µs injected")
    delays = sorted({row.injected_us for row in rows})
    most = 1.08 * max(*delays, *(row.recovered_us for row in rows))
    scales.linear(against, "x", (0.0, most), width_in)
    scales.linear(against, "y", (0.0, most), _HEIGHT_IN)
    errors = [end - row.injected_us for row in rows for end in (row.recovered_us, row.low_us, row.high_us)]
    scales.linear(error, "y", scales.around(errors, least=2.0), _HEIGHT_IN, sign=True)
    against.plot([0, most], [0, most], color=style.GREY, linewidth=1, zorder=1)
    error.axhline(0, color=style.BLACK, linewidth=1)
    for number, kind in enumerate(kinds):
        own = [row for row in rows if (row.client, row.connection) == kind]
        places = [delays.index(row.injected_us) + _SHIFT * (number - (len(kinds) - 1) / 2) for row in own]
        against.plot([row.injected_us for row in own], [row.recovered_us for row in own], zorder=3, **_shape(kind))
        error.plot(places, [row.recovered_us - row.injected_us for row in own], zorder=3, **_shape(kind))
        ends = ([row.low_us - row.injected_us for row in own], [row.high_us - row.injected_us for row in own])
        error.vlines(places, *ends, color=_LOOK[kind][0], linewidth=2.2, zorder=2)
    error.set_xticks(range(len(delays)), [f"{delay:g}" for delay in delays], fontsize=scales.TICK_SIZE)
    error.set_xlim(-0.6, len(delays) - 0.4)
    error.grid(visible=False, axis="x")
    return sheet.finish(Foot(foot))


def _shape(kind: tuple[str, str]) -> dict[str, Any]:
    colour, marker = _LOOK[kind]
    return {"linestyle": "", "marker": marker, "markersize": 7, "color": colour}
