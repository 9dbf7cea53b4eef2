"""Several runs of one plan: each arm's overhead over time, and marks where the setup changed."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.summary import Summary, SummaryRow
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.overhead import close_to_zero
from sidelab.bench.report.figures.sheet import Foot, Handle, Medium, Sheet, across, arm_handles, floor_handle

_HEIGHT_IN: Final = 2.8
_LEAST_US: Final = 10.0
_FEW: Final = 40
"""With more runs than this, each is drawn as a dot, without its arm's marker."""

_MOST_CHANGES: Final = 12


class Past(NamedTuple):
    """One run of the history: its results for total times, and what differs from the previous run's setup (or '')."""

    found: Analysis
    change: str


def figure(runs: Sequence[Past], left_out: Sequence[str], medium: Medium) -> Figure:
    """Draw a panel per kind of connection with a line per arm, oldest run first; the runs have one plan.

    `left_out` says what is missing from the picture, for the foot.
    """
    plan = runs[-1].found.run.plan
    others = [arm.name for arm in plan.arms if arm.name not in (plan.reference, plan.twin)]
    subtitle = f"µs more than {plan.reference} in the total, mean and 95 % interval over each run's lab builds"
    sheet = Sheet(medium, "Overhead over time", subtitle)
    sheet.key([*arm_handles(plan, markers=True, leave_out=(plan.reference, plan.twin)), _hollow(), floor_handle()])
    tables = [past.found.summary for past in runs]
    found = [table[name, each, "total"] for table in tables for name in others for each in plan.connections]
    points = [row.overhead_us for row in found]
    ends = [end for row in found for end in (row.low_us, row.high_us)]
    whole = scales.around(scales.clipped(points, ends), least=_LEAST_US)
    _block(sheet, runs, tables, whole)
    near_us = close_to_zero([table[plan.twin, each, "total"] for table in tables for each in plan.connections], whole)
    if near_us and any(abs(us) < near_us for us in points):
        sheet.down_in += 0.12
        sheet.text(f"The same, close to 0: \N{PLUS-MINUS SIGN}{near_us:g} µs", size=12, bold=True)
        _block(sheet, runs, tables, (-near_us, near_us))
    return sheet.finish(_foot(runs, plan, left_out))


def _foot(runs: Sequence[Past], plan: Plan, left_out: Sequence[str]) -> Foot:
    changes = [f"run {number}: {past.change}" for number, past in enumerate(runs, 1) if past.change]
    rebuilds = sorted({past.found.run.samples["rebuild"].nunique() for past in runs})
    builds = " to ".join(map(str, dict.fromkeys((rebuilds[0], rebuilds[-1]))))
    counted = (
        f"{len(runs)} runs of plan {plan.name} ({plan.digest[:12]}), {builds} lab builds each, evenly spaced whatever "
        "time lies between them. Each point is an overhead within its own run: both arms in the same minute on the "
        "same machine."
    )
    means = (
        f"Dotted: the means changed. {'; '.join(changes)}." if changes else "The means of measuring stayed the same."
    )
    return Foot([counted, means, *left_out])


def _block(sheet: Sheet, runs: Sequence[Past], tables: Sequence[Summary], limits: tuple[float, float]) -> None:
    """Draw a panel per kind of connection, all with one axis."""
    plan = runs[-1].found.run.plan
    titles = [f"{style.CONNECTION_TITLE[connection]}: total" for connection in plan.connections]
    made = across(sheet, titles, height_in=_HEIGHT_IN, below="run, and when it started (UTC)", tick_lines=3)
    for (axes, width_in), connection in zip(made, plan.connections, strict=True):
        axes.set_xlim(0.5, len(runs) + 0.5)
        scales.linear(axes, "y", limits, _HEIGHT_IN, sign=True)
        for name, look in style.looks(plan).items():
            if name not in (plan.reference, plan.twin):
                _line(axes, [table[name, connection, "total"] for table in tables], look)
        _floor(axes, [table[plan.twin, connection, "total"].floor_us for table in tables])
        for number, past in enumerate(runs, 1):
            if past.change:
                axes.axvline(number - 0.5, color=style.GREY, linewidth=1.2, linestyle=":", zorder=1)
        _dates(axes, runs, width_in)


def _floor(axes: Axes, floors_us: Sequence[float]) -> None:
    edges = np.concatenate([[0.5], np.arange(1, len(floors_us) + 1), [len(floors_us) + 0.5]])
    band_us = np.concatenate([floors_us[:1], floors_us, floors_us[-1:]])
    axes.fill_between(edges, -band_us, band_us, step="mid", color=style.FLOOR, linewidth=0, zorder=0)
    axes.axhline(0, color=style.BLACK, linewidth=0.9, zorder=1)


def _hollow() -> Handle:
    look: dict[str, Any] = {"color": style.GREY, "marker": "o", "markerfacecolor": style.WHITE, "linestyle": ""}
    return Line2D([], [], label="not proven", **look)


def _line(axes: Axes, found: Sequence[SummaryRow], look: style.Look) -> None:
    places = range(1, len(found) + 1)
    many = len(found) > _FEW
    axes.plot(places, [row.overhead_us for row in found], color=look.colour, linestyle=look.dash, linewidth=1.2)
    thick = 1.0 if many else 2.5
    ends = ([row.low_us for row in found], [row.high_us for row in found])
    axes.vlines(places, *ends, color=look.colour, linewidth=thick, zorder=3)
    for proven, fill in ((True, look.colour), (False, style.WHITE)):
        chosen = [
            (place, row.overhead_us)
            for place, row in enumerate(found, 1)
            if (row.verdict == ArmVerdict.CHANGED) is proven
        ]
        shape: dict[str, Any] = {"marker": look.marker, "markersize": 6, "mew": 1.5, "markerfacecolor": fill}
        if many:
            shape |= {"markersize": 2.5, "mew": 0.8}
        at = ([place for place, _ in chosen], [us for _, us in chosen])
        axes.plot(*at, color=look.colour, zorder=4, linestyle="", **shape)


def _dates(axes: Axes, runs: Sequence[Past], width_in: float) -> None:
    """Label as many runs as there is room for with number and date."""
    count = len(runs)
    labels = []
    for number, past in enumerate(runs, 1):
        day, _, time = str(past.found.run.facts.get("started", ""))[:16].partition("T")
        labels.append(f"{number}\n{day}\n{time}")
    longest = [max(label.split("\n"), key=len) for label in labels]
    places_in = [width_in * (number + 0.5) / count for number in range(count)]
    kept = scales.thinned(places_in, longest, width_in)
    axes.set_xticks([each + 1 for each in kept], [labels[each] for each in kept], fontsize=8)
