"""Open loop: how latency grows with the rate that is asked for, and what the proxies spend; or, at one rate, by arm."""

import math
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench import statistics
from bench.caveats import Caveat
from bench.figures import style
from bench.openloop.doubts import KEPT_UP
from bench.published import ISTIO, LABEL, RATE_PER_S
from bench.reader import Run
from bench.summary import microseconds

_PERCENTILES: Final = ("p50", "p90", "p99", "p999")
_WORDS: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
_MARKERS: Final = {"p50": "o", "p90": "s", "p99": "D", "p999": "^"}
_FILLS: Final = {"p50": style.SKY, "p90": style.BLUE, "p99": style.ORANGE, "p999": style.VERMILION}


class Panel(NamedTuple):
    """One quantity against the rate: a column of rates.csv, and what an axis says of it."""

    column: str
    title: str
    label: str
    per: float = 1.0


_BESIDE: Final = (
    "Dotted: Istio's own published figures for that rate, 1 KB, HTTP/1.1 and mTLS, in a cluster with two workers a "
    "proxy; compare the shape, not the value."
)

_LINES: Final = (
    Panel("p50_us", "half of the requests", "p50 in µs"),
    Panel("p99_us", "99 of 100 requests", "p99 in µs"),
    Panel("cpu_s_per_1000", "CPU of the proxies", "ms per 1000 requests", 1e-3),
)
_BARS: Final = (
    Panel("cpu_s_per_1000", "proxies' CPU", "ms per 1000 requests", 1e-3),
    Panel("memory_kib", "proxies' memory", "MiB at the peak", 1024),
)


def figure(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw lines against the rate where there are several rates, else a row per arm.

    `rates` has the columns of `bench.samples.RateSample`; NaN or a negative value is unknown.
    """
    asked = sorted(rates["rate_per_s"].unique())
    return _lines(run, rates, caveats) if len(asked) > 1 else _rows(run, rates, caveats)


def spread(rates: pd.DataFrame, arm: str, rate: float, column: str) -> tuple[float, float, float]:
    """Return mean and 95 % interval over the rebuilds of one arm's column at one rate; NaN where unknown."""
    chosen = rates[(rates["arm"] == arm) & (rates["rate_per_s"] == rate)]
    values = chosen[column].to_numpy(dtype=float)
    found = statistics.estimate(np.where(values < 0, np.nan, values))
    return float(found.mean), float(found.low), float(found.high)


def _load(rates: pd.DataFrame) -> str:
    builds = rates["rebuild"].nunique()
    return (
        "Open loop: requests start when the schedule says so, answered or not, and latency counts from that intended "
        "start, so that waiting in a queue is part of it (no coordinated omission). "
        f"Each arm by itself; {_between(rates['connections'])} connections; n = {_between(rates['requests'])} answers "
        f"per arm, rate and lab build, {builds} builds."
    )


def _between(counts: pd.Series) -> str:
    return " to ".join(f"{int(count):,}" for count in dict.fromkeys((counts.min(), counts.max())))


def _lines(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    panels = [panel for panel in _LINES if (rates[panel.column] > 0).any()]
    asked = sorted(rates["rate_per_s"].unique())
    reached = (
        f"Hollow: less than {100 * KEPT_UP:g} % of the rate was answered. Whiskers: 95 % interval over lab builds."
    )
    foot = style.footer(run, caveats, reached, load=_load(rates))
    size = style.legend_rows([arm.name for arm in run.plan.arms])
    result, grid = style.canvas(run, len(panels), 5.2, foot, rows_of_legend=size)
    result.subplots_adjust(left=0.075, wspace=0.24)
    for axes, panel in zip(grid, panels, strict=True):
        for name, look in style.looks(run.plan).items():
            _line(axes, rates, name, panel, look)
        if panel.column.endswith("_us"):
            style.logarithmic(axes, "y")
        else:
            axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        style.logarithmic(axes, "x")
        axes.set_xticks(asked, [f"{rate / 1000:g}k" if rate >= 1000 else f"{rate:g}" for rate in asked])
        axes.grid(color=style.PALE, linewidth=0.6)
        axes.set_title(panel.title)
        axes.set_ylabel(f"{panel.label} (logarithmic)" if panel.column.endswith("_us") else panel.label)
        axes.set_xlabel("requests per second asked for (logarithmic)")
    style.arm_legend(result, run, markers=True)
    style.headline(result, run, "Latency against rate", "open loop, latency from the intended start of each request")
    return result


def _line(axes: Axes, rates: pd.DataFrame, arm: str, panel: Panel, look: style.Look) -> None:
    own = rates[rates["arm"] == arm]
    asked = sorted(own["rate_per_s"].unique())
    found = np.array([spread(rates, arm, rate, panel.column) for rate in asked]).reshape(-1, 3) / panel.per
    if not (found[:, 0] > 0).any():
        return
    axes.plot(asked, found[:, 0], color=look.colour, linestyle=look.dash, linewidth=1.8, zorder=2)
    for rate, (mean, low, high) in zip(asked, found, strict=True):
        # A logarithmic axis has no place for an interval that reaches below 0: it is cut at a tenth of the mean.
        if not np.isnan(low):
            axes.plot([rate, rate], [max(low, mean / 10), high], color=look.colour, linewidth=1.2, zorder=3)
        achieved = float(own.loc[own["rate_per_s"] == rate, "achieved_per_s"].mean())
        fill = look.colour if achieved >= KEPT_UP * rate else "white"
        shape: dict[str, Any] = {"marker": look.marker, "markersize": 6, "mew": 1.5, "linestyle": ""}
        axes.plot([rate], [mean], color=look.colour, markerfacecolor=fill, zorder=4, **shape)


def added(rates: pd.DataFrame, arm: str, reference: str, rate: float) -> tuple[float, float, float]:
    """Return mean and 95 % interval, over the rebuilds, of an arm's p99 less the reference's, in µs."""
    at = rates[rates["rate_per_s"] == rate].pivot_table(index="rebuild", columns="arm", values="p99_us")
    if not {arm, reference} <= set(at.columns):
        return math.nan, math.nan, math.nan
    found = statistics.estimate((at[arm] - at[reference]).to_numpy(dtype=float))
    return float(found.mean), float(found.low), float(found.high)


def _rows(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    rate = float(rates["rate_per_s"].iloc[0])
    names = [arm.name for arm in run.plan.arms if (rates["arm"] == arm.name).any()]
    beside = ISTIO if rate == RATE_PER_S else ()
    bars = [panel for panel in _BARS if (rates[panel.column] > 0).any()]
    whiskers = "Whiskers: 95 % interval over lab builds. CPU and memory are those of the arm's proxies alone."
    foot = style.footer(run, caveats, whiskers + (f" {_BESIDE}" if beside else ""), load=_load(rates))
    height_in = 2.0 + 0.55 * (len(names) + len(beside))
    result, grid = style.canvas(run, 2 + len(bars), height_in, foot, share_y=True)
    for number, name in enumerate(names):
        _percentiles(grid[0], number, {each: spread(rates, name, rate, f"{each}_us") for each in _PERCENTILES})
        if name != run.plan.reference:
            _bar(grid[1], number, added(rates, name, run.plan.reference, rate))
    style.logarithmic(grid[0], "x", most=5)
    _entitle(grid[0], "latency", "µs (logarithmic)")
    _entitle(grid[1], "added p99", f"µs more than {run.plan.reference}")
    for axes, panel in zip(grid[2:], bars, strict=True):
        for number, name in enumerate(names):
            mean, low, high = (each / panel.per for each in spread(rates, name, rate, panel.column))
            _bar(axes, number, (mean, low, high))
        _entitle(axes, panel.title, panel.label)
    for number, each in enumerate(beside, len(names)):
        values = {
            "added p99": each.added_p99_us,
            "proxies' CPU": None if each.cpu_s_per_1000 is None else 1000 * each.cpu_s_per_1000,
            "proxies' memory": None if each.memory_mb is None else each.memory_mb * 1e6 / 2**20,
        }
        for axes in grid[1:]:
            _published(axes, number, values[axes.get_title(loc="left")])
    for axes in grid[1:]:
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.0), low + 1.35 * (high - low))
    arms = [(name, run.plan.arm(name).describe()) for name in names]
    style.name_rows(grid[0], [*arms, *((each.what, LABEL) for each in beside)])
    style.headline(
        result, run, f"What it costs at {rate:,.0f} requests per second", "open loop; mean over lab builds of each arm"
    )
    handles = [
        Line2D([], [], color=_FILLS[each], marker=_MARKERS[each], linestyle="", label=_WORDS[each])
        for each in _PERCENTILES
    ]
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.12 / result.get_figheight())}
    result.legend(handles=handles, ncols=len(handles), frameon=False, **place)
    return result


