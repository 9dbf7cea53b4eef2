"""What all figures share: colours, type, the foot with units, n, environment and caveats, and bytes that repeat."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from bench import statistics
from bench.caveats import Caveat
from bench.plan import Connection, Plan
from bench.reader import Run

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
_ARM_DASHES: Final = ("-", "--", "-.", ":")
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
_LEGEND_COLUMNS: Final = 6
_INCH_PER_LEGEND_ROW: Final = 0.22


class Look(NamedTuple):
    """How the line of one arm is told from the others': by colour, and by dash or marker for whoever sees no colour."""

    colour: str
    dash: str
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
    run: Run, panels: int, height_in: float, foot: Sequence[str], *, share_y: bool = False, legend_rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side, with room for title and legend above and `foot` below them.

    A legend of one row stands beside the title, a longer one below it (see `legend_rows` and `arm_legend`).
    """
    top_in = 1.0 if run.complete else 1.0 + _WARNING_IN
    if legend_rows > 1:
        top_in += _INCH_PER_LEGEND_ROW * legend_rows
    foot_in = 0.75 + _INCH_PER_FOOT_LINE * len(foot)
    height = height_in - 1.75 + top_in + foot_in
    figure = Figure(figsize=(_WIDTH_IN, height))
    grid = figure.subplots(1, panels, squeeze=False, sharey=share_y)
    figure.subplots_adjust(left=0.17, right=0.985, bottom=foot_in / height, top=1 - top_in / height, wspace=0.09)
    for axes in grid[0]:
        axes.tick_params(axis="y", length=0)
    for number, line in enumerate(reversed(foot)):
        figure.text(0.012, (0.1 + _INCH_PER_FOOT_LINE * number) / height, line, fontsize=8, color=GREY)
    return figure, list(grid[0])


def legend_rows(plan: Plan) -> int:
    """Count the rows that a legend of all arms takes."""
    return -(-len(plan.arms) // _LEGEND_COLUMNS)


def arm_legend(figure: Figure, run: Run, *, markers: bool = False) -> None:
    """Name every arm's line, with its marker if it has one: beside the title, or in several rows below the subtitle."""
    handles = [
        Line2D([], [], color=colour, linestyle=dash, marker=marker if markers else "", linewidth=1.8, label=name)
        for name, (colour, dash, marker) in looks(run.plan).items()
    ]
    place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.1 / figure.get_figheight())}
    if legend_rows(run.plan) > 1:
        down_in = 0.66 if run.complete else 0.66 + _WARNING_IN
        place = {"loc": "upper left", "bbox_to_anchor": (0.004, 1 - down_in / figure.get_figheight())}
    figure.legend(handles=handles, ncols=min(len(handles), _LEGEND_COLUMNS), frameon=False, handlelength=2.6, **place)


def logarithmic(axes: Axes, axis: str, unit: str = "") -> None:
    """Make the x or the y axis logarithmic, with ticks at 1, 2 and 5 of each power that say plain numbers."""
    side = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    ticks = [factor * 10.0**power for power in range(-3, 8) for factor in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    side.set_ticks(shown, [f"{tick:,.0f}{unit}" if tick >= 1 else f"{tick:g}{unit}" for tick in shown])
    side.set_minor_locator(NullLocator())


def headline(figure: Figure, run: Run, title: str, subtitle: str) -> None:
    """Write title and subtitle; a run that is not complete says so before anything else."""
    height = figure.get_figheight()
    figure.text(0.012, 1 - 0.34 / height, title, fontsize=15, fontweight="bold")
    figure.text(0.012, 1 - 0.58 / height, subtitle, fontsize=10, color=GREY)
    if not run.complete:
        builds = run.samples["rebuild"].nunique()
        text = f"NOT COMPLETE: {run.facts['state']} in lab build {builds} of {run.plan.rebuilds}"
        place = 1 - (0.6 + _WARNING_IN) / height
        figure.text(0.012, place, text, fontsize=11, fontweight="bold", color=VERMILION)


def footer(run: Run, caveats: Sequence[Caveat], *notes: str) -> list[str]:
    """Compose the foot: how the load was made, n, payload, run, machine and every caveat, wrapped to the width."""
    identity = f"Run {run.directory.name}, plan {run.plan.digest[:12]}."
    environment = run.facts.get("environment")
    machine = f" Machine: {_machine(environment, run.facts.get('placement'))}." if environment else ""
    lines = [*notes, _load(run), identity + machine]
    if caveats:
        lines.append("Caveats: " + "; ".join(caveat.what for caveat in caveats))
    return [part for line in lines for part in textwrap.wrap(line, 190, break_on_hyphens=False)]


def captured_client_note(plan: Plan) -> str:
    """Explain `connect` for arms whose client is captured; '' if the plan has none."""
    captured = [arm.name for arm in plan.arms if arm.client == "injected"]
    if not captured:
        return ""
    return (
        f"* {', '.join(captured)}: the client's connect is the handshake with its own proxy; "
        "the connection to the server, and its failure, are in starttransfer."
    )


def arm_label(plan: Plan, name: str) -> str:
    """Name an arm on an axis; the asterisk points to the note on captured clients."""
    return f"{name} *" if plan.arm(name).client == "injected" else name


def name_arms(axes: Axes, plan: Plan, names: Sequence[str]) -> None:
    """Label the rows of a panel, first row on top: an arm's name, and below it what it is made of."""
    axes.set_ylim(len(names) - 0.45, -0.6)
    axes.set_yticks(range(len(names)), [""] * len(names))
    for row, name in enumerate(names):
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
        axes.annotate(arm_label(plan, name), (0, row), xytext=(-8, 2), fontsize=11, fontweight="bold", **place)
        axes.annotate(plan.arm(name).describe(), (0, row), xytext=(-8, -10), fontsize=8, color=GREY, **place)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.svg and `stem`.png without dates or versions, so that equal files give equal bytes."""
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
    figure.savefig(paths[1], dpi=_DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return paths


def _load(run: Run) -> str:
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
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
