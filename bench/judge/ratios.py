"""Arms as multiples of each other: what one adds divided by what another adds, with an interval over rebuilds; pure.

A ratio's errors multiply, so everything is computed with logarithms: the geometric mean of the rebuilds' ratios, and
Student's t interval around it. A cost that is not above 0 in some rebuild has no logarithm: the noise is then as large
as the costs, and the ratio stays unknown.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.statistics import Floats, estimate
from sidelab.bench.plan.plan import Plan, Ratio

MET, MISSED, OPEN, NO_TARGET = "met", "missed", "open", ""


class RatioRow(NamedTuple):
    """A row of `ratios.csv`: `value` and `other` are the geometric means of `arm`'s and `against`'s cost in `unit`.

    `verdict` is `met` or `missed` if the whole interval lies on one side of the target, `open` if it contains it.
    """

    what: str
    arm: str
    against: str
    unit: str
    value: float
    other: float
    ratio: float
    low: float
    high: float
    rebuilds: int
    target: str
    verdict: str


def compare(plan: Plan, medians_against: Callable[[str], pd.DataFrame], loads: pd.DataFrame) -> list[RatioRow]:
    """Return a row for each ratio of `plan`; NaN where the run has no figures for it.

    `medians_against` returns the run's `statistics.rebuild_medians` against an arm.
    """
    return [_row(ratio, *_values(ratio, plan, medians_against, loads)) for ratio in plan.ratios]


def quotient(value: Floats, other: Floats) -> tuple[float, float, float]:
    """Return the geometric mean of value / other and its interval, from one pair per rebuild; NaN where unknown."""
    if not value.size or (value <= 0).any() or (other <= 0).any():
        return math.nan, math.nan, math.nan
    found = estimate(np.log(value / other))
    center, low, high = (math.exp(float(each)) for each in (found.mean, found.low, found.high))
    return center, low, high


def judge(ratio: Ratio, low: float, high: float) -> str:
    """Compare an interval with the ratio's target."""
    if ratio.at_most is None and ratio.at_least is None:
        return NO_TARGET
    if math.isnan(low):
        return OPEN
    least = -math.inf if ratio.at_least is None else ratio.at_least
    most = math.inf if ratio.at_most is None else ratio.at_most
    if least <= low and high <= most:
        return MET
    return MISSED if high < least or low > most else OPEN


def _row(ratio: Ratio, what: str, unit: str, value: Floats, other: Floats) -> RatioRow:
    known = ~(np.isnan(value) | np.isnan(other))
    value, other = value[known], other[known]
    center, low, high = quotient(value, other)
    bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", ratio.at_least), ("≤", ratio.at_most)) if bound is not None]
    return RatioRow(
        what=what,
        arm=ratio.arm,
        against=ratio.against,
        unit=unit,
        value=_mean(value),
        other=_mean(other),
        ratio=center,
        low=low,
        high=high,
        rebuilds=value.size,
        target=" and ".join(bounds),
        verdict=judge(ratio, low, high),
    )


def _mean(costs: Floats) -> float:
    """Return the geometric mean, so that quotients are the table's ratios; the arithmetic mean if there is none."""
    if not costs.size:
        return math.nan
    return math.exp(float(np.log(costs).mean())) if (costs > 0).all() else float(costs.mean())


def _values(
    ratio: Ratio, plan: Plan, medians_against: Callable[[str], pd.DataFrame], loads: pd.DataFrame
) -> tuple[str, str, Floats, Floats]:
    """Return what a ratio compares, its unit, and each arm's value per rebuild."""
    names = (ratio.arm, ratio.against)
    if ratio.of == "added-p50":
        keys = pd.MultiIndex.from_tuples([(name, ratio.connection, PHASES[-1]) for name in names])
        value, other = medians_against(plan.reference).reindex(keys).to_numpy(dtype=float)
        kind = {"new": "new connection", "keep-alive": "keep-alive"}[ratio.connection]
        return f"{kind}: added p50", "µs", value, other
    if ratio.of == "idle-memory":
        rows = loads[loads["private_kib"] >= 0]
        value, other = (_column(rows, name, "private_kib") / 1024 for name in names)
        return f"{plan.idle_connections:,} idle connections: memory", "MiB", value, other
    # A failed request is not an answer, so a load with failures has neither throughput nor latency.
    rows = loads[(loads["connections"] == ratio.connections) & (loads["private_kib"] < 0) & (loads["failed"] == 0)]
    if ratio.of == "requests-per-s":
        value, other = (_column(rows, name, "requests_per_s") for name in names)
        return f"{ratio.connections} connections: throughput", "requests/s", value, other
    # Loads run one after the other, so the reference's is no nearer in time than its median, which has no outliers.
    direct = float(np.median(_column(rows, plan.reference, "p99_us"))) if len(rows) else math.nan
    value, other = (_column(rows, name, "p99_us") - direct for name in names)
    return f"{ratio.connections} connections: added p99", "µs", value, other


def _column(rows: pd.DataFrame, arm: str, name: str) -> Floats:
    """Return one value per rebuild, NaN where this arm has none."""
    rebuilds = sorted(rows["rebuild"].unique())
    found: Floats = rows[rows["arm"] == arm].set_index("rebuild")[name].reindex(rebuilds).to_numpy(dtype=float)
    return found
