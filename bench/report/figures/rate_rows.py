"""Open loop at one rate: a row per arm, beside what Istio publishes for that rate."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.published import ISTIO, LABEL, RATE_PER_S, Published
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.foot import footer
from sidelab.bench.report.figures.openloop_estimates import Estimate, Quantity, added, load, spread
from sidelab.bench.report.figures.rows import Cell, Label, Panel, arm_labels, panels, whisker
from sidelab.bench.report.figures.sheet import Handle, Medium, headed

_PERCENTILES: Final = ("p50", "p90", "p99", "p999")
_WORDS: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
_MARKERS: Final = {"p50": "o", "p90": "s", "p99": "D", "p999": "^"}
_FILLS: Final = {"p50": style.SKY, "p90": style.BLUE, "p99": style.ORANGE, "p999": style.VERMILION}

_BESIDE: Final = (
    "Dotted: Istio's own published figures for that rate, 1 KB, HTTP/1.1 and mTLS, in a cluster with two workers a "
    "proxy; compare the shape, not the value."
)

_WHISKERS: Final = (
    "Whiskers: 95 % interval over lab builds. CPU and memory are those of the arm's proxies alone; n/a: it has none."
)

_ADDED: Final = Quantity("added p99", "added p99", "µs more than the reference")
_SPENT: Final = (
    Quantity("cpu_s_per_1000", "proxies' CPU", "ms per 1000 requests", 1e-3),
    Quantity("memory_kib", "proxies' memory", "MiB at the peak", 1024),
)


class _Bars(NamedTuple):
    """A quantity with its estimate for each arm."""

    quantity: Quantity
    found: Sequence[Estimate]


def figure(found: Analysis, medium: Medium) -> Figure:
    """Draw a row per arm: its percentiles, what it adds to the slowest hundredth, and what its proxies use."""
    run, rates = found.run, found.run.rates
    rate = float(rates["rate_per_s"].iloc[0])
    names = [arm.name for arm in run.plan.arms if (rates["arm"] == arm.name).any()]
    beside = ISTIO if rate == RATE_PER_S else ()
    title = f"What it costs at {rate:,.0f} requests per second"
    sheet = headed(
        medium, run, title, "open loop, latency from the intended start; mean over the lab builds of each arm"
    )
    sheet.key(_key())
    labels = [*arm_labels(run.plan, names), *(Label(each.what, LABEL) for each in beside)]
    latency = [{each: spread(rates, name, rate, f"{each}_us") for each in _PERCENTILES} for name in names]
    bars = [_Bars(_ADDED, [added(rates, name, run.plan.reference, rate) for name in names])]
    bars += [
        _Bars(quantity, [_over(spread(rates, name, rate, quantity.column), quantity.per) for name in names])
        for quantity in _SPENT
        if (rates[quantity.column] > 0).any()
    ]
    shown = [
        Panel(
            "latency", "µs (logarithmic)", [*map(_latency_cell, latency), *(Cell("", "not published") for _ in beside)]
        )
    ]
    for quantity, estimates in bars:
        nothing = run.plan.reference if quantity == _ADDED else ""
        own = [
            Cell("", "reference") if name == nothing else _bar_cell(mean)
            for name, (mean, _, _) in zip(names, estimates, strict=True)
        ]
        cells = [*own, *(_published_cell(_published(each, quantity)) for each in beside)]
        shown.append(Panel(quantity.title, quantity.label, cells))
    (first, first_in), *others = panels(sheet, labels, shown, 0.52)
    scales.logarithmic(first, "x", scales.decades(_reached(latency)), first_in)
    for number, each in enumerate(latency):
        _percentiles(first, number, each)
    for (axes, width_in), (quantity, estimates) in zip(others, bars, strict=True):
        _bars(axes, width_in, estimates, [_published(each, quantity) for each in beside])
    return sheet.finish(footer(found, _WHISKERS, _BESIDE if beside else "", load=load(rates)))


def _key() -> list[Handle]:
    return [
        Line2D([], [], color=_FILLS[each], marker=_MARKERS[each], linestyle="", label=_WORDS[each])
        for each in _PERCENTILES
    ]


def _bars(axes: Axes, width_in: float, found: Sequence[Estimate], elsewhere: Sequence[float]) -> None:
    """Draw the arms' bars, and the published figures below them."""
    points = [*(mean for mean, _, _ in found), *elsewhere]
    ends = [end for _, low, high in found for end in (low, high)]
    scales.linear(axes, "x", scales.around(scales.clipped(points, ends), least=1e-3), width_in)
    axes.axvline(0, color=style.BLACK, linewidth=0.9, zorder=1)
    for number, each in enumerate(found):
        _bar(axes, number, each)
    for number, value in enumerate(elsewhere, len(found)):
        _bar_from_elsewhere(axes, number, value)


def _over(found: Estimate, per: float) -> Estimate:
    mean, low, high = found
    return mean / per, low / per, high / per


def _published(each: Published, quantity: Quantity) -> float:
    """Return the published figure of a quantity, in its unit; NaN if there is none."""
    values = {
        "added p99": each.added_p99_us,
        "cpu_s_per_1000": None if each.cpu_s_per_1000 is None else each.cpu_s_per_1000 / quantity.per,
        "memory_kib": None if each.memory_mb is None else each.memory_mb * 1e6 / 2**20,
    }
    value = values[quantity.column]
    return math.nan if value is None else value


def _latency_cell(found: dict[str, Estimate]) -> Cell:
    """Format the median, with the slowest hundredth beside it."""
    p50, p99 = found["p50"][0], found["p99"][0]
    if not p50 > 0:
        return Cell("not measured")
    return Cell(f"p50 {microseconds(p50)}", f"p99 {microseconds(p99)}" if p99 > 0 else "")


def _published_cell(value: float) -> Cell:
    return Cell("", "not published") if np.isnan(value) else Cell(microseconds(value))


def _bar_cell(value: float) -> Cell:
    return Cell("n/a") if np.isnan(value) else Cell(microseconds(value))


def _reached(latency: list[dict[str, Estimate]]) -> list[float]:
    found = [each for arm in latency for each in arm.values() if each[0] > 0]
    return [end for mean, low, high in found for end in (mean, max(low, mean / 3), min(high, 3 * mean))]


def _percentiles(axes: Axes, number: int, found: dict[str, Estimate]) -> None:
    means = [mean for mean, _, _ in found.values() if mean > 0]
    if means:
        axes.plot([min(means), max(means)], [number] * 2, color=style.PALE, linewidth=5, zorder=1)
    for each, (mean, low, high) in found.items():
        if not np.isnan(low) and mean > 0:
            ends = [max(low, mean / 3), min(high, 3 * mean)]
            axes.plot(ends, [number] * 2, color=_FILLS[each], linewidth=1.4, zorder=2)
        if mean > 0:
            axes.plot([mean], [number], marker=_MARKERS[each], color=_FILLS[each], markersize=6.5, zorder=3)


def _bar(axes: Axes, number: int, found: Estimate) -> None:
    mean, low, high = found
    if not np.isnan(mean):
        axes.barh(number, mean, height=0.36, color=style.SKY, zorder=2)
        whisker(axes, number, (low, high), colour=style.BLACK, width=1.3)


def _bar_from_elsewhere(axes: Axes, number: int, value: float) -> None:
    """Draw a published figure so that it cannot be mistaken for one of this run's."""
    if not np.isnan(value):
        look: dict[str, Any] = {"color": style.WHITE, "edgecolor": style.GREY, "linestyle": ":", "linewidth": 1.2}
        axes.barh(number, value, height=0.36, zorder=2, **look)
