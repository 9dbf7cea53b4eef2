"""The main figure: what each arm adds to a request, with its interval, every lab build, and the band of the A/A noise.

All panels share one linear axis, so that lengths can be compared. If that leaves the rules no visible length, the same
is drawn again close to 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.statistics import Floats
from sidelab.bench.judge.summary import Summary, SummaryRow
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import captured_client_note, footer
from sidelab.bench.report.figures.rows import Cell, Panel, arm_labels, interval, panels, whisker
from sidelab.bench.report.figures.sheet import Handle, Medium, Sheet, floor_handle, headed

Key = tuple[str, str, str]

_JUDGED: Final = (ArmVerdict.CHANGED, ArmVerdict.EQUIVALENT, ArmVerdict.INCONCLUSIVE)
_DECADES: Final = 5
"""The panels are drawn again, close to 0, if the axis is this many times as long as what matters there."""


class Data(NamedTuple):
    """What is drawn: rows of the summary, and the median difference of each lab build, by arm, connection, phase."""

    table: Summary
    builds: Mapping[Key, Floats]


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw the paired differences to the reference: a panel per quantity, a row per arm."""
    run, plan = found.run, found.run.plan
    quantities = [each for each in style.OVERHEADS if each[0] in plan.connections]
    names = [arm.name for arm in plan.arms if arm.name != plan.reference]
    data = Data(found.summary, found.builds)
    sheet = headed(
        medium,
        run,
        "What interception adds to a request",
        f"median difference to {plan.reference}, request by request, in µs; mean and 95 % interval over lab builds",
    )
    sheet.key(_key())
    shown = [(name, *each) for name in names for each in quantities if data.table[name, *each].verdict in _JUDGED]
    whole = _limits(data, shown)
    _block(sheet, run.plan, names, quantities, data, whole)
    near_us = close_to_zero([data.table[plan.twin, *each] for each in quantities], whole)
    near = [name for name in names if any(abs(data.table[name, *each].overhead_us) < near_us for each in quantities)]
    if near:
        sheet.down_in += 0.12
        sheet.text(f"The same, close to 0: \N{PLUS-MINUS SIGN}{near_us:g} µs", size=12, bold=True)
        _block(sheet, run.plan, near, quantities, data, (-near_us, near_us), numbers=False)
    return sheet.finish(footer(found, captured_client_note(plan), _verdict_note(plan)))


def close_to_zero(twins: Sequence[SummaryRow], whole: tuple[float, float]) -> float:
    """Return how far from 0 the closer view reaches, in µs, to show floors and margins; 0 if none is needed."""
    known = [us for row in twins for us in (row.floor_us, row.margin_us) if np.isfinite(us)]
    near_us = scales.round_up(3 * max(known, default=1.0))
    return near_us if max(map(abs, whole)) > _DECADES * near_us else 0.0


def _block(
    sheet: Sheet,
    plan: Plan,
    names: Sequence[str],
    quantities: Sequence[tuple[str, str]],
    data: Data,
    limits: tuple[float, float],
    *,
    numbers: bool = True,
) -> None:
    """Draw a panel per quantity, all with the same axis."""
    shown = []
    for each in quantities:
        cells = [_cell(data.table[name, *each]) for name in names] if numbers else ()
        shown.append(Panel(style.OVERHEADS[each], f"µs more than {plan.reference}", cells))
    looks = style.looks(plan)
    sheet_panels = panels(sheet, arm_labels(plan, names), shown)
    for (axes, width_in), each in zip(sheet_panels, quantities, strict=True):
        scales.linear(axes, "x", limits, width_in, sign=True)
        twin = data.table[plan.twin, *each]
        axes.axvspan(-twin.floor_us, twin.floor_us, color=style.FLOOR, linewidth=0, zorder=0)
        for side in (-1, 1):
            axes.axvline(side * twin.margin_us, color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
        axes.axvline(0, color=style.BLACK, linewidth=0.9, zorder=1)
        for number, name in enumerate(names):
            if (name, *each) in data.builds and data.table[name, *each].verdict in _JUDGED:
                _arm(axes, number, data.table[name, *each], data.builds[name, *each], looks[name].colour)


def _cell(row: SummaryRow) -> Cell:
    """Format the numbers of an arm; one that was never measured has none."""
    return interval(row.overhead_us, row.low_us, row.high_us) if row.verdict in _JUDGED else Cell("not measured")


def _limits(data: Data, shown: Sequence[Key]) -> tuple[float, float]:
    """Return one range for all panels: it holds every build, and intervals as far as the builds keep their room."""
    points = [float(us) for key in shown for us in (*data.builds[key], data.table[key].overhead_us)]
    ends = [us for key in shown for us in (data.table[key].low_us, data.table[key].high_us)]
    return scales.around(scales.clipped(points, ends), least=10.0)


def _arm(axes: Axes, number: int, row: SummaryRow, builds: Floats, colour: str) -> None:
    low, high = axes.get_xlim()
    # Builds alternate between three heights, as their dots would hide each other.
    dots = [(us, number + 0.09 * (k % 3 - 1)) for k, us in enumerate(builds) if low <= us <= high]
    axes.scatter([us for us, _ in dots], [y for _, y in dots], s=11, color=colour, alpha=0.3, linewidth=0, zorder=2)
    mean_us = row.overhead_us
    axes.barh(number, mean_us, height=0.14, color=colour, alpha=0.35, linewidth=0, zorder=1.5)
    interval_us = (mean_us, mean_us) if np.isnan(row.low_us) else (row.low_us, row.high_us)
    whisker(axes, number, interval_us, colour=colour, width=3.5)
    if low <= mean_us <= high:
        look = _verdict_look(ArmVerdict(row.verdict), colour)
        axes.plot([mean_us], [number], zorder=5, linestyle="", **look)


def _verdict_look(verdict: ArmVerdict, colour: str) -> dict[str, Any]:
    """Return the marker of a verdict: shape and filling show it, and the colour is the arm's."""
    marker = {ArmVerdict.CHANGED: "D", ArmVerdict.EQUIVALENT: "o", ArmVerdict.INCONCLUSIVE: "s"}[verdict]
    fill = colour if verdict == ArmVerdict.CHANGED else style.WHITE
    return {"marker": marker, "color": colour, "markerfacecolor": fill, "markersize": 6.5, "mew": 1.5}


def _verdict_note(plan: Plan) -> str:
    return (
        f"Equivalent: the interval lies within the margin (dotted), \N{PLUS-MINUS SIGN}{plan.margin_us:g} µs or "
        f"{100 * plan.margin_ratio:g} % of {plan.reference}'s median if that is more. Changed: the interval excludes "
        "0, and the difference is over margin and floor. An arrow: it goes on beyond the axis."
    )


def _key() -> list[Handle]:
    handles: list[Handle] = [
        Line2D([], [], label=str(verdict), linewidth=3, **_verdict_look(verdict, style.GREY)) for verdict in _JUDGED
    ]
    dot: dict[str, Any] = {"color": style.GREY, "marker": "o", "alpha": 0.4, "linestyle": "", "markersize": 4}
    margin = Line2D([], [], color=style.GREY, linewidth=0.8, linestyle=":", label="margin")
    return [*handles, Line2D([], [], label="one lab build", **dot), floor_handle(), margin]
