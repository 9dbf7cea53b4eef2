"""Why requests are interleaved: the same arm compared with itself, in blocks as usual, and as this project does it.

    python -m bench.studies.sequential [REPETITIONS] [--figure STEM]

The true difference is 0, so whoever finds one is wrong. *Sequential*: block A, then at once block B, on the same pods
of one lab build, judged by tests on single requests. (Restarts or minutes in between, as are usual, make it worse.)
*Interleaved*: an arm and its twin, both alive, in random order, in short rebuilds, judged by Student's t over the
rebuilds. As many requests in each, by the same client, in turns on the same machine; one row each: the total of
requests on new connections, at the 5 % level. The figure goes into STEM.svg and STEM.png, its numbers into STEM.csv.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import binomtest, mannwhitneyu, norm, ttest_ind

from bench import environment, statistics
from bench.figures import style
from bench.plan import from_dict
from bench.run import CHECKOUT, built, measure_build, measuring_client
from bench.samples import COLUMNS, PHASES, Sample, column
from bench.schedule import Slot
from bench.setup import Setup, prepare
from bench.statistics import Floats

REBUILDS = 10
REQUESTS = 50
WARMUP = 20
LEVEL = 0.05
_PLAN = {
    "name": "sequential",
    "rebuilds": REBUILDS,
    "rounds": 1,
    "requests_per_round": REQUESTS,
    "warmup_requests": WARMUP,
    "connections": ["new"],
    "arms": [{"name": "direct"}, {"name": "direct-twin"}],
}
_KEY = ("direct-twin", "new", "total")


class Found(NamedTuple):
    """One comparison of an arm with itself: the difference in µs, its 95 % interval, p-values of the tests used."""

    repetition: int
    design: str
    difference_us: float
    low_us: float
    high_us: float
    p_value: float
    t_test_p_value: float


def sequential(setup: Setup, repetition: int) -> Found:
    """Compare two blocks as if their requests were independent: an interval of two medians, Mann-Whitney, Welch."""
    number = REBUILDS * REQUESTS
    with built(setup, repetition) as lab, measuring_client(setup, lab) as client:
        client.round([Slot("direct", "new")] * WARMUP)
        a, b = (np.array([stamps[3] / 1000 for stamps in client.round([Slot("direct", "new")] * number)]) for _ in "AB")
    difference = float(np.median(b) - np.median(a))
    half = float(norm.ppf(1 - LEVEL / 2) * np.hypot(_median_error(a), _median_error(b)))
    return Found(
        repetition,
        "sequential",
        difference,
        difference - half,
        difference + half,
        float(mannwhitneyu(a, b).pvalue),
        float(ttest_ind(a, b, equal_var=False).pvalue),
    )


def _median_error(values: Floats) -> float:
    """Estimate a median's standard error by order statistics (J. McKean and R. Schrader, 1984)."""
    z = float(norm.ppf(0.995))
    k = max(1, round((len(values) + 1) / 2 - z * np.sqrt(len(values) / 4)))
    ordered = np.sort(values)
    return float(ordered[-k] - ordered[k - 1]) / (2 * z)


def interleaved(setup: Setup, repetition: int) -> Found:
    """Compare twins as `sidelab bench` does."""
    samples: list[Sample] = []
    for rebuild in range(1, REBUILDS + 1):
        for rows in measure_build(setup, rebuild):
            samples += rows
    frame = pd.DataFrame(samples, columns=list(COLUMNS)).astype({column(phase): float for phase in PHASES})
    medians = statistics.rebuild_medians(frame, "direct").xs(_KEY).to_numpy(dtype=float)
    found = statistics.estimate(medians)
    mean, low, high, p_value = map(float, (found.mean, found.low, found.high, found.p_value))
    return Found(repetition, "interleaved", mean, low, high, p_value, float("nan"))


def main() -> None:
    """Measure in turns, print the alarms, draw; exit 1 if the interleaved design alarms more than 5 % explains."""
    asked = argparse.ArgumentParser(prog="bench.studies.sequential")
    asked.add_argument("repetitions", nargs="?", type=int, default=60)
    asked.add_argument("--figure", type=Path, metavar="STEM")
    given = asked.parse_args()
    plan = from_dict(_PLAN, "sequential.py")
    found: list[Found] = []
    for repetition in range(1, given.repetitions + 1):
        setup = prepare(plan, seed=repetition, client="own")
        turns = (sequential, interleaved) if repetition % 2 else (interleaved, sequential)
        found += [turn(setup, repetition) for turn in turns]
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{repetition} of {given.repetitions}")
    table = pd.DataFrame(found)
    for line in lines(table):
        print(line)
    if given.figure:
        given.figure.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(given.figure.with_suffix(".csv"), index=False, float_format="%.4f", lineterminator="\n")
        machine = environment.read(checkout=CHECKOUT)
        foot = f"{machine.cpu_model}, {len(machine.cpus)} CPUs, Linux {machine.kernel}, Python {machine.python}"
        with mpl.rc_context(style.RC):
            style.save(figure(table, foot), given.figure)
    alarms = int((table.loc[table["design"] == "interleaved", "p_value"] < LEVEL).sum())
    raise SystemExit(int(binomtest(alarms, given.repetitions, LEVEL, alternative="greater").pvalue < 0.01))


