"""The sheet that every figure is drawn on: it grows downwards as title, key, panels and foot each take their room.

A figure is drawn for a medium: `WIDE` with panels side by side, or `NARROW` with panels below each other, for a phone.
What a medium leaves out of the foot, the page says once for all figures.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sidelab.bench.plan.plan import Plan
from sidelab.bench.record.reader import Run
from sidelab.bench.report.figures import style, text_width

Handle = Line2D | Patch

EDGE_IN: Final = 0.16
_FOOT_SIZE: Final = 8
_FOOT_LINE_IN: Final = 0.165
_KEY_SIZE: Final = 9
_KEY_ENTRY_IN: Final = 0.56  # the line, and the space around it: handlelength, handletextpad and columnspacing below
_KEY_ROW_IN: Final = 0.2
TITLE_SIZE: Final = 11
LABEL_SIZE: Final = 9


class Medium(NamedTuple):
    """What a figure is drawn for: its width, whether panels are below each other, and whether its foot is whole."""

    width_in: float
    stacked: bool
    whole_foot: bool


FILE: Final = Medium(12.0, stacked=False, whole_foot=True)
WIDE: Final = Medium(12.0, stacked=False, whole_foot=False)
NARROW: Final = Medium(4.2, stacked=True, whole_foot=False)


class Foot(NamedTuple):
    """The text under a figure: how to read this one, and what is the same under all figures of a run."""

    notes: Sequence[str]
    common: Sequence[str] = ()


class Sheet:
    """A figure in the making; depths are inches from its top, and `finish` turns them into matplotlib's coordinates."""

    def __init__(self, medium: Medium, title: str, subtitle: str, warning: str = "") -> None:
        """Write the top of the figure; `warning` is what must be read before any number."""
        self.medium = medium
        self.figure = Figure(figsize=(medium.width_in, 1.0), facecolor=style.WHITE)
        self.down_in = EDGE_IN
        self._placing: list[Callable[[float], object]] = []
        size = 13 if medium.stacked else 15
        self.text(title, size=size, bold=True)
        self.text(subtitle, size=9 if medium.stacked else 10, colour=style.GREY)
        if warning:
            self.text(warning, size=11, bold=True, colour=style.VERMILION)

    @property
    def inside_in(self) -> float:
        """The width between the edges."""
        return self.medium.width_in - 2 * EDGE_IN

    def text(self, said: str, *, size: float, bold: bool = False, colour: str = style.BLACK) -> None:
        """Write a paragraph at the left edge."""
        for line in text_width.wrapped(said, self.inside_in, size, bold=bold):
            weight = "bold" if bold else "normal"
            self._line(line, size=size, color=colour, fontweight=weight)
            self.down_in += 1.36 * size / text_width.POINTS_PER_INCH

    def _line(self, line: str, *, size: float, **look: Any) -> None:
        artist = self.figure.text(EDGE_IN / self.medium.width_in, 0, line, fontsize=size, va="top", **look)
        depth_in = self.down_in
        self._placing.append(lambda height: artist.set_y(1 - depth_in / height))

    def key(self, handles: Sequence[Handle]) -> None:
        """Explain lines, markers and colours, in as many columns as there is room for."""
        if not handles:
            return
        self.down_in += 0.08
        labels = [str(handle.get_label()) for handle in handles]
        columns = next(n for n in range(len(labels), 0, -1) if n == 1 or _key_in(labels, n) <= self.inside_in + 0.1)
        room_in = self.inside_in - _KEY_ENTRY_IN
        for handle, label in zip(handles, labels, strict=True):
            handle.set_label(text_width.fitted(label, room_in, _KEY_SIZE))
        place: dict[str, Any] = {"loc": "upper left", "borderaxespad": 0, "borderpad": 0, "frameon": False}
        space: dict[str, Any] = {"handlelength": 2.4, "handletextpad": 0.6, "columnspacing": 1.5, "labelspacing": 0.5}
        legend = self.figure.legend(handles=handles, ncols=columns, fontsize=_KEY_SIZE, **place, **space)
        depth_in, left = self.down_in, EDGE_IN / self.medium.width_in
        self._placing.append(lambda height: legend.set_bbox_to_anchor((left, 1 - depth_in / height)))
        self.down_in += _KEY_ROW_IN * -(-len(labels) // columns)

    def panel(self, left_in: float, width_in: float, height_in: float, *, top_in: float | None = None) -> Axes:
        """Make axes at a place, by default at the current depth, which stays unchanged."""
        number = len(self.figure.axes)
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(number))
        depth_in = self.down_in if top_in is None else top_in
        across = left_in / self.medium.width_in, width_in / self.medium.width_in
        self._placing.append(
            lambda height: axes.set_position(
                (across[0], 1 - (depth_in + height_in) / height, across[1], height_in / height)
            )
        )
        axes.set_axisbelow(True)
        return axes

    def entitle(self, axes: Axes, title: str, x: str, room_in: float) -> None:
        """Write a panel's title above its left end and its x label below it, both shortened to fit."""
        size = TITLE_SIZE
        said = text_width.fitted(title, room_in, size, bold=True)
        axes.set_title(said, loc="left", fontsize=size, fontweight="bold", pad=6)
        if x:
            axes.set_xlabel(text_width.fitted(x, room_in, LABEL_SIZE), fontsize=LABEL_SIZE, loc="left")

    def finish(self, foot: Foot) -> Figure:
        """Write the foot, give the figure its height, and return it."""
        lines = [*foot.notes, *(foot.common if self.medium.whole_foot else ())]
        broken = [part for line in lines if line for part in text_width.wrapped(line, self.inside_in, _FOOT_SIZE)]
        self.down_in += 0.1 if broken else 0.0
        for line in broken:
            self._line(line, size=_FOOT_SIZE, color=style.GREY)
            self.down_in += _FOOT_LINE_IN
        height_in = self.down_in + 0.1
        self.figure.set_size_inches(self.medium.width_in, height_in)
        for place in self._placing:
            place(height_in)
        return self.figure


