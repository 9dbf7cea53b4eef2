"""Why requests are interleaved: the same arm compared with itself, in the usual blocks, and as this project does it.

    python -m sidelab.bench.studies.sequential [REPETITIONS] [--figure STEM]

The true difference is 0, so any difference found is an error. *Sequential*: block A, then at once block B, on the same
pods of one lab build, judged by tests on single requests. (The usual restarts or minutes in between make it worse.)
*Interleaved*: an arm and its twin, both alive, in random order, in short rebuilds, judged by Student's t over the
rebuilds. Both send as many requests, with the same client, in turns on the same machine; one row each: the total of
requests on new connections, at the 5 % level. The figure goes into STEM.svg and STEM.png, its numbers into STEM.csv.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import binomtest, mannwhitneyu, norm, ttest_ind

from sidelab.bench.base.samples import COLUMNS, PHASES, RequestSample, column
from sidelab.bench.judge import statistics
from sidelab.bench.judge.statistics import Floats
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.measure.beds.this_machine import HERE
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.measure.replicate import measure_build
from sidelab.bench.measure.run import CHECKOUT
from sidelab.bench.measure.setup import Setup
from sidelab.bench.plan.plan import from_dict
from sidelab.bench.plan.request_order import Slot
from sidelab.bench.record import environment
from sidelab.bench.report.figures import scales, style
from sidelab.bench.report.figures.figure_files import save
from sidelab.bench.report.figures.sheet import FILE, Foot, Sheet, across

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
    with HERE.built(setup, repetition) as standing, standing.client() as client:
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
    samples: list[RequestSample] = []
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
    asked = argparse.ArgumentParser(prog="sidelab.bench.studies.sequential")
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
        with style.drawing():
            save(figure(table, foot), given.figure)
    alarms = int((table.loc[table["design"] == "interleaved", "p_value"] < LEVEL).sum())
    raise SystemExit(int(binomtest(alarms, given.repetitions, LEVEL, alternative="greater").pvalue < 0.01))


def lines(table: pd.DataFrame) -> list[str]:
    """Return for each design and test how often it found a difference (there is none), and its estimates' spread."""
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


_DESIGNS = {"sequential": "One after the other", "interleaved": "Interleaved"}
_LOOK = {False: (style.BLUE, "o", "no difference claimed"), True: (style.VERMILION, "D", "false alarm (p < 0.05)")}


_SHOWN = 0.9
"""The share of the sequential design's estimates that fit the scale; the others are arrows at its edge."""


def figure(table: pd.DataFrame, machine: str) -> Figure:
    """Draw each repetition's estimate with its interval, both designs on one scale; false alarms stand out."""
    title = "The same thing compared with itself: the true difference is 0"
    subtitle = "each repetition's difference in \N{MICRO SIGN}s, with its 95 % interval"
    sheet = Sheet(FILE, title, subtitle)
    look: dict[str, Any] = {"markersize": 5, "linewidth": 1.4}
    sheet.key([Line2D([], [], color=c, marker=marker, label=word, **look) for c, marker, word in _LOOK.values()])
    limit_us = 1.25 * float(table.loc[table["design"] == "sequential", "difference_us"].abs().quantile(_SHOWN))
    alarms = {design: table.loc[table["design"] == design, "p_value"] < LEVEL for design in _DESIGNS}
    titles = [
        f"{title}: {int(alarms[design].sum())} of {len(alarms[design])} see a difference"
        for design, title in _DESIGNS.items()
    ]
    made = across(sheet, titles, height_in=3.8, below="repetition")
    for (axes, width_in), design in zip(made, _DESIGNS, strict=True):
        scales.linear(axes, "x", (0.0, float(table["repetition"].max()) + 1.0), width_in)
        scales.linear(axes, "y", (-limit_us, limit_us), 3.8, sign=True)
        axes.axhline(0, color=style.BLACK, linewidth=1)
        axes.grid(visible=False, axis="x")
        _design(axes, table[table["design"] == design], limit_us)
    left_and_right = (
        "Left: block A, then block B on the same pods, back to back; Mann-Whitney on single requests. Right: random "
        f"order, twin arms alive at once, {REBUILDS} lab builds; Student's t over them."
    )
    size = f"{REBUILDS * REQUESTS} requests to each side of each comparison"
    return sheet.finish(
        Foot(
            [
                f"Total time of a request on a new connection, no sidecar. Closed loop, both designs in turns, {size}.",
                left_and_right,
                f"{_beyond(table['difference_us'], limit_us)}{machine}.",
            ]
        )
    )


def _beyond(differences_us: pd.Series, limit_us: float) -> str:
    """Return a sentence on how far the arrows go."""
    low, high = differences_us.min(), differences_us.max()
    if max(-low, high) <= limit_us:
        return ""
    ends = " and ".join(microseconds(end, sign=True) for end in (low, high))
    return f"Arrows: beyond the scale, as far as {ends} µs. "


def _design(axes: Axes, own: pd.DataFrame, limit_us: float) -> None:
    """Draw the repetitions of one design."""
    alarms = own["p_value"] < LEVEL
    for alarmed, (colour, marker, _) in _LOOK.items():
        rows = own[alarms == alarmed]
        axes.vlines(rows["repetition"], rows["low_us"], rows["high_us"], color=colour, linewidth=1.4, zorder=2)
        shape: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": 4.5, "color": colour}
        axes.plot(rows["repetition"], rows["difference_us"], zorder=3, **shape)
        for side, marker_beyond in ((1, "^"), (-1, "v")):
            beyond = rows[side * rows["difference_us"] > limit_us]["repetition"]
            edge = [0.985 * side * limit_us] * len(beyond)
            axes.plot(beyond, edge, marker=marker_beyond, color=colour, markersize=6, linestyle="", zorder=4)


if __name__ == "__main__":
    main()
