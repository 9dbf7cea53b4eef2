"""The data of open-loop figures: estimates over lab builds, and the description of such a load."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from sidelab.bench.judge import statistics

Estimate = tuple[float, float, float]
"""Mean and 95 % interval; NaN where unknown."""


class Quantity(NamedTuple):
    """One quantity against the rate: a column of rates.csv, and its label on an axis."""

    column: str
    title: str
    label: str
    per: float = 1.0


def spread(rates: pd.DataFrame, arm: str, rate: float, column: str) -> Estimate:
    """Return mean and 95 % interval over the rebuilds of one arm's column at one rate; NaN where unknown."""
    chosen = rates[(rates["arm"] == arm) & (rates["rate_per_s"] == rate)]
    values = chosen[column].to_numpy(dtype=float)
    found = statistics.estimate(np.where(values < 0, np.nan, values))
    return float(found.mean), float(found.low), float(found.high)


def added(rates: pd.DataFrame, arm: str, reference: str, rate: float) -> Estimate:
    """Return mean and 95 % interval, over the rebuilds, of an arm's p99 minus the reference's, in µs."""
    at = rates[rates["rate_per_s"] == rate].pivot_table(index="rebuild", columns="arm", values="p99_us")
    if not {arm, reference} <= set(at.columns):
        return math.nan, math.nan, math.nan
    found = statistics.estimate((at[arm] - at[reference]).to_numpy(dtype=float))
    return float(found.mean), float(found.low), float(found.high)


def load(rates: pd.DataFrame) -> str:
    """Return sentences on how the requests were made, how many there are, and where a latency starts."""
    builds = rates["rebuild"].nunique()
    return (
        "Open loop: requests start when the schedule says so, answered or not, and latency counts from that intended "
        "start, so that waiting in a queue is part of it (no coordinated omission). "
        f"Each arm by itself; {_between(rates['connections'])} connections; n = {_between(rates['requests'])} answers "
        f"per arm, rate and lab build, {builds} build{'s' * (builds != 1)}."
    )


def _between(counts: pd.Series) -> str:
    return " to ".join(f"{int(count):,}" for count in dict.fromkeys((counts.min(), counts.max())))
