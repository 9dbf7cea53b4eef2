"""One estimator: how much longer an arm takes than the reference, with an interval over the rebuilds; pure, vectorised.

Requests within a rebuild are autocorrelated, so a rebuild counts as one observation: the median of its paired
differences. The estimate is the mean of those medians, with Student's t interval over them. (In simulation with
autocorrelation and between-rebuild variance its coverage is right from three rebuilds up, where a hierarchical
bootstrap's is not.) Tests on single requests (Mann-Whitney, KS, Welch) are not offered: they find a difference between
two identical arms in most runs.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr, stdtrit

from sidelab.bench.base.samples import PHASES, WARMUP_ROUND, column, has_tail

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """Mean over rebuilds, its interval, two-sided p-value of "no difference"; arrays of one shape, NaN = unknown."""

    mean: Floats
    low: Floats
    high: Floats
    p_value: Floats

    @property
    def half_width(self) -> Floats:
        """Half the interval's width, in the unit of the mean."""
        return (self.high - self.low) / 2


def measured(samples: pd.DataFrame) -> pd.DataFrame:
    """Leave out the warm-up round, the only rows that no statistic counts."""
    return samples[samples["round"] != WARMUP_ROUND]


def unanswered(samples: pd.DataFrame) -> pd.DataFrame:
    """Select the requests that were not answered 2xx."""
    return samples[(samples["status"] < 200) | (samples["status"] > 299)]