def headed(medium: Medium, run: Run, title: str, subtitle: str) -> Sheet:
    """Begin a figure of a run; if the run is not complete, a warning comes before anything else."""
    warning = ""
    if not run.complete:
        builds = run.samples["rebuild"].nunique()
        warning = f"NOT COMPLETE: {run.facts['state']} in lab build {builds} of {run.rebuilds}"
    return Sheet(medium, title, subtitle, warning)


def arm_handles(plan: Plan, *, markers: bool = False, leave_out: Sequence[str] = ()) -> list[Handle]:
    """Make the key's line for each arm, with its marker if the figure has markers."""
    return [
        Line2D([], [], color=colour, linestyle=dash, marker=marker if markers else "", linewidth=1.8, label=name)
        for name, (colour, dash, marker) in style.looks(plan).items()
        if name not in leave_out
    ]


def floor_handle() -> Handle:
    """Make the key's entry for the band that two identical arms span."""
    return Patch(color=style.FLOOR, linewidth=0, label="noise floor: two identical arms")


def across(
    sheet: Sheet,
    titles: Sequence[str],
    *,
    height_in: float,
    below: str,
    left_in: float = 0.65,
    gap_in: float = 0.65,
    tick_lines: int = 1,
) -> list[tuple[Axes, float]]:
    """Make a panel for each title, side by side or below each other, each with the width of its axes in inches.

    `left_in` is the room for the numbers of the first y axis and `gap_in` that of the others; `below` names the x axis,
    whose numbers have `tick_lines` lines.
    """
    made = []
    count = 1 if sheet.medium.stacked else len(titles)
    width_in = (sheet.inside_in - left_in - 0.1 - gap_in * (count - 1)) / count
    top_in = sheet.down_in + 0.36
    for number, title in enumerate(titles):
        column = 0 if sheet.medium.stacked else number
        axes = sheet.panel(EDGE_IN + left_in + column * (width_in + gap_in), width_in, height_in, top_in=top_in)
        sheet.entitle(axes, title, below, width_in)
        axes.grid(color=style.PALE, linewidth=0.6)
        made.append((axes, width_in))
        if sheet.medium.stacked or number == len(titles) - 1:
            sheet.down_in = top_in + height_in + 0.52 + 0.15 * (tick_lines - 1)
            top_in = sheet.down_in + 0.3
    return made


def _key_in(labels: Sequence[str], columns: int) -> float:
    """Return the width of a key that is filled column by column, as matplotlib does."""
    rows, more = divmod(len(labels), columns)
    sizes = [rows + 1] * more + [rows] * (columns - more)
    starts = [sum(sizes[:k]) for k in range(columns)]
    parts = (labels[start : start + size] for start, size in zip(starts, sizes, strict=True))
    return sum(_KEY_ENTRY_IN + text_width.widest_in(part, _KEY_SIZE) for part in parts)
