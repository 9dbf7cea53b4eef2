"""Bars of overheads: to one linear scale on the whole page, with its numbers below them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from sidelab.bench.judge.summary import SummaryRow
from sidelab.bench.report.figures.scales import clipped, number, round_up
from sidelab.bench.report.page.html import Markup, element, join

_TICKS: Final = 6
_EDGE: Final = 0.96
"""Beyond this share of the scale a number would extend past the edge."""


class Scale(NamedTuple):
    """The ends of the scale, and the places of its numbers, in µs."""

    low_us: float
    high_us: float
    ticks_us: Sequence[float]
    step_us: float

    def place(self, us: float) -> float:
        """Return the place of a value, in percent of the width; values beyond an end are at that end."""
        return 100 * (min(max(us, self.low_us), self.high_us) - self.low_us) / (self.high_us - self.low_us)


def scale(found: Sequence[SummaryRow]) -> Scale:
    """Return one linear scale for all bars, so that their lengths can be compared; it holds 0, floors and overheads."""
    floors = [end for row in found for end in (row.floor_us, -row.floor_us)]
    points = [*(row.overhead_us for row in found), *floors]
    known = clipped(points, [end for row in found for end in (row.low_us, row.high_us)])
    low, high = min(known), max(known)
    room = 0.03 * (high - low) or 1.0
    low, high = low - room, high + room
    step = round_up((high - low) / _TICKS)
    # 0 is always among them; others only if they leave room for its number.
    ticks = [step * k for k in range(int(low / step), int(high / step) + 1)]
    return Scale(low, high, [tick for tick in ticks if not tick or 0 < (tick - low) / (high - low) < _EDGE], step)


def bar(row: SummaryRow, on: Scale) -> Markup:
    """Draw one overhead: from 0 to the estimate, its interval, and the noise floor behind them."""
    shapes = []
    if np.isfinite(row.floor_us):
        left, right = on.place(-row.floor_us), on.place(row.floor_us)
        shapes.append(f'<rect class="floor" x="{left:.2f}" width="{right - left:.2f}" height="10"/>')
    shapes += [
        f'<rect class="tick" x="{on.place(tick) - 0.1:.2f}" width="0.2" height="10"/>' for tick in on.ticks_us if tick
    ]
    if np.isfinite(row.overhead_us):
        left, right = sorted((on.place(0), on.place(row.overhead_us)))
        shapes.append(f'<rect class="mean" x="{left:.2f}" y="3" width="{right - left:.2f}" height="4"/>')
    if np.isfinite(row.low_us):
        left, right = on.place(row.low_us), on.place(row.high_us)
        shapes.append(f'<rect class="interval" x="{left:.2f}" y="1" width="{max(right - left, 0.4):.2f}" height="8"/>')
    shapes.append(f'<rect class="zero" x="{on.place(0) - 0.15:.2f}" width="0.3" height="10"/>')
    drawn = join(map(Markup, shapes))
    look = f"bar {row.verdict}"
    return element("svg", drawn, class_=look, viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def axis(on: Scale) -> Markup:
    """Write the scale's numbers below a bar."""
    marks = [
        element("span", number(tick, on.step_us, sign=True), style=f"left:{on.place(tick):.2f}%")
        for tick in on.ticks_us
    ]
    return element("p", *marks, class_="axis", aria_hidden="true")


def legend() -> Markup:
    """Explain the bars, once for all of them."""
    return element(
        "p",
        "Bars: from 0 to the overhead, in µs, all on one linear scale. The solid part is the 95\N{NO-BREAK SPACE}% "
        "interval, the band around 0 the noise floor.",
        class_="what",
    )
