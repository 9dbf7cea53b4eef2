"""How the cost of the rules grows with their number: overhead against extra rules, a line per kind of arm."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from msgspec import structs

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.statistics import Floats
from sidelab.bench.judge.summary import SummaryRow
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import captured_client_note, footer
from sidelab.bench.report.figures.sheet import Handle, Medium, across, floor_handle, headed
from sidelab.bench.report.figures.style import Look

_LEAST_US: Final = 10.0
"""The least range of a panel, so that a flat one is not enlarged until its noise looks like a slope."""


class Point(NamedTuple):
    """One arm: its number of rules, its row of the summary, and the median difference of each lab build."""

    rules: int
    row: SummaryRow
    builds: Floats


def series(plan: Plan) -> dict[str, list[Arm]]:
    """Group the arms that differ only in their number of extra rules, fewest first, by a name for the group.

    The result is empty unless a group has two members.
    """
    groups: dict[tuple[Any, ...], list[Arm]] = {}
    for arm in plan.arms:
        if arm.name not in (plan.reference, plan.twin):
            kind = tuple(value for key, value in structs.asdict(arm).items() if key not in ("name", "extra_rules"))
            groups.setdefault(kind, []).append(arm)
    long = [sorted(arms, key=lambda arm: arm.extra_rules) for arms in groups.values() if len(arms) > 1]
    return {arms[0].name.rstrip("0123456789").rstrip("-"): arms for arms in long if arms[-1].extra_rules}


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw a panel per quantity: the overhead with its interval and every lab build, on a logarithmic axis of rules."""
    run, plan = found.run, found.run.plan
    quantities = [each for each in style.OVERHEADS if each[0] in plan.connections]
    groups = series(plan)
    looks = dict(zip(groups, style.in_turn(len(groups)), strict=True))  # a line stands for a group, not for any one arm
    counts = sorted({arm.extra_rules for arms in groups.values() for arm in arms})
    table, medians = found.summary, found.builds
    sheet = headed(
        medium,
        run,
        "What more rules cost",
        f"µs more than {plan.reference}, median difference request by request; mean and 95 % interval over lab builds",
    )
    sheet.key(_key(looks))
    titles = [style.OVERHEADS[each] for each in quantities]
    height_in = 2.6 if medium.stacked else 3.6
    made = across(sheet, titles, height_in=height_in, below="extra rules in the pod (logarithmic)")
    for (axes, width_in), each in zip(made, quantities, strict=True):
        lines = [
            [
                Point(arm.extra_rules, table[arm.name, *each], medians.get((arm.name, *each), np.array([])))
                for arm in arms
            ]
            for arms in groups.values()
        ]
        points = [us for line in lines for point in line for us in (*point.builds, point.row.overhead_us)]
        ends = [us for line in lines for point in line for us in (point.row.low_us, point.row.high_us)]
        scales.linear(axes, "y", scales.around(scales.clipped(points, ends), least=_LEAST_US), height_in, sign=True)
        for number, (line, look) in enumerate(zip(lines, looks.values(), strict=True)):
            _line(axes, number, line, look)
        floor_us = table[plan.twin, *each].floor_us
        axes.axhspan(-floor_us, floor_us, color=style.FLOOR, linewidth=0, zorder=0)
        axes.axhline(0, color=style.BLACK, linewidth=0.9, zorder=1)
        _counts(axes, counts, width_in)
    return sheet.finish(footer(found, captured_client_note(plan)))


def _key(looks: dict[str, Look]) -> list[Handle]:
    return [
        *(Line2D([], [], color=look.colour, marker=look.marker, label=name) for name, look in looks.items()),
        floor_handle(),
    ]


def _line(axes: Axes, number: int, points: Sequence[Point], look: Look) -> None:
    """Draw one group; groups are shifted a little, so that none hides another's intervals."""
    # On the symlog axis' scale: a tenth of the step from 0 to 1 rule, or 4 % of a larger number.
    places = [point.rules * (1 + 0.04 * number) if point.rules else 0.1 * number for point in points]
    for place, point in zip(places, points, strict=True):
        builds: dict[str, Any] = {"s": 11, "color": look.colour, "alpha": 0.25, "linewidth": 0, "zorder": 2}
        axes.scatter([place] * len(point.builds), point.builds, **builds)
        axes.plot([place] * 2, [point.row.low_us, point.row.high_us], color=look.colour, linewidth=2.5, zorder=3)
    means = [point.row.overhead_us for point in points]
    shape: dict[str, Any] = {"marker": look.marker, "markerfacecolor": style.WHITE, "markersize": 6.5, "mew": 1.6}
    axes.plot(places, means, color=look.colour, linewidth=1.6, zorder=4, **shape)


def _counts(axes: Axes, counts: list[int], width_in: float) -> None:
    low, high = -0.4 if counts[0] == 0 else 0.7 * counts[0], 1.6 * counts[-1]
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(low, high)
    at = axes.get_xaxis().get_transform().transform
    start, end = at([low, high])
    places_in = [float(width_in * (place - start) / (end - start)) for place in at(counts)]
    labels = [f"{count:,}" for count in counts]
    kept = scales.thinned(places_in, labels, width_in)
    axes.set_xticks([counts[each] for each in kept], [labels[each] for each in kept], fontsize=scales.TICK_SIZE)
    axes.xaxis.set_minor_locator(NullLocator())
