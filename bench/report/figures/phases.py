"""Where the time goes: the median of each of curl's phases per arm, stacked from start to end."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.report.figures import scales, style, text_width
from sidelab.bench.report.figures.foot import captured_client_note, footer
from sidelab.bench.report.figures.rows import Cell, Panel, arm_labels, panels
from sidelab.bench.report.figures.sheet import Handle, Medium, headed

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
_SIZE: Final = 8


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw a panel per kind of connection and a bar per arm, all on one scale; the bar's end is the median total."""
    run, plan, table = found.run, found.run.plan, found.summary
    names = [arm.name for arm in plan.arms]
    exist = {row.phase for row in table.values() if row.n}
    missing = [phase for phase in PHASES if phase not in exist]
    note = f"Not applicable here, so not drawn: {', '.join(missing)}." if missing else ""
    sheet = headed(
        medium,
        run,
        "Where the time of a request goes",
        "medians; each stretch ends where curl stamps its time_* variable",
    )
    handles: list[Handle] = [Patch(color=_COLOURS[phase], label=_MEANING[phase]) for phase in PHASES if phase in exist]
    sheet.key(handles)
    shown = []
    for connection in plan.connections:
        totals = [table[name, connection, "total"] for name in names]
        cells = [Cell("not measured" if np.isnan(row.p50_us) else microseconds(row.p50_us)) for row in totals]
        shown.append(Panel(style.CONNECTION_TITLE[connection], "µs since the start of the request", cells))
    longest = max((row.p50_us for row in table.values() if not np.isnan(row.p50_us)), default=0.0) or 1.0
    for (axes, width_in), connection in zip(
        panels(sheet, arm_labels(plan, names), shown), plan.connections, strict=True
    ):
        scales.linear(axes, "x", (0.0, 1.02 * longest), width_in)
        for row, name in enumerate(names):
            ends = [table[name, connection, phase].p50_us for phase in PHASES]
            _bar(axes, row, ends, width_in / (1.02 * longest), thick=0.34 if medium.stacked else 0.56)
    return sheet.finish(footer(found, captured_client_note(plan), note))


def _bar(axes: Axes, row: int, ends_us: list[float], inches_per_us: float, *, thick: float) -> None:
    """Stack the phases that exist; each one wide enough is labelled with its length."""
    start_us = 0.0
    for phase, end_us in zip(PHASES, ends_us, strict=True):
        if np.isnan(end_us):
            continue
        length_us = end_us - start_us
        colour = _COLOURS[phase]
        edge: dict[str, Any] = {"edgecolor": style.WHITE, "linewidth": 0.5}
        axes.barh(row, length_us, left=start_us, height=thick, color=colour, zorder=2, **edge)
        said = microseconds(length_us)
        if length_us * inches_per_us > text_width.width_in(said, _SIZE) + 0.06:
            text_colour = style.ON_BLUE if colour == style.BLUE else style.ON_LIGHT
            middle_us = start_us + length_us / 2
            axes.text(middle_us, row, said, ha="center", va="center_baseline", fontsize=_SIZE, color=text_colour)
        start_us = end_us
