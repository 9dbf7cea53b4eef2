"""Panels with a row per arm or quantity: its name, its drawing, and its numbers in a separate column.

On a wide sheet names are at the left of all panels and numbers at the right of each; on a narrow one both are above the
drawing, so that neither takes room from it.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from sidelab.bench.judge.summary import microseconds
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.figures import style, text_width
from sidelab.bench.report.figures.sheet import EDGE_IN, Sheet
from sidelab.bench.report.figures.style import Look

_NAME_SIZE: Final = 10
_SAID_SIZE: Final = 8
_MAIN_SIZE: Final = 9
_MORE_SIZE: Final = 8
_MOST_NAME_IN: Final = 3.2
_SWATCH_IN: Final = 0.2
_PAD_IN: Final = 0.12
_OVER_LINES: Final[dict[str, Any]] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "annotation_clip": False,
    "zorder": 6,
    "bbox": {"facecolor": style.WHITE, "edgecolor": "none", "pad": 0.6},
}
"""A text inside a panel has the background's colour behind it, so that no line runs through its letters."""
_ABOVE: Final = 0.34
"""Where the line of text is on a narrow sheet, in rows above the middle of the drawing."""


class Label(NamedTuple):
    """The label of a row: a name, what it is made of, and the look that its arm has in the other figures."""

    name: str
    said: str = ""
    look: Look | None = None


class Cell(NamedTuple):
    """The numbers of a row in one panel: the value, and its interval or other detail."""

    main: str
    more: str = ""


class Panel(NamedTuple):
    """One panel of rows: its title, the quantity on its axis, and a cell for each row, or no cells at all."""

    title: str
    unit: str
    cells: Sequence[Cell] = ()


def arm_labels(plan: Plan, names: Sequence[str]) -> list[Label]:
    """Return the arms' labels; an asterisk points to the note on captured clients."""
    looks = style.looks(plan)
    star = {arm.name: " *" if arm.client == "injected" else "" for arm in plan.arms}
    return [Label(f"{name}{star[name]}", plan.arm(name).describe(), looks[name]) for name in names]


def interval(mean_us: float, low_us: float, high_us: float) -> Cell:
    """Format an estimate in µs with its interval; unknown ones get a word instead of a number."""
    if np.isnan(mean_us):
        return Cell("not measured")
    if np.isnan(low_us):
        return Cell(microseconds(mean_us, sign=True), "no interval")
    return Cell(microseconds(mean_us, sign=True), f"[{microseconds(low_us)}, {microseconds(high_us)}]")


def panels(
    sheet: Sheet, labels: Sequence[Label], shown: Sequence[Panel], row_in: float = 0.5, *, said_below: bool = False
) -> list[tuple[Axes, float]]:
    """Make the panels of these rows, first row on top, and return each with its width in inches.

    On a narrow sheet there is room for a row's name only, and with `said_below` for its description as well. The first
    row's middle is at y = 0, the second's at 1. The sheet's depth moves below them.
    """
    made = (
        _stacked(sheet, labels, shown, said_below=said_below)
        if sheet.medium.stacked
        else _beside(sheet, labels, shown, row_in)
    )
    for axes, _ in made:
        axes.tick_params(axis="y", length=0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=style.PALE, linewidth=0.6)
    return made


def _beside(sheet: Sheet, labels: Sequence[Label], shown: Sequence[Panel], row_in: float) -> list[tuple[Axes, float]]:
    names_in = max(
        text_width.width_in(each.name, _NAME_SIZE, bold=True) + _SWATCH_IN * bool(each.look) for each in labels
    )
    left_in = min(max(1.7, names_in + 0.05), _MOST_NAME_IN)
    numbers_in = [_numbers_in(panel.cells) for panel in shown]
    # Without a column of numbers between them, the numbers of two axes need some room to stay apart.
    gaps_in = [_PAD_IN + (0.16 if room_in else 0.4) for room_in in numbers_in]
    free_in = sheet.inside_in - left_in - sum(numbers_in) - sum(gaps_in)
    width_in, height_in = free_in / len(shown), row_in * len(labels) + 0.1
    place_in, top_in = EDGE_IN + left_in + _PAD_IN, sheet.down_in + 0.36
    made = []
    for panel, room_in, gap_in in zip(shown, numbers_in, gaps_in, strict=True):
        axes = sheet.panel(place_in, width_in, height_in, top_in=top_in)
        axes.set_ylim(len(labels) - 0.5 + 0.05 / row_in, -0.5 - 0.05 / row_in)
        sheet.entitle(axes, panel.title, panel.unit, width_in + room_in + gap_in - 0.1)
        for row, cell in enumerate(panel.cells):
            _numbers(axes, row, cell, room_in)
        made.append((axes, width_in))
        place_in += width_in + room_in + gap_in
    for row, label in enumerate(labels):
        _name(made[0][0], row, label, left_in)
    sheet.down_in = top_in + height_in + 0.5
    return made


def _numbers_in(cells: Sequence[Cell]) -> float:
    """Return the width of a column of numbers with the space before it; 0 for none."""
    main_in = text_width.widest_in([cell.main for cell in cells], _MAIN_SIZE, bold=True)
    more_in = text_width.widest_in([cell.more for cell in cells], _MORE_SIZE)
    return max(main_in, more_in) + 0.12 if cells else 0.0