def lines(table: pd.DataFrame) -> list[str]:
    """Say for each design and test how often it saw the difference that is not there, and how far its estimates lay."""
    said = []
    for design, key, test in (
        ("sequential", "p_value", "Mann-Whitney on requests"),
        ("sequential", "t_test_p_value", "Welch's t on requests"),
        ("interleaved", "p_value", "Student's t over rebuilds"),
    ):
        own = table[table["design"] == design]
        alarms = int((own[key] < LEVEL).sum())
        low, high = own["difference_us"].min(), own["difference_us"].max()
        spread = f"estimates {low:+.1f} to {high:+.1f} µs"
        said.append(
            f"{design:<12} {test:<26} {alarms:4} false alarms in {len(own)} ({alarms / len(own):.0%})   {spread}"
        )
    return said


_DESIGNS = {
    "sequential": ("One after the other", "block A, then block B; Mann-Whitney on single requests"),
    "interleaved": ("Interleaved", "random order, all alive at once; Student's t over rebuilds"),
}
_LOOK = {False: (style.SKY, "o", "no difference claimed"), True: (style.VERMILION, "D", "false alarm (p < 0.05)")}


_SHOWN = 0.9
"""So much of the sequential design's estimates fit the scale; the others stand at its edge, with their number."""


def figure(table: pd.DataFrame, machine: str) -> Figure:
    """Draw each repetition's estimate with its interval, both designs on one scale; false alarms stand out."""
    result = Figure(figsize=(12, 6.2))
    result.subplots_adjust(left=0.075, right=0.985, top=0.72, bottom=0.2, wspace=0.06)
    grid = list(result.subplots(1, 2, sharey=True))
    repetitions = int(table["repetition"].max())
    limit_us = 1.25 * float(table.loc[table["design"] == "sequential", "difference_us"].abs().quantile(_SHOWN))
    for axes, (design, (title, how)) in zip(grid, _DESIGNS.items(), strict=True):
        own = table[table["design"] == design]
        alarms = own["p_value"] < LEVEL
        for alarmed, (colour, marker, _) in _LOOK.items():
            rows = own[alarms == alarmed]
            axes.vlines(rows["repetition"], rows["low_us"], rows["high_us"], color=colour, linewidth=1.4, zorder=2)
            shape: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": 4.5, "color": colour}
            axes.plot(rows["repetition"], rows["difference_us"], zorder=3, **shape)
            beyond = rows[rows["difference_us"].abs() > limit_us]
            for repetition, difference_us in zip(beyond["repetition"], beyond["difference_us"], strict=True):
                _outside(axes, repetition, difference_us, limit_us, colour)
        axes.set_ylim(-limit_us, limit_us)
        axes.axhline(0, color=style.BLACK, linewidth=1)
        axes.grid(axis="y", color=style.PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlim(0, repetitions + 1)
        axes.set_xlabel("repetition")
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(title, (0, 1), (0, 44), fontsize=13, fontweight="bold", **place)
        axes.annotate(how, (0, 1), (0, 28), fontsize=9, color=style.GREY, **place)
        count = f"{int(alarms.sum())} of {len(own)} see a difference"
        colour = style.VERMILION if alarms.mean() > 2 * LEVEL else style.BLUE
        axes.annotate(count, (0, 1), (0, 8), fontsize=12, fontweight="bold", color=colour, **place)
    grid[0].set_ylabel("difference found, µs (95 % interval)")
    title = "The same thing compared with itself: the true difference is 0"
    result.text(0.012, 0.945, title, fontsize=15, fontweight="bold")
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1.4, label=word)
        for colour, marker, word in _LOOK.values()
    ]
    where: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 0.99)}
    result.legend(handles=handles, ncols=2, frameon=False, fontsize=10, **where)
    size = f"{REBUILDS * REQUESTS} requests to each side of each comparison"
    foot = (
        f"Total time of a request on a new connection, no sidecar. Closed loop, both designs in turns, {size}.",
        f"Left: both blocks on the same pods, back to back. Right: twin arms, {REBUILDS} lab builds. {machine}.",
    )
    for number, line in enumerate(reversed(foot)):
        result.text(0.012, 0.025 + 0.03 * number, line, fontsize=8, color=style.GREY)
    return result


def _outside(axes: Axes, repetition: int, difference_us: float, limit_us: float, colour: str) -> None:
    """Mark an estimate beyond the scale at its edge."""
    side = 1 if difference_us > 0 else -1
    left = repetition % 2 == 0
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "right" if left else "left", "va": "center"}
    axes.plot([repetition], [0.985 * side * limit_us], marker="^" if side > 0 else "v", color=colour, markersize=5)
    axes.annotate(
        f"{difference_us:+.0f}", (repetition, 0.985 * side * limit_us), (-6 if left else 6, 0), fontsize=7.5, **place
    )


if __name__ == "__main__":
    main()