def rebuild_medians(samples: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return each rebuild's median of the paired differences, arm - reference, in µs.

    Pairs are formed within a round and a kind of connection by order of occurrence: the arm's k-th request with the
    reference's k-th. As the order is random, the two are close in time and neither comes first more often. A pair that
    lacks a phase does not count for that phase.

    Returns a frame with a row per (arm, connection, phase) and a column per rebuild; NaN where there was no pair.
    """
    rows = measured(samples).sort_values(["rebuild", "round", "position"], kind="stable")
    keys = ["rebuild", "connection", "round", "arm"]
    turn = rows.groupby(keys, observed=True, sort=False).cumcount()
    index = [rows["rebuild"], rows["connection"].astype(str), rows["round"], turn, rows["arm"].astype(str)]
    times = rows[[column(phase) for phase in PHASES]].set_axis(list(PHASES), axis=1).set_index(index)
    pairs = times.unstack("arm")  # noqa: PD010 - pivot_table would aggregate, and each cell is one request
    medians = {}
    for phase in PHASES:
        differences = pairs[phase].sub(pairs[phase][reference], axis=0)
        medians[phase] = differences.groupby(level=["connection", "rebuild"]).median()
    long = pd.concat(medians, names=["phase"]).reset_index().melt(id_vars=["phase", "connection", "rebuild"])
    keys = ["arm", "connection", "phase"]
    table: pd.DataFrame = long.pivot_table(index=keys, columns="rebuild", values="value", dropna=False)
    return table


def rebuild_levels(samples: pd.DataFrame) -> pd.DataFrame:
    """Return each rebuild's median time itself, in µs: a row per (arm, connection, phase), a column per rebuild."""
    keys = ["arm", "connection", "rebuild"]
    times = measured(samples).astype({"arm": str, "connection": str}).groupby(keys)[[column(each) for each in PHASES]]
    medians = times.median().set_axis(list(PHASES), axis=1)
    table = pd.concat({phase: medians[phase].unstack("rebuild") for phase in PHASES}, names=["phase"])  # noqa: PD010 - one median a cell
    return table.reorder_levels(["arm", "connection", "phase"])


def estimate(medians: Floats, confidence: float = CONFIDENCE) -> Estimate:
    """Summarise rebuild medians along the last axis: mean, Student's t interval, p-value.

    NaN marks a rebuild without a pair. With fewer than two others there is a mean but no interval.
    """
    mean, variance, degrees = _moments(medians)
    return _student(mean, variance, degrees, confidence)


def welch(medians: Floats, base: Floats, confidence: float = CONFIDENCE) -> Estimate:
    """Summarise the difference of two runs, medians - base, from the rebuild medians of each along the last axis.

    The runs are independent and may have unequal spreads and numbers of rebuilds: Welch's interval, with
    Satterthwaite's degrees of freedom (B. L. Welch, "The generalization of Student's problem", 1947). No interval where
    either run has fewer than two rebuilds.
    """
    mean, variance, degrees = _moments(medians)
    base_mean, base_variance, base_degrees = _moments(base)
    both = variance + base_variance
    with np.errstate(invalid="ignore", divide="ignore"):
        joined = both**2 / (variance**2 / degrees + base_variance**2 / base_degrees)
    # Without any spread this is 0/0; any number of degrees then gives the same interval, of width 0.
    joined = np.where(both == 0.0, degrees + base_degrees, joined)
    return _student(mean - base_mean, both, joined, confidence)


def _moments(medians: Floats) -> tuple[Floats, Floats, Floats]:
    """Return mean, variance of that mean, and degrees of freedom along the last axis; the last two NaN below n = 2."""
    known = ~np.isnan(medians)
    count = known.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(known, medians, 0.0).sum(axis=-1) / count
        squares = np.where(known, (medians - mean[..., np.newaxis]) ** 2, 0.0).sum(axis=-1)
        degrees: Floats = np.where(count > 1, count - 1, np.nan)
        variance: Floats = squares / degrees / count
    return mean, variance, degrees


def _student(mean: Floats, variance: Floats, degrees: Floats, confidence: float) -> Estimate:
    error = np.sqrt(variance)
    half = stdtrit(degrees, 0.5 + confidence / 2) * error
    with np.errstate(invalid="ignore", divide="ignore"):
        # Equal medians in every rebuild are certain either way: 0/0 means "no difference", x/0 means "certain".
        statistic = np.where(mean == 0.0, 0.0, np.abs(mean) / error)
    return Estimate(mean, mean - half, mean + half, 2 * stdtr(degrees, -statistic))


def noise_floor(twin_medians: Floats) -> Floats:
    """Measure the spread of the A/A difference over rebuilds: its root mean square around the true value, which is 0.

    It is around 0, not around the mean, so that a lasting difference between the twins raises the floor, too. Unlike
    the largest difference it does not grow with the number of rebuilds, and unlike the interval it does not shrink:
    it is how far apart two builds of the same thing typically are, and a smaller effect is not worth a claim, however
    often it was measured. Along the last axis; NaN without any rebuild.
    """
    known = ~np.isnan(twin_medians)
    with np.errstate(invalid="ignore"):
        floor: Floats = np.sqrt(np.where(known, twin_medians**2, 0.0).sum(axis=-1) / known.sum(axis=-1))
    return floor


def smallest_visible(half_width: Floats, floor: Floats, margin: Floats) -> Floats:
    """Return the smallest difference that would have counted as changed: beyond half-width, floor and margin."""
    return np.maximum(np.maximum(half_width, floor), margin)


def holm(p_values: Floats) -> Floats:
    """Adjust p-values by Holm's step-down procedure, a family along the last axis: reject where the result is < alpha.

    The chance of any false alarm in the family is at most alpha, however the rows depend on each other. NaN stay NaN
    and do not count (S. Holm, "A simple sequentially rejective multiple test procedure", 1979).
    """
    order = np.argsort(p_values, axis=-1, kind="stable")  # NaN come last
    known = (~np.isnan(p_values)).sum(axis=-1, keepdims=True)
    weights = np.maximum(known - np.arange(p_values.shape[-1]), 0)
    stepped = np.maximum.accumulate(weights * np.take_along_axis(p_values, order, axis=-1), axis=-1)
    adjusted = np.empty(p_values.shape)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return adjusted


def percentile(values: Floats, q: float) -> float:
    """Compute the q-quantile (0 < q < 1) of all requests; NaN where n < 10 / (1 - q) is too small to hold a tail."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, q)) if has_tail(known.size, q) else float("nan")
