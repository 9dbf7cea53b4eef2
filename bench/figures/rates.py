"""Open loop: how latency grows with the rate that is asked for, and what the proxies spend; or, at one rate, by arm."""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench import statistics
from bench.caveats import Caveat
from bench.figures import style
from bench.reader import Run

_PERCENTILES: Final = ("p50", "p90", "p99", "p999")
_WORDS: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
_MARKERS: Final = {"p50": "o", "p90": "s", "p99": "D", "p999": "^"}
_FILLS: Final = {"p50": style.SKY, "p90": style.BLUE, "p99": style.ORANGE, "p999": style.VERMILION}

KEPT_UP: Final = 0.98
"""A rate counts as reached when at least this share of it was answered; beyond it the numbers describe a queue."""

_NOTE: Final = (
    "Open loop: requests start when the schedule says so, answered or not, and latency counts from that intended start, "
    "so that waiting in a queue is part of it (no coordinated omission)."
)


class Panel(NamedTuple):
    """One quantity against the rate: a column of rates.csv, and what an axis says of it."""

    column: str
    title: str
    label: str
    per: float = 1.0


_LINES: Final = (
    Panel("p50_us", "half of the requests", "p50 in µs"),
    Panel("p99_us", "99 of 100 requests", "p99 in µs"),
    Panel("cpu_s_per_1000", "CPU of the proxies", "ms per 1000 requests", 1e-3),
)
_BARS: Final = (
    Panel("cpu_s_per_1000", "CPU of the proxies", "ms per 1000 requests", 1e-3),
    Panel("memory_kib", "peak memory of the proxies", "MiB", 1024),
)


def figure(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    """Draw lines against the rate where there are several rates, else a row per arm.

    `rates` has a row per rebuild, arm and rate, with the columns rebuild, arm, rate_per_s, achieved_per_s, p50_us,
    p90_us, p99_us, p999_us, cpu_s_per_1000 and memory_kib; NaN or a negative value is unknown.
    """
    asked = sorted(rates["rate_per_s"].unique())
    return _lines(run, rates, caveats) if len(asked) > 1 else _rows(run, rates, caveats)


def spread(rates: pd.DataFrame, arm: str, rate: float, column: str) -> tuple[float, float, float]:
    """Return mean and 95 % interval over the rebuilds of one arm's column at one rate; NaN where unknown."""
    chosen = rates[(rates["arm"] == arm) & (rates["rate_per_s"] == rate)]
    values = chosen[column].to_numpy(dtype=float)
    found = statistics.estimate(np.where(values < 0, np.nan, values))
    return float(found.mean), float(found.low), float(found.high)


def _lines(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    panels = [panel for panel in _LINES if (rates[panel.column] > 0).any()]
    asked = sorted(rates["rate_per_s"].unique())
    reached = f"Hollow: less than {KEPT_UP:.0%} of the rate was answered. Whiskers: 95 % interval over lab builds."
    foot = style.footer(run, caveats, _NOTE, reached)
    size: dict[str, Any] = {"legend_rows": style.legend_rows(run.plan)}
    result, grid = style.canvas(run, len(panels), 5.2, foot, **size)
    result.subplots_adjust(left=0.055, wspace=0.2)
    for axes, panel in zip(grid, panels, strict=True):
        for name, look in style.looks(run.plan).items():
            _line(axes, rates, name, panel, look)
        style.logarithmic(axes, "y")
        style.logarithmic(axes, "x")
        axes.set_xticks(asked, [f"{rate:,.0f}" for rate in asked])
        axes.grid(color=style.PALE, linewidth=0.6)
        axes.set_title(panel.title)
        axes.set_ylabel(f"{panel.label} (logarithmic)")
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


def _rows(run: Run, rates: pd.DataFrame, caveats: tuple[Caveat, ...]) -> Figure:
    rate = float(rates["rate_per_s"].iloc[0])
    names = [arm.name for arm in run.plan.arms if (rates["arm"] == arm.name).any()]
    bars = [panel for panel in _BARS if (rates[panel.column] > 0).any()]
    whiskers = "Whiskers: 95 % interval over lab builds. CPU and memory are those of the arm's proxies alone."
    foot = style.footer(run, caveats, _NOTE, whiskers)
    result, grid = style.canvas(run, 1 + len(bars), 2.0 + 0.55 * len(names), foot, share_y=True)
    for number, name in enumerate(names):
        _percentiles(grid[0], number, {each: spread(rates, name, rate, f"{each}_us") for each in _PERCENTILES})
    style.logarithmic(grid[0], "x")
    grid[0].set_title("latency")
    grid[0].set_xlabel("µs from the intended start (logarithmic)")
    for axes, panel in zip(grid[1:], bars, strict=True):
        for number, name in enumerate(names):
            _bar(axes, number, tuple(each / panel.per for each in spread(rates, name, rate, panel.column)))
        axes.set_xlim(0, 1.3 * axes.get_xlim()[1])
        axes.set_title(panel.title)
        axes.set_xlabel(panel.label)
    for axes in grid:
        axes.grid(axis="x", color=style.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
    style.name_arms(grid[0], run.plan, names)
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


def _percentiles(axes: Axes, number: int, found: dict[str, tuple[float, float, float]]) -> None:
    means = [mean for mean, _, _ in found.values() if mean > 0]
    if means:
        axes.plot([min(means), max(means)], [number] * 2, color=style.PALE, linewidth=5, zorder=1)
    for each, (mean, low, high) in found.items():
        if not np.isnan(low):
            axes.plot([max(low, mean / 10), high], [number] * 2, color=_FILLS[each], linewidth=1.4, zorder=2)
        if mean > 0:
            axes.plot([mean], [number], marker=_MARKERS[each], color=_FILLS[each], markersize=7, linestyle="", zorder=3)


def _bar(axes: Axes, number: int, found: tuple[float, ...]) -> None:
    mean, low, high = found
    if not mean > 0:
        axes.text(0, number, " none", va="center", color=style.GREY, fontsize=9)
        return
    axes.barh(number, mean, height=0.5, color=style.SKY, zorder=2)
    if not np.isnan(low):
        whisker: dict[str, Any] = {"color": style.BLACK, "marker": "|", "markersize": 7, "linewidth": 1.3}
        axes.plot([max(low, 0.0), high], [number] * 2, zorder=3, **whisker)
    text = f"{mean:,.0f}" if mean >= 99.5 else f"{mean:.1f}"
    right = mean if np.isnan(high) else max(mean, high)
    axes.annotate(text, (right, number), (6, 0), textcoords="offset points", va="center", fontsize=9)
