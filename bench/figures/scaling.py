"""How the cost of the rules grows with their number: overhead against extra rules, a line per kind of arm."""

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from msgspec import structs

from bench import statistics
from bench.arm import Arm
from bench.caveats import Caveat
from bench.figures import style
from bench.plan import Plan
from bench.reader import Run
from bench.statistics import Floats
from bench.summary import Row, rows

_PANELS: Final = (("new", "connect"), ("new", "total"), ("keep-alive", "total"))
_TITLES: Final = {
    ("new", "connect"): "new connection: connect",
    ("new", "total"): "new connection: total",
    ("keep-alive", "total"): "kept-alive connection: total",
}
_COLOURS: Final = (style.VERMILION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE)
_MARKERS: Final = ("o", "s", "D", "^", "v")


def series(plan: Plan) -> dict[str, list[Arm]]:
    """Group the arms that differ in the number of their extra rules alone, fewest first, by a name for the group.

    Empty unless a group has two members.
    """
    groups: dict[tuple[Any, ...], list[Arm]] = {}
    for arm in plan.arms:
        if arm.name not in (plan.reference, plan.twin):
            kind = tuple(value for key, value in structs.asdict(arm).items() if key not in ("name", "extra_rules"))
            groups.setdefault(kind, []).append(arm)
    long = [sorted(arms, key=lambda arm: arm.extra_rules) for arms in groups.values() if len(arms) > 1]
    return {arms[0].name.rstrip("0123456789").rstrip("-"): arms for arms in long if arms[-1].extra_rules}


def figure(run: Run, summary: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw a panel per quantity: the overhead with its interval and every lab build, on a logarithmic axis of rules."""
    plan = run.plan
    panels = [panel for panel in _PANELS if panel[0] in plan.connections]
    groups = series(plan)
    counts = sorted({arm.extra_rules for arms in groups.values() for arm in arms})
    table = rows(summary)
    by_rebuild = statistics.rebuild_medians(run.samples, plan.reference)
    medians = dict(zip(by_rebuild.index, by_rebuild.to_numpy(dtype=float), strict=True))
    foot = style.footer(run, caveats, style.captured_client_note(plan))
    result, grid = style.canvas(run, len(panels), 5.2, foot)
    result.subplots_adjust(left=0.06, right=0.975, wspace=0.17)
    for axes, panel in zip(grid, panels, strict=True):
        for number, arms in enumerate(groups.values()):
            _line(axes, number, [(arm, table[arm.name, *panel], medians.get((arm.name, *panel))) for arm in arms])
        floor_us = table[plan.twin, *panel].floor_us
        axes.axhspan(-floor_us, floor_us, color=style.SKY, alpha=0.45, linewidth=0, zorder=0)
        axes.axhline(0, color=style.BLACK, linewidth=0.9, zorder=1)
        _axis(axes, counts, panel)
    grid[0].set_ylabel(f"µs more than {plan.reference}")
    style.headline(
        result,
        run,
        "What more rules cost",
        f"median difference to {plan.reference}, request by request; mean and 95 % interval over lab builds",
    )
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=_COLOURS[number % 5], marker=_MARKERS[number % 5], label=name)
        for number, name in enumerate(groups)
    ]
    handles.append(Patch(color=style.SKY, alpha=0.45, linewidth=0, label="A/A noise floor"))
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.12 / result.get_figheight())}
    result.legend(handles=handles, ncols=len(handles), frameon=False, **place)
    return result


def _line(axes: Axes, number: int, points: list[tuple[Arm, Row, Floats | None]]) -> None:
    """Draw one group; groups stand a little beside each other, so that none hides another's intervals."""
    colour, marker = _COLOURS[number % 5], _MARKERS[number % 5]
    # In the symlog axis' own scale: a tenth of the step from 0 to 1 rule, or 4 % of a larger number.
    places = [arm.extra_rules * (1 + 0.04 * number) if arm.extra_rules else 0.1 * number for arm, _, _ in points]
    for place, (_, row, medians) in zip(places, points, strict=True):
        if medians is not None:
            axes.scatter([place] * len(medians), medians, s=11, color=colour, alpha=0.25, linewidth=0, zorder=2)
        axes.plot([place] * 2, [row.low_us, row.high_us], color=colour, linewidth=2.5, zorder=3)
    means = [row.overhead_us for _, row, _ in points]
    look: dict[str, Any] = {"marker": marker, "markerfacecolor": "white", "markersize": 7, "mew": 1.6}
    axes.plot(places, means, color=colour, linewidth=1.6, zorder=4, **look)


def _axis(axes: Axes, counts: list[int], panel: tuple[str, str]) -> None:
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(-0.4 if counts[0] == 0 else 0.7 * counts[0], 1.6 * counts[-1])
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    # A panel in which nothing happens is not blown up until its noise looks like a slope.
    low_us, high_us = axes.get_ylim()
    missing_us = max(0.0, 10.0 - (high_us - low_us))
    axes.set_ylim(low_us - missing_us / 2, high_us + missing_us / 2)
    axes.grid(color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(_TITLES[panel])
    axes.set_xlabel("extra rules in the pod (logarithmic)")
    if not np.isfinite(axes.get_ylim()).all():
        axes.set_ylim(-10, 10)