def _numbers(axes: Axes, row: int, cell: Cell, room_in: float) -> None:
    across = room_in * text_width.POINTS_PER_INCH
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    place["annotation_clip"] = False
    if not cell.main:
        text: dict[str, Any] = {"fontsize": _MORE_SIZE, "color": style.GREY, "va": "center_baseline"}
        axes.annotate(cell.more, (1, row), (across, 0), **text, **place)
        return
    low = "baseline" if cell.more else "center_baseline"
    axes.annotate(cell.main, (1, row), (across, 2 if cell.more else 0), fontsize=_MAIN_SIZE, va=low, **_bold(), **place)
    if cell.more:
        axes.annotate(cell.more, (1, row), (across, -2), fontsize=_MORE_SIZE, va="top", color=style.GREY, **place)


def _name(axes: Axes, row: int, label: Label, left_in: float) -> None:
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    place["annotation_clip"] = False
    away = -(_PAD_IN + _SWATCH_IN * bool(label.look)) * text_width.POINTS_PER_INCH
    name = text_width.fitted(label.name, left_in - _SWATCH_IN * bool(label.look), _NAME_SIZE, bold=True)
    alone = not label.said
    where = "center_baseline" if alone else "baseline"
    axes.annotate(name, (0, row), (away, 0 if alone else 2), fontsize=_NAME_SIZE, va=where, **_bold(), **place)
    if label.look:
        shift = ScaledTranslation(-_PAD_IN - 0.05, 0.0 if alone else 0.08, axes.figure.dpi_scale_trans)
        _swatch(axes, row, label.look, shift)
    if label.said:
        # At most two lines fit beside the panel; the page's table has the rest.
        said = "\n".join(text_width.wrapped(label.said, left_in, _SAID_SIZE, most=2))
        text: dict[str, Any] = {"fontsize": _SAID_SIZE, "color": style.GREY, "va": "top", "linespacing": 1.1}
        axes.annotate(said, (0, row), (-_PAD_IN * text_width.POINTS_PER_INCH, -2), **text, **place)


def _swatch(axes: Axes, y: float, look: Look, shift: ScaledTranslation) -> None:
    """Draw an arm's marker beside its name."""
    where = axes.get_yaxis_transform() + shift
    axes.plot([0], [y], marker=look.marker, color=look.colour, markersize=5.5, transform=where, clip_on=False, zorder=6)


def _stacked(
    sheet: Sheet, labels: Sequence[Label], shown: Sequence[Panel], *, said_below: bool
) -> list[tuple[Axes, float]]:
    made = []
    width_in, pitch_in = sheet.inside_in - 0.2, 0.68 if said_below else 0.52
    above = 0.5 if said_below else _ABOVE
    for number, panel in enumerate(shown):
        height_in = pitch_in * len(labels) + 0.12
        top_in = sheet.down_in + (0.36 if number == 0 else 0.28)
        axes = sheet.panel(EDGE_IN + 0.1, width_in, height_in, top_in=top_in)
        axes.set_ylim(len(labels) - 0.5 + 0.06, -above - 0.33)
        sheet.entitle(axes, panel.title, panel.unit, width_in)
        for row, label in enumerate(labels):
            _above(axes, row - above, label, panel.cells[row] if panel.cells else Cell(""), width_in)
            if said_below:
                said = text_width.fitted(label.said, width_in, _SAID_SIZE)
                under: dict[str, Any] = {"fontsize": _SAID_SIZE, "color": style.GREY, "va": "top", **_OVER_LINES}
                axes.annotate(said, (0, row - above), (0, -3), **under)
        made.append((axes, width_in))
        sheet.down_in = top_in + height_in + 0.52
    return made


def _above(axes: Axes, y: float, label: Label, cell: Cell, width_in: float) -> None:
    """Write name and numbers of a row on one line above its drawing."""
    place: dict[str, Any] = {"va": "baseline", **_OVER_LINES}
    more_in = text_width.width_in(cell.more, _MORE_SIZE) + 0.08 if cell.more else 0.0
    main_in = text_width.width_in(cell.main, _MAIN_SIZE, bold=True)
    swatch_in = _SWATCH_IN * bool(label.look)
    name = text_width.fitted(label.name, width_in - swatch_in - more_in - main_in - 0.1, _MAIN_SIZE, bold=True)
    away = text_width.POINTS_PER_INCH
    axes.annotate(name, (0, y), (swatch_in * away, 0), fontsize=_MAIN_SIZE, **_bold(), **place)
    if label.look:
        _swatch(axes, y, label.look, ScaledTranslation(0.06, 0.045, axes.figure.dpi_scale_trans))
    if cell.more:
        axes.annotate(cell.more, (1, y), (0, 0), fontsize=_MORE_SIZE, color=style.GREY, ha="right", **place)
    if cell.main:
        axes.annotate(cell.main, (1, y), (-more_in * away, 0), fontsize=_MAIN_SIZE, ha="right", **_bold(), **place)


def _bold() -> dict[str, Any]:
    return {"fontweight": "bold"}


def whisker(axes: Axes, row: float, ends: tuple[float, float], *, colour: str, width: float = 3.0) -> None:
    """Draw an interval on an axis whose ends are set; an arrow marks where it leaves the axis."""
    low, high = axes.get_xlim()
    if np.isnan(ends[0]) or np.isnan(ends[1]):
        return
    inside = [min(max(end, low), high) for end in ends]
    if inside[0] < inside[1]:
        axes.plot(inside, [row, row], color=colour, linewidth=width, solid_capstyle="butt", zorder=3)
    if ends[0] < low:
        _arrow(axes, row, low, "<", colour)
    if ends[1] > high:
        _arrow(axes, row, high, ">", colour)


def _arrow(axes: Axes, row: float, edge: float, marker: str, colour: str) -> None:
    axes.plot([edge], [row], marker=marker, color=colour, markersize=6, linestyle="", zorder=4, clip_on=False)