def _entitle(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(unit, fontsize=9)
    axes.grid(axis="x", color=style.PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=4)


def _published(axes: Axes, number: int, value: float | None) -> None:
    """Draw a figure that was measured elsewhere so that nobody takes it for one of this run's."""
    if value is not None:
        axes.barh(number, value, height=0.5, color="white", edgecolor=style.GREY, hatch="....", linewidth=0.8, zorder=2)
        place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": style.GREY}
        axes.annotate(f"{value:,.0f}", (value, number), (6, 0), fontsize=9, **place)


def _percentiles(axes: Axes, number: int, found: dict[str, tuple[float, float, float]]) -> None:
    means = [mean for mean, _, _ in found.values() if mean > 0]
    if means:
        axes.plot([min(means), max(means)], [number] * 2, color=style.PALE, linewidth=5, zorder=1)
    for each, (mean, low, high) in found.items():
        if not np.isnan(low):
            axes.plot([max(low, mean / 10), high], [number] * 2, color=_FILLS[each], linewidth=1.4, zorder=2)
        if mean > 0:
            axes.plot([mean], [number], marker=_MARKERS[each], color=_FILLS[each], markersize=7, linestyle="", zorder=3)
        if mean > 0 and each in ("p50", "p99"):  # the others would hide these
            place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": style.GREY}
            axes.annotate(microseconds(mean).removesuffix(".0"), (mean, number), (0, 8), **place)


def _bar(axes: Axes, number: int, found: tuple[float, float, float]) -> None:
    mean, low, high = found
    if np.isnan(mean):
        axes.annotate("n/a", (0, number), (4, 0), textcoords="offset points", va="center", color=style.GREY, fontsize=9)
        return
    axes.barh(number, mean, height=0.5, color=style.SKY, zorder=2)
    if not np.isnan(low):
        whisker: dict[str, Any] = {"color": style.BLACK, "marker": "|", "markersize": 7, "linewidth": 1.3}
        axes.plot([low, high], [number] * 2, zorder=3, **whisker)
    text = microseconds(mean)
    right = max(0.0, mean if np.isnan(high) else max(mean, high))
    axes.annotate(text, (right, number), (6, 0), textcoords="offset points", va="center", fontsize=9)
