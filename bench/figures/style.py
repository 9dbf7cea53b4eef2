"""What all figures share: colours, type, the foot with units, n, environment and caveats, and bytes that repeat."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from bench import statistics
from bench.caveats import Caveat
from bench.plan import Connection, Plan
from bench.reader import Run
from bench.records import write_whole

Dash = Literal["-", "--", "-.", ":"]

# Okabe and Ito's palette, told apart with any colour vision (https://jfly.uni-koeln.de/color/).
BLACK: Final = "#000000"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#6B6B6B"
PALE: Final = "#DDDDDD"

CONNECTION_TITLE: Final[dict[Connection, str]] = {
    "new": "new connection per request",
    "keep-alive": "kept-alive connection",
}

_ARM_COLOURS: Final = (SKY, BLUE, ORANGE, VERMILION, GREEN, PURPLE)
_ARM_DASHES: Final[tuple[Dash, ...]] = ("-", "--", "-.", ":")
_ARM_MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X")

RC: Final[Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "xtick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.color": GREY,
    "ytick.labelcolor": BLACK,
    "svg.hashsalt": "sidelab",  # element ids are derived from it; without it they are random
    "svg.fonttype": "path",
    "path.simplify": True,
}

_WIDTH_IN: Final = 12.0
_DPI: Final = 150
_INCH_PER_FOOT_LINE: Final = 0.165
_WARNING_IN: Final = 0.22
_INCH_PER_LEGEND_ROW: Final = 0.22
_BESIDE_TITLE_IN: Final = 7.4
_LEFT_IN: Final = 2.0
_NAMED: Final = 4


class Look(NamedTuple):
    """How the line of one arm is told from the others': by colour, and by dash or marker for whoever sees no colour."""

    colour: str
    dash: Dash
    marker: str


def looks(plan: Plan) -> dict[str, Look]:
    """Give every arm the look that it has in all figures: the reference black, its twin grey and dashed."""
    fixed = {plan.reference: Look(BLACK, "-", "o"), plan.twin: Look(GREY, "--", "o")}
    others = [arm.name for arm in plan.arms if arm.name not in fixed]
    for number, name in enumerate(others):
        turn, colour = divmod(number, len(_ARM_COLOURS))
        marker = _ARM_MARKERS[number % len(_ARM_MARKERS)]
        fixed[name] = Look(_ARM_COLOURS[colour], _ARM_DASHES[turn % len(_ARM_DASHES)], marker)
    return {arm.name: fixed[arm.name] for arm in plan.arms}


def canvas(
    run: Run, panels: int, height_in: float, foot: Sequence[str], *, share_y: bool = False, rows_of_legend: int = 0
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side, with room for title and legend above and `foot` below them.

    `rows_of_legend` is what `legend_rows` counts.
    """
    top_in = 1.0 if run.complete else 1.0 + _WARNING_IN
    if rows_of_legend:
        top_in += _INCH_PER_LEGEND_ROW * rows_of_legend + 0.08
    foot_in = 0.75 + _INCH_PER_FOOT_LINE * len(foot)
    height = height_in - 1.75 + top_in + foot_in
    figure = Figure(figsize=(_WIDTH_IN, height))
    grid = figure.subplots(1, panels, squeeze=False, sharey=share_y)
    figure.subplots_adjust(
        left=_LEFT_IN / _WIDTH_IN, right=0.985, bottom=foot_in / height, top=1 - top_in / height, wspace=0.09
    )
    for axes in grid[0]:
        axes.tick_params(axis="y", length=0)
    for number, line in enumerate(reversed(foot)):
        figure.text(0.012, (0.1 + _INCH_PER_FOOT_LINE * number) / height, line, fontsize=8, color=GREY)
    return figure, list(grid[0])


def legend_rows(labels: Sequence[str]) -> int:
    """Count the rows that a legend of these labels takes below the title; 0 if it fits beside it."""
    return 0 if sum(map(_entry_in, labels)) <= _BESIDE_TITLE_IN else -(-len(labels) // _columns(labels))


def _entry_in(label: str) -> float:
    """Estimate how wide a label and its line are, in inches at 10 points."""
    return 0.65 + 0.083 * len(label)


def _columns(labels: Sequence[str]) -> int:
    most = max(1, int((_WIDTH_IN - 0.3) / max(map(_entry_in, labels))))
    rows = -(-len(labels) // most)
    return -(-len(labels) // rows)


def arm_legend(
    figure: Figure,
    run: Run,
    *,
    markers: bool = False,
    leave_out: Sequence[str] = (),
    more: Sequence[Line2D | Patch] = (),
) -> None:
    """Name every arm's line, with its marker if it has one: beside the title, or in several rows below the subtitle."""
    handles = [
        Line2D([], [], color=colour, linestyle=dash, marker=marker if markers else "", linewidth=1.8, label=name)
        for name, (colour, dash, marker) in looks(run.plan).items()
        if name not in leave_out
    ]
    labels = [str(handle.get_label()) for handle in (*handles, *more)]
    columns = len(labels)
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.1 / figure.get_figheight())}
    if legend_rows(labels):
        columns = _columns(labels)
        down_in = 0.66 if run.complete else 0.66 + _WARNING_IN
        place = {"loc": "upper left", "bbox_to_anchor": (0.004, 1 - down_in / figure.get_figheight())}
    figure.legend(handles=[*handles, *more], ncols=columns, frameon=False, handlelength=2.6, **place)


