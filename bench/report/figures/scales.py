"""Axes whose numbers never touch: the densest ticks at 1, 2 or 5 times a power of ten that fit."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from sidelab.bench.report.figures.text_width import width_in

TICK_SIZE: Final = 9
_GAP_IN: Final = 0.12
_LETTER_IN: Final = TICK_SIZE / 72
_OVERHANG_IN: Final = 0.16
_MOST_TICKS: Final = 9

Side = Literal["x", "y"]


def linear(axes: Axes, side: Side, limits: tuple[float, float], length_in: float, *, sign: bool = False) -> None:
    """Make an axis of `length_in` inches linear from end to end, with plain numbers; with `sign`, signed ones."""
    low, high = limits
    (axes.set_xlim if side == "x" else axes.set_ylim)(low, high)

    def place(tick: float) -> float:
        return length_in * (tick - low) / (high - low)

    step = 10.0 ** math.floor(math.log10((high - low) / 100))
    for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        found = [(tick, number(tick, factor * step, sign=sign)) for tick in _multiples(factor * step, low, high)]
        ticks, labels = _inside(side, found, place, length_in)
        if len(ticks) <= _MOST_TICKS and _apart(side, [*map(place, ticks)], labels):
            break
    _set(axes, side, ticks, labels)


def logarithmic(axes: Axes, side: Side, limits: tuple[float, float], length_in: float) -> None:
    """Make an axis of `length_in` inches logarithmic from end to end, both above 0, with plain numbers."""
    low, high = limits
    (axes.set_xscale if side == "x" else axes.set_yscale)("log")
    (axes.set_xlim if side == "x" else axes.set_ylim)(low, high)

    def place(tick: float) -> float:
        return length_in * math.log(tick / low) / math.log(high / low)

    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [
        [factor * 10.0**power for power in powers for factor in factors] for factors in ((1, 2, 5), (1, 3), (1,))
    ]
    choices += [[10.0**power for power in powers if power % every == 0] for every in (2, 3, 4)]
    if high / low < 10:  # within one power of ten
        step = 10.0 ** math.floor(math.log10((high - low) / 10))
        choices = [_multiples(factor * step, low, high) for factor in (1, 2, 5, 10, 20, 50)]
    for choice in choices:
        found = [(tick, _plain(tick)) for tick in choice if low <= tick <= high]
        ticks, labels = _inside(side, found, place, length_in)
        if len(ticks) <= _MOST_TICKS and _apart(side, [*map(place, ticks)], labels):
            break
    _set(axes, side, ticks, labels)


def thinned(places_in: Sequence[float], labels: Sequence[str], length_in: float) -> list[int]:
    """Return the indexes of every n-th label along an axis, for the smallest n with which they do not touch."""
    for every in range(1, len(labels) + 1):
        kept = [each for each in range(0, len(labels), every) if _within(places_in[each], labels[each], length_in)]
        if _apart("x", [places_in[each] for each in kept], [labels[each] for each in kept]):
            return kept
    return [0] if labels else []


def around(values: Iterable[float], *, least: float, room: float = 0.06) -> tuple[float, float]:
    """Return the ends of a linear axis: 0 and every known value with some room; at least `least` from end to end."""
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    missing = max(0.0, least - (high - low)) / 2
    low, high = low - missing, high + missing
    return low - room * (high - low), high + room * (high - low)


def decades(values: Iterable[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis: every known value above 0 with some room."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0, 10.0]
    low, high = min(known), max(known)
    room = max(1.12, (high / low) ** 0.06)
    return low / room, high * room


def clipped(values: Iterable[float], intervals: Iterable[float]) -> list[float]:
    """Return what an axis has to hold: every value, and intervals as far as they leave room for the values.

    The interval of two builds may be a thousand times as wide as the measured values; drawn whole it would hide them.
    """
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    span = 1.5 * ((high - low) or 1.0)
    ends = [min(max(end, low - span), high + span) for end in intervals if math.isfinite(end)]
    return [*known, *ends]


def number(value: float, step: float, *, sign: bool = False) -> str:
    """Format a tick of an axis with this step: grouped digits, as many decimals as the step has, a real minus."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    value = round(value, digits) + 0.0
    said = f"{value:+,.{digits}f}" if sign and value else f"{value:,.{digits}f}"
    return said.replace("-", "\N{MINUS SIGN}")


def round_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten, for a `value` above 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


def _plain(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 1 and math.isclose(tick, round(tick)) else f"{tick:.6g}"


def _multiples(step: float, low: float, high: float) -> list[float]:
    return [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _inside(
    side: Side, found: Sequence[tuple[float, str]], place: Callable[[float], float], length_in: float
) -> tuple[list[float], list[str]]:
    """Drop the labels that would reach far beyond an end of the axis."""
    kept = [(tick, said) for tick, said in found if side == "y" or _within(place(tick), said, length_in)]
    return [tick for tick, _ in kept], [said for _, said in kept]


def _within(place_in: float, label: str, length_in: float) -> bool:
    half_in = width_in(label, TICK_SIZE) / 2
    return place_in - half_in >= -_OVERHANG_IN and place_in + half_in <= length_in + _OVERHANG_IN


def _apart(side: Side, places_in: Sequence[float], labels: Sequence[str]) -> bool:
    """Return whether neighbouring labels, in the order of their places, leave each other room."""
    half = [width_in(label, TICK_SIZE) / 2 if side == "x" else _LETTER_IN / 2 for label in labels]
    ends = [(place - size, place + size) for place, size in zip(places_in, half, strict=True)]
    return all(after[0] - before[1] >= _GAP_IN for before, after in pairwise(ends))


def _set(axes: Axes, side: Side, ticks: Sequence[float], labels: Sequence[str]) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks(list(ticks), list(labels), fontsize=TICK_SIZE)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