def logarithmic(axes: Axes, axis: str, *, most: int = 12) -> None:
    """Make the x or y axis logarithmic, with plain numbers at 1, 2 and 5 of each power; at 1 alone if over `most`."""
    side = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    ticks = [factor * 10.0**power for power in range(-3, 8) for factor in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) > most:
        shown = [tick for tick in ticks[::3] if low <= tick <= high]
    side.set_ticks(shown, [f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in shown])
    side.set_minor_locator(NullLocator())


def headline(figure: Figure, run: Run, title: str, subtitle: str) -> None:
    """Write title and subtitle; a run that is not complete says so before anything else."""
    height = figure.get_figheight()
    figure.text(0.012, 1 - 0.34 / height, title, fontsize=15, fontweight="bold")
    figure.text(0.012, 1 - 0.58 / height, subtitle, fontsize=10, color=GREY)
    if not run.complete:
        builds = run.samples["rebuild"].nunique()
        text = f"NOT COMPLETE: {run.facts['state']} in lab build {builds} of {run.rebuilds}"
        place = 1 - (0.6 + _WARNING_IN) / height
        figure.text(0.012, place, text, fontsize=11, fontweight="bold", color=VERMILION)


def footer(run: Run, caveats: Sequence[Caveat], *notes: str, load: str = "") -> list[str]:
    """Compose the foot: how the load was made, n, payload, run, machine and every caveat, wrapped to the width.

    `load` is said of data that are not the run's samples.
    """
    identity = f"Run {run.name}, plan {run.plan.digest[:12]}."
    environment = run.facts.get("environment")
    machine = f" Machine: {_machine(environment, run.facts.get('placement'))}." if environment else ""
    lines = [*notes, load or closed_loop(run), identity + machine]
    if caveats:
        lines.append("Caveats: " + "; ".join(caveat.what for caveat in caveats))
    return wrapped(*lines)


def wrapped(*lines: str) -> list[str]:
    """Break the lines of a foot to the figure's width."""
    return [part for line in lines for part in textwrap.wrap(line, 190, break_on_hyphens=False)]


def closed_loop(run: Run) -> str:
    """Say how the samples were made, how many there are, and that none is left out."""
    rows = statistics.measured(run.samples)
    per_cell = rows.groupby(["arm", "connection"], observed=True).size()
    low, high = int(per_cell.min()), int(per_cell.max())
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    sizes = sorted(int(size) for size in rows["bytes"].unique())
    payload = f"{sizes[0]:,} B" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} B"
    builds = rows["rebuild"].nunique()
    unanswered = int(rows["total_us"].isna().sum())
    lost = f"{unanswered:,} without an answer" if unanswered else "none dropped"
    return (
        f"Closed loop, one client, one request in flight; GET {run.plan.path} ({payload}); all arms alive at once, "
        f"requests in random order; n = {count} per arm and connection in {builds} lab builds; {lost}; "
        f"{len(run.samples) - len(rows):,} warm-up requests before them recorded, not counted."
    )


def captured_client_note(plan: Plan) -> str:
    """Explain `connect` for arms whose client is captured; '' if the plan has none."""
    captured = [arm.name for arm in plan.arms if arm.client == "injected"]
    if not captured:
        return ""
    who = ", ".join(captured) if len(captured) <= _NAMED else "captured clients"
    return (
        f"* {who}: the client's connect is the handshake with its own proxy; "
        "the connection to the server, and its failure, are in starttransfer."
    )


def arm_label(plan: Plan, name: str) -> str:
    """Name an arm on an axis; the asterisk points to the note on captured clients."""
    return f"{name} *" if plan.arm(name).client == "injected" else name


def name_arms(axes: Axes, plan: Plan, names: Sequence[str]) -> None:
    """Label the rows of a panel, first row on top: an arm's name, and below it what it is made of."""
    name_rows(axes, [(arm_label(plan, name), plan.arm(name).describe()) for name in names])


def name_rows(axes: Axes, rows: Sequence[tuple[str, str]]) -> None:
    """Label the rows of a panel, first row on top: a name and what is said of it.

    The panels move to the right for a name that is longer than the usual margin.
    """
    left_in = max(_LEFT_IN, 0.35 + 0.104 * max(len(name) for name, _ in rows))
    axes.figure.subplots_adjust(left=left_in / _WIDTH_IN)
    letters = int((left_in - 0.2) / 0.061)
    axes.set_ylim(len(rows) - 0.45, -0.6)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    for row, (name, said) in enumerate(rows):
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
        axes.annotate(name, (0, row), xytext=(-8, 2), fontsize=11, fontweight="bold", **place)
        # Two lines of what fits beside the panel; the page's table says the rest.
        short = textwrap.fill(said, letters, max_lines=2, placeholder=" …", break_on_hyphens=False)
        text: dict[str, Any] = {"fontsize": 8, "color": GREY, "va": "top", "linespacing": 1.1}
        axes.annotate(short, (0, row), xytext=(-8, -1), **text, **place)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.svg and `stem`.png without dates or versions, so that equal files give equal bytes."""
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    drawn = [io.BytesIO(), io.BytesIO()]  # half a picture never stands in the place of a whole one
    figure.savefig(drawn[0], format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(drawn[1], format="png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    for path, each in zip(paths, drawn, strict=True):
        write_whole(path, each.getvalue())
    return paths


def _machine(environment: dict[str, Any], placement: Any) -> str:
    where = environment["hypervisor"]
    parts = [
        str(environment["cpu_model"]),
        f"{len(environment['cpus'])} CPUs",
        f"Linux {environment['kernel']}",
        f"virtual ({where})" if where else "no hypervisor seen",
        f"Python {environment['python']}",
    ]
    if isinstance(placement, dict):
        parts.append("placement: " + ", ".join(f"{key} {_cpus(value)}" for key, value in sorted(placement.items())))
    return ", ".join(parts)


def _cpus(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
